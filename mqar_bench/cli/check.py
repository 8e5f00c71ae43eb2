"""The command ``check``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import app
from mqar_bench.cli.complete import complete_mixer
from mqar_bench.cli.output import Json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from mqar_bench.contract.check import Finding
    from mqar_bench.contract.report import Report
    from mqar_bench.contract.subject import Subject

#: Of the longest mark and the longest name of a property.
MARK_WIDTH, NAME_WIDTH = 14, 11
STYLES = {"ok": "green", "note": "yellow", "FAILED": "bold red", "not applicable": "dim"}

MixerName = Annotated[
    str,
    typer.Argument(
        metavar="MIXER",
        help="A class, as MODULE.CLASS, or a registered name.",
        show_default=False,
        autocompletion=complete_mixer,
    ),
]
MixerOptions = Annotated[str, typer.Option(metavar="JSON", help="The mixer's options.")]


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench check my_mixers.Mine\n\n"
    "mqar-bench check my_mixers.Mine --options '{\"width\": 32}' --d-model 64\n\n"
    "mqar-bench check gla --json > gla.json"
)
def check(
    name: MixerName,
    options: MixerOptions = "{}",
    d_model: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Width. Default: the least of 16, 32, .., 256 that it takes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a mixer against the contract, on the CPU: before hours are spent on training it.

    One line a property: ok, note (worth knowing), FAILED with what and where, or not applicable. Exit code 1 if any
    failed. `mqar-bench run` itself asks only for what a run cannot do without.
    """
    from mqar_bench.contract.building import WIDTHS
    from mqar_bench.contract.check import check_mixer
    from mqar_bench.contract.report import Report, make_subject

    subject = make_subject(name, options, [d_model] if d_model else WIDTHS)
    if as_json:
        report = Report(subject, tuple(check_mixer(subject)))
        print_json(report.to_dict())
    else:
        report = print_findings(subject, check_mixer(subject))
    raise typer.Exit(1 if report.failed else 0)


def print_findings(subject: Subject, findings: Iterable[Finding]) -> Report:
    """A title, a line a property as soon as it is known, and the verdict."""
    from rich.console import Console

    from mqar_bench.contract.report import Report

    console, found = Console(highlight=False), []
    print(f"{title(subject)}, checked in {subject.dtype_name} on the CPU\n")
    for finding in findings:
        found.append(finding)
        _print(console, finding)
    report = Report(subject, tuple(found))
    print(f"\n{report.verdict}")
    return report


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
