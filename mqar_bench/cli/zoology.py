"""The command ``export-zoology``."""

from __future__ import annotations

from typing import Annotated

import typer

from mqar_bench.cli.app import app
from mqar_bench.cli.complete import complete_scale, complete_sweep
from mqar_bench.cli.configs import read_sweep


@app.command(
    "export-zoology",
    epilog="**Examples**\n\nmqar-bench export-zoology fig3 --scale paper > my_sweep.py",
)
def export_zoology(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The sweep, such as fig3.", show_default=False, autocompletion=complete_sweep
        ),
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="SCALE", help="Its scale, such as paper.", show_default=False, autocompletion=complete_scale
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Seeds of every run: its own and the next ones.")] = 1,
) -> None:
    """Write a sweep as an experiment file of Zoology, with this package's mixers in it.

    Sweeps whose protocol is not Zoology's, such as fig3 at scale demo, are refused.
    """
    from mqar_bench.zoology import export

    configs = read_sweep(name, scale, seeds)
    print(export(configs, f"{name} at scale {configs[0].scale}"), end="")
