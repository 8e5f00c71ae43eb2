"""The command ``check``."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mqar_bench.cli.app import app

if TYPE_CHECKING:
    from rich.console import Console

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
    from rich.console import Console

    from mixers import MixerError
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config.overrides import parse_mixer
    from mqar_bench.contract.building import WIDTHS, fit_width
    from mqar_bench.contract.check import check_mixer
    from mqar_bench.contract.subject import prepare

    spec = parse_mixer(name, options)
    try:
        subject = prepare(name, fit_width(name, spec.options, [d_model] if d_model else WIDTHS), spec.options)
    except MixerError as error:
        raise UsageError(str(error)) from None
    console, findings = Console(highlight=False), []
    if not as_json:
        print(f"{_title(subject)}, checked in {_dtype(subject)} on the CPU\n")
    for finding in check_mixer(subject):
        findings.append(finding)
        if not as_json:
            _print(console, finding)
    if as_json:
        print(json.dumps(_plain(subject, findings), indent=1))
    else:
        print(f"\n{_verdict(name, findings)}")
    raise typer.Exit(1 if _failed(findings) else 0)


def _print(console: Console, finding: Finding) -> None:
    from rich.text import Text

    from mqar_bench.basics.console import fold

    text = Text(fold(finding.text, console, f"  {finding.mark:<{MARK_WIDTH}}  {finding.name:<{NAME_WIDTH}}  "))
    text.stylize(STYLES[finding.mark], 2, 2 + len(finding.mark))
    console.print(text, soft_wrap=True)


def _title(subject: Subject) -> str:
    from mqar_bench.cli.show import show_json

    options = ", ".join(f"{key}={show_json(value)}" for key, value in subject.options.items())
    return f"{subject.name}{f' ({options})' if options else ''} of width {subject.d_model}"


def _failed(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings if finding.mark == "FAILED"]


def _verdict(name: str, findings: list[Finding]) -> str:
    """One line."""
    if failed := _failed(findings):
        return f"{name} breaks the contract: {', '.join(failed)}"
    counts = Counter(finding.mark for finding in findings)
    return f"{name} keeps the contract: {', '.join(f'{count} {mark}' for mark, count in counts.items())}"


def _plain(subject: Subject, findings: list[Finding]) -> dict[str, Any]:
    return {
        "mixer": subject.name,
        "options": dict(subject.options),
        "d_model": subject.d_model,
        "dtype": _dtype(subject),
        "failed": _failed(findings),
        "properties": [asdict(finding) for finding in findings],
    }


def _dtype(subject: Subject) -> str:
    return str(subject.dtype).removeprefix("torch.")
