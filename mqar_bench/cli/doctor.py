"""The command ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.output import Format, Json, ListFormat, print_json


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench doctor\n\n"
    "mqar-bench doctor --results /shared/results --address 10.0.0.1:6379\n\n"
    "mqar-bench doctor --no-ray --json > doctor.json"
)
def doctor(
    results: Results = Path("results"),
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Join this Ray cluster instead of starting a private Ray.")
    ] = None,
    ray: Annotated[bool, typer.Option("--ray/--no-ray", help="Try Ray, which takes about 10 seconds.")] = True,
    as_json: Json = False,
    format: Format = ListFormat.table,
) -> None:
    """Look at what a sweep needs on this machine: packages, GPUs, every mixer's engine, Ray, the folder of records.

    Each line has a mark: ok, note (worth knowing) or FIX, with what to do about it. Nothing is left behind in the
    folder of records. Exit code 1 if there is something to fix. The first time, compiling RAM-Net takes a while.
    """
    from rich.console import Console

    from mqar_bench.doctor import examine
    from mqar_bench.doctor.sections import count_fixes, to_json

    if address is not None and not ray:
        raise typer.BadParameter("--address and --no-ray exclude each other")
    as_json = as_json or format is ListFormat.json
    console, sections = Console(highlight=False), []
    # what is being looked at, on a terminal
    with Console(stderr=True, highlight=False).status("versions") as status:
        for section in examine.examine(results, address, ray, status.update):
            sections.append(section)
            if not as_json:
                status.stop()
                section.print(console)
                status.start()
    fixes = count_fixes(sections)
    if as_json:
        print_json(to_json(sections))
    else:
        print("everything works" if not fixes else f"{fixes} thing{'s' * (fixes != 1)} to fix")
    raise typer.Exit(1 if fixes else 0)
