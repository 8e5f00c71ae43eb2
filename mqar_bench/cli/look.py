"""Commands that look at what is there: ``results``, ``plot`` and ``mixers``."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app, hint

if TYPE_CHECKING:
    import pandas as pd


class ResultsFormat(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


class MixersFormat(StrEnum):
    table = "table"
    json = "json"


@app.command(
    name="results",
    epilog="**Examples**\n\n"
    "mqar-bench results fig3 --scale demo\n\n"
    "mqar-bench results --format csv > runs.csv\n\n"
    "mqar-bench results --columns mixer,state_size,accuracy/L64-kv8",
)
def list_results(
    name: Annotated[str | None, typer.Argument(metavar="SWEEP", help="Only this sweep.", show_default=False)] = None,
    scale: Annotated[str | None, typer.Option(metavar="SCALE", help="Only this scale.")] = None,
    results: Results = Path("results"),
    format: Annotated[ResultsFormat, typer.Option(help="csv and json have every column.")] = ResultsFormat.table,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="These columns, in this order.")] = None,
) -> None:
    """Show the records: a row a run.

    Only the table, CSV or JSON goes to standard output; files that are no records are named on standard error.
    """
    from mqar_bench.show import print_frame, to_json

    frame = _read_frame(results, name, scale)
    chosen = [_column(column.strip(), list(frame.columns)) for column in columns.split(",")] if columns else None
    frame = frame if chosen is None else frame[chosen]
    if format is ResultsFormat.csv:
        frame.to_csv(sys.stdout, index=False)
    elif format is ResultsFormat.json:
        print(json.dumps([{k: to_json(v) for k, v in row.items()} for row in frame.to_dict("records")], indent=1))
    else:
        print_frame(frame, chosen)


@app.command(epilog="**Example**\n\nmqar-bench plot fig3 --scale demo --out figures")
def plot(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The figure, such as fig3.", show_default=False)],
    scale: Annotated[str | None, typer.Option(metavar="SCALE", help="Default: the one with finished runs.")] = None,
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")] = Path("figures"),
) -> None:
    """Draw a figure from records, and write the numbers in it beside it."""
    import plots
    from mqar_bench.overrides import UsageError

    if name not in plots.names():
        raise UsageError(f"no figure named {name!r}{hint(name, plots.names())}")
    frame = _read_frame(results, name, scale)
    if scale is None:
        there = sorted(frame["scale"].unique())
        finished = sorted(frame.loc[frame["status"] == "done", "scale"].unique())
        if len(there) > 1 and len(finished) != 1:
            raise UsageError(f"there are records of {name} at {', '.join(there)}: choose one with --scale")
        scale = finished[0] if finished else there[0]
        frame = frame[frame["scale"] == scale]
    _note_missing(name, scale, frame)
    try:
        paths = plots.draw(name, frame, out)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    for path in paths:
        print(path)


@app.command(name="mixers", epilog="**Examples**\n\nmqar-bench mixers\n\nmqar-bench mixers ramnet")
def list_mixers(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A mixer, or a dotted path to a class.", show_default=False)
    ] = None,
    format: Annotated[MixersFormat, typer.Option(help="A table, or JSON.")] = MixersFormat.table,
) -> None:
    """List the mixers, or the options of one."""
    import mixers
    from mqar_bench.overrides import UsageError
    from mqar_bench.show import describe_mixer, plain, print_table, show_json

    try:
        described = [describe_mixer(mixer) for mixer in ([name] if name else mixers.names())]
    except mixers.MixerError as error:
        raise UsageError(str(error)) from None
    if format is MixersFormat.json:
        print(json.dumps(described if name is None else described[0], indent=1))
    elif name is None:
        rows = []
        for mixer in described:
            options = ", ".join(f"{o['name']}={show_json(o['default'])}" for o in mixer["options"])
            parts = [mixer["summary"], mixer["source"], mixer["state"] and f"State: {mixer['state']}", f"  {options}"]
            rows.append([mixer["name"], "\n".join(plain(part) for part in parts if part)])
        print_table(["mixer", "what it is, its source, its state, and its options with their defaults"], rows)
    else:
        (mixer,) = described
        for part in (mixer["summary"], mixer["source"], mixer["state"] and f"State: {mixer['state']}"):
            if part:
                print(plain(part))
        rows = [[o["name"], o["type"], show_json(o["default"]), plain(o["description"])] for o in mixer["options"]]
        print_table(["option", "type", "default", "what it is"], rows)


def _read_frame(root: Path, name: str | None, scale: str | None) -> pd.DataFrame:
    """The records asked for as a table; what is no record is named on standard error."""
    from mqar_bench.overrides import UsageError
    from mqar_bench.store import Store
    from mqar_bench.table import to_frame

    records, problems = Store(root).results()
    for problem in problems:
        print(f"skipped {problem}", file=sys.stderr)
    chosen = [r for r in records if name in (None, r.config.sweep) and scale in (None, r.config.scale)]
    if not chosen:
        if not root.is_dir():
            raise UsageError(f"no records: there is no folder {root}")
        what = " ".join(filter(None, [f"of sweep {name}" if name else "", f"at scale {scale}" if scale else ""]))
        there = sorted({f"{r.config.sweep} at {r.config.scale}" for r in records})
        raise UsageError(f"no records {what} in {root}: ".replace("  ", " ") + f"there is {', '.join(there) or 'none'}")
    return to_frame(chosen)


def _note_missing(name: str, scale: str, frame: pd.DataFrame) -> None:
    """Say so when a figure is about to be drawn from part of its sweep."""
    import sweeps

    if name in sweeps.names() and scale in sweeps.scales(name):
        wanted = {config.run_id for config in sweeps.load(name, scale)}
        done = set(frame.loc[frame["status"] == "done", "run_id"])
        if wanted - done:
            print(
                f"note: {len(wanted - done)} of {len(wanted)} runs of {name} at {scale} are not done", file=sys.stderr
            )


def _column(column: str, columns: list[str]) -> str:
    from mqar_bench.overrides import UsageError

    if column not in columns:
        raise UsageError(f"no column {column!r}{hint(column, columns)}")
    return column
