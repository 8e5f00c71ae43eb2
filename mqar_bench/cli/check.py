"""The command ``check``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mqar_bench.cli.app import app

if TYPE_CHECKING:
    from rich.console import Console

    from mqar_bench.config import MixerSpec
    from mqar_bench.contract.check import Finding
    from mqar_bench.contract.subject import Subject

#: Of the longest mark and the longest name of a property.
MARK_WIDTH, NAME_WIDTH = 14, 11
STYLES = {"ok": "green", "note": "yellow", "FAILED": "bold red", "not applicable": "dim"}


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench check my_mixers.Mine\n\n"
    "mqar-bench check my_mixers.Mine --options '{\"width\": 32}' --d-model 64\n\n"
    "mqar-bench check gla --json > gla.json"
)
def check(
    name: Annotated[
        str, typer.Argument(metavar="MIXER", help="A class, as MODULE.CLASS, or a registered name.", show_default=False)
    ],
    options: Annotated[str, typer.Option(metavar="JSON", help="The mixer's options.")] = "{}",
    d_model: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Width. Default: the least of 16, 32, .., 256 that it takes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Check a mixer against the contract, on the CPU: before hours are spent on training it.

    One line a property: ok, note (worth knowing), FAILED with what and where, or not applicable. Exit code 1 if any
    failed. `mqar-bench run` itself asks only for what a run cannot do without.
    """
    from mqar_bench.config.overrides import parse_mixer
    from mqar_bench.contract.building import WIDTHS
    from mqar_bench.contract.check import check_mixer

    subject = find_subject(parse_mixer(name, options), [d_model] if d_model else WIDTHS)
    if as_json:
        findings = list(check_mixer(subject))
        print(json.dumps(_plain(subject, findings), indent=1))
    else:
        findings = print_findings(subject, check_mixer(subject))
    raise typer.Exit(1 if list_failed(findings) else 0)


def find_subject(spec: MixerSpec, widths: Sequence[int]) -> Subject:
    """A mixer as it is checked, at the first of some widths with which it takes its options; ``UsageError`` if it does
    so with none, or there is no such mixer."""
    from mixers import MixerError
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.contract.building import fit_width
    from mqar_bench.contract.subject import prepare

    try:
        return prepare(spec.name, fit_width(spec.name, spec.options, widths), spec.options)
    except MixerError as error:
        raise UsageError(str(error)) from None


def print_findings(subject: Subject, findings: Iterable[Finding]) -> list[Finding]:
    """A title, a line a property as soon as it is known, and the verdict."""
    from rich.console import Console

    console, found = Console(highlight=False), []
    print(f"{title(subject)}, checked in {_dtype(subject)} on the CPU\n")
    for finding in findings:
        found.append(finding)
        _print(console, finding)
    print(f"\n{verdict(subject.name, found)}")
    return found


def _print(console: Console, finding: Finding) -> None:
    from rich.text import Text

    from mqar_bench.basics.console import fold

    text = Text(fold(finding.text, console, f"  {finding.mark:<{MARK_WIDTH}}  {finding.name:<{NAME_WIDTH}}  "))
    text.stylize(STYLES[finding.mark], 2, 2 + len(finding.mark))
    console.print(text, soft_wrap=True)


def title(subject: Subject) -> str:
    from mqar_bench.cli.show import show_json

    options = ", ".join(f"{key}={show_json(value)}" for key, value in subject.options.items())
    return f"{subject.name}{f' ({options})' if options else ''} of width {subject.d_model}"


def list_failed(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings if finding.mark == "FAILED"]


def verdict(name: str, findings: list[Finding]) -> str:
    """One line."""
    if failed := list_failed(findings):
        return f"{name} breaks the contract: {', '.join(failed)}"
    counts = Counter(finding.mark for finding in findings)
    return f"{name} keeps the contract: {', '.join(f'{count} {mark}' for mark, count in counts.items())}"


def _plain(subject: Subject, findings: list[Finding]) -> dict[str, Any]:
    return {
        "mixer": subject.name,
        "options": dict(subject.options),
        "d_model": subject.d_model,
        "dtype": _dtype(subject),
        "failed": list_failed(findings),
        "properties": [asdict(finding) for finding in findings],
    }


def _dtype(subject: Subject) -> str:
    return str(subject.dtype).removeprefix("torch.")
