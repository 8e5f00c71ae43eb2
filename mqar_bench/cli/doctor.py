"""The command ``doctor``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mqar_bench.cli.app import Results, app


class DoctorFormat(StrEnum):
    table = "table"
    json = "json"


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench doctor\n\n"
    "mqar-bench doctor --results /shared/results --address 10.0.0.1:6379\n\n"
    "mqar-bench doctor --no-ray --format json > doctor.json"
)
def doctor(
    results: Results = Path("results"),
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Join this Ray cluster instead of starting a private Ray.")
    ] = None,
    ray: Annotated[bool, typer.Option("--ray/--no-ray", help="Try Ray, which takes about 10 seconds.")] = True,
    format: Annotated[DoctorFormat, typer.Option(help="Lines, or JSON.")] = DoctorFormat.table,
) -> None:
    """Look at what a sweep needs on this machine: packages, GPUs, every mixer's engine, Ray, the folder of records.

    Each line has a mark: ok, note (worth knowing) or FIX, with what to do about it. Nothing is left behind in the
    folder of records. Exit code 1 if there is something to fix. The first time, compiling RAM-Net takes a while.
    """
    from rich.console import Console

    from mqar_bench.doctor.examine import examine
    from mqar_bench.doctor.report import conclude, count_fixes, print_section, to_json

    if address is not None and not ray:
        raise typer.BadParameter("--address and --no-ray exclude each other")
    console = Console(highlight=False)
    sections = []
    with _progress() as tell:
        for section in examine(results, address, ray, tell):
            tell("")
            sections.append(section)
            if format is DoctorFormat.table:
                print_section(section, console)
    if format is DoctorFormat.json:
        print(json.dumps(to_json(sections), indent=1))
    else:
        print(conclude(sections))
    raise typer.Exit(1 if count_fixes(sections) else 0)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being looked at, on a terminal; nothing, with an empty text."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        status.stop()

        def tell(text: str) -> None:
            status.update(text)
            (status.start if text else status.stop)()

        yield tell
