"""The commands ``results``: list and export records, bring in those of other machines, pack them."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import Application, Results, app
from mqar_bench.cli.complete import complete_recorded_or_command, complete_scale
from mqar_bench.cli.configs import sweep_name
from mqar_bench.cli.or_list import DEFAULT, OrList
from mqar_bench.cli.output import Json, frame_rows, print_json

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.records.archive import Conflict, Merged
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Entry


class ResultsFormat(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


group = Application(cls=OrList, subcommand_metavar="| COMMAND [ARGS]...")
app.add_typer(group, name="results")

Sweep = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP",
        help="Only this sweep; a file too.",
        show_default=False,
        autocompletion=complete_recorded_or_command,
    ),
]
Scale = Annotated[str | None, typer.Option(metavar="SCALE", help="Only this scale.", autocompletion=complete_scale)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]


@group.callback(
    epilog="**Examples**\n\n"
    "mqar-bench results fig3 --scale demo\n\n"
    "mqar-bench results --columns mixer,state_size,accuracy/L64-kv8\n\n"
    "mqar-bench results fig3 --export fig3.parquet\n\n"
    "mqar-bench results import /mnt/cluster/results --dry-run\n\n"
    "mqar-bench results pack fig3"
)
def _results() -> None:
    """Show the records, a row a run: those of a sweep, or all. Also exports, imports and packs them.

    Records are what runs leave behind, JSON files in the folder `results`. Without a command they are listed. Only the
    table, CSV or JSON goes to standard output; files that are no records are named on standard error.
    """


@group.command(
    name=DEFAULT,
    epilog="**Examples**\n\n"
    "mqar-bench results list fig3 --scale demo\n\n"
    "mqar-bench results --format csv > runs.csv\n\n"
    "mqar-bench results --export runs.parquet\n\n"
    "mqar-bench results --export runs.csv --flat",
)
def list_results(
    name: Sweep = None,
    scale: Scale = None,
    results: Results = Path("results"),
    format: Annotated[ResultsFormat, typer.Option(help="csv and json have every column.")] = ResultsFormat.table,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="These columns, in this order.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every column to a .csv or .parquet file instead.")
    ] = None,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="For --export, csv, json: columns config.* and summary.*, as W&B has them."),
    ] = False,
) -> None:
    """Show the records, a row a run; this is what `mqar-bench results` does without a command.

    Only the table, CSV or JSON goes to standard output; files that are no records are named on standard error.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.show import print_frame
    from mqar_bench.records.flat import to_flat_frame
    from mqar_bench.records.table import to_frame

    if as_json:
        if format is ResultsFormat.csv:
            raise UsageError("--json and --format csv exclude each other")
        format = ResultsFormat.json
    if export is not None:
        if export.suffix not in (".csv", ".parquet"):
            raise UsageError(f"--export {export}: the file must end in .csv or .parquet")
        if columns is not None or format is not ResultsFormat.table:
            raise UsageError("--export writes every column in the format that FILE ends in: no --columns, --format")
    if flat and export is None and format is ResultsFormat.table:
        raise UsageError("--flat has too many columns for a table: give --export FILE, or --format csv or json")
    frame = (to_flat_frame if flat else to_frame)(read_records(results, name and sweep_name(name), scale))
    chosen = [_column(column.strip(), list(frame.columns)) for column in columns.split(",")] if columns else None
    frame = frame if chosen is None else frame[chosen]
    if export is not None:
        _export(frame, export)
        print(f"{export}: {len(frame)} rows")
    elif format is ResultsFormat.csv:
        frame.to_csv(sys.stdout, index=False)
    elif format is ResultsFormat.json:
        print_json(frame_rows(frame))
    else:
        print_frame(frame, chosen)


@group.command(
    name="import",
    epilog="**Examples**\n\n"
    "mqar-bench results import /mnt/cluster/results --dry-run\n\n"
    "mqar-bench results import fig3-laptop.jsonl other/fig3-laptop --results results",
)
def import_results(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="Folders, .json or .jsonl files.", show_default=False)
    ],
    results: Results = Path("results"),
    replace: Annotated[bool, typer.Option("--replace", help="Where numbers differ, take the imported ones.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring in the records of other machines.

    Runs that are not here are added, and done ones take the place of failed ones. Where a run is done here and there
    but the numbers differ by more than rounding, the first that does is shown, with the device and threads of both,
    and what is here stays unless --replace is given. Weights come with their records. Files that are no records are
    named on standard error. Exit code 1 if there were conflicts that were not replaced.
    """
    from mqar_bench.launching.progress import label_runs
    from mqar_bench.records.archive import merge
    from mqar_bench.records.store import Store

    store = Store(results)
    merged = merge(store, sources, replace=replace, dry_run=dry_run)
    _name_skipped(merged.problems)
    if as_json:
        _print_merged(merged, dry_run)
    elif merged.conflicts:
        labels = label_runs([result.config for result in store.results()[0]])
        for conflict in merged.conflicts:
            print(_describe(conflict, labels[conflict.here.run_id]))
    if not merged.total:
        print(f"note: there is no record in {', '.join(map(str, sources))}", file=sys.stderr)
    counts = {
        "new": merged.new,
        "already there": merged.same,
        "done in place of failed": merged.mended,
        "failed but done here": merged.kept,
        "in conflict": len(merged.conflicts),
    }
    counts["with weights"] = merged.weights
    shown = [f"{count} {what}" for what, count in counts.items() if count or what in ("new", "already there")]
    if not as_json:
        print(f"{'would import' if dry_run else 'imported'} into {results}: {', '.join(shown)}")
    left = sum(not conflict.replaced for conflict in merged.conflicts)
    if left and not replace:
        print("what was here stays where numbers differ; --replace takes the imported ones", file=sys.stderr)
    raise typer.Exit(1 if left else 0)


@group.command(epilog="**Examples**\n\nmqar-bench results pack\n\nmqar-bench results pack fig3 --scale demo --dry-run")
def pack(
    name: Sweep = None,
    scale: Scale = None,
    results: Results = Path("results"),
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Fold the files of a sweep and scale into one, `DIR/SWEEP-SCALE.jsonl`, a line a run.

    Every command reads both forms, so this is for keeping and copying records. Files are deleted once the new one has
    been read back. Weights stay where they are. What is no record stays, and is named on standard error.
    """
    from mqar_bench.records.archive import pack as pack_store
    from mqar_bench.records.store import Store

    store, name = Store(results), name and sweep_name(name)
    _choose(store.results()[0], results, name, scale)
    packed, problems = pack_store(store, name, scale, dry_run=dry_run)
    _name_skipped(problems)
    if as_json:
        print_json([{**asdict(one), "path": str(one.path)} for one in packed])
        return
    for one in packed:
        files = f"{one.folded} file{'' if one.folded == 1 else 's'} {'to fold' if dry_run else 'folded'} in"
        print(f"{one.path}: {one.records} runs, {files if one.folded or one.changed else 'nothing to do'}")


def _print_merged(merged: Merged, dry_run: bool) -> None:
    conflicts = [
        {
            "run_id": each.here.run_id,
            **asdict(each.difference),
            "source": str(each.source),
            "replaced": each.replaced,
        }
        for each in merged.conflicts
    ]
    counts = {name: getattr(merged, name) for name in ("new", "same", "mended", "kept", "weights")}
    print_json({"dry_run": dry_run, **counts, "conflicts": conflicts, "skipped": merged.problems})


def read_records(root: Path, name: str | None, scale: str | None) -> list[RunResult]:
    """The records asked for; what is no record is named on standard error."""
    return _choose([entry.result for entry in read_entries(root)], root, name, scale)


def read_entries(root: Path) -> list[Entry]:
    """All records with where they lie, of several of one run the one that counts; what is no record is named on
    standard error."""
    from mqar_bench.records.store import Store

    store, problems = Store(root), list[str]()
    best = store.best(store.entries(problems))
    _name_skipped(problems)
    return best


def _choose(records: list[RunResult], root: Path, name: str | None, scale: str | None) -> list[RunResult]:
    """Those of a sweep at a scale; ``UsageError`` if there are none."""
    from mqar_bench.basics.errors import UsageError

    chosen = [r for r in records if name in (None, r.config.sweep) and scale in (None, r.config.scale)]
    if not chosen:
        if not root.is_dir():
            raise UsageError(f"no records: there is no folder {root}")
        what = " ".join(filter(None, [f"of sweep {name}" if name else "", f"at scale {scale}" if scale else ""]))
        there = sorted({f"{r.config.sweep} at {r.config.scale}" for r in records})
        raise UsageError(f"no records {what} in {root}: ".replace("  ", " ") + f"there is {', '.join(there) or 'none'}")
    return chosen


def _describe(conflict: Conflict, label: str) -> str:
    from mqar_bench.records.differ import origin

    here, imported, difference = conflict.here, conflict.imported, conflict.difference
    return (
        f"conflict {here.run_id} {label}: {difference.what} {difference.here} here ({origin(here.provenance)}),"
        f" {difference.there} in {conflict.source} ({origin(imported.provenance)});"
        f" {'replaced' if conflict.replaced else 'kept'}"
    )


def _export(frame: pd.DataFrame, path: Path) -> None:
    """Write the rows, all of them or none.

    Raises:
        UsageError: pyarrow is missing, or the file cannot be written.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.files import write_atomically

    try:
        data = _to_parquet(frame) if path.suffix == ".parquet" else frame.to_csv(index=False).encode()
    except ImportError:
        raise UsageError(f"--export {path}: Parquet needs pyarrow, which `pip install pyarrow` installs") from None
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _to_parquet(frame: pd.DataFrame) -> bytes:
    """A column has one type there: options of several, or lists, are written as JSON."""
    import pandas as pd

    from mqar_bench.cli.show import is_missing

    kinds = {"boolean": "boolean", "integer": "Int64", "mixed-integer-float": "float64", "string": "string"}
    frame, chosen = frame.copy(), dict[str, str]()
    for name in [name for name in frame.columns if pd.api.types.is_object_dtype(frame[name])]:
        kind = pd.api.types.infer_dtype(frame[name], skipna=True)
        if kind not in kinds:
            frame[name] = frame[name].map(lambda value: None if is_missing(value) else json.dumps(value))
        chosen[name] = kinds.get(kind, "string")
    buffer = io.BytesIO()
    frame.astype(chosen).to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _name_skipped(problems: list[str]) -> None:
    for problem in problems:
        print(f"skipped {problem}", file=sys.stderr)


def _column(column: str, columns: list[str]) -> str:
    from mqar_bench.basics.errors import UsageError

    if column not in columns:
        raise UsageError(f"no column {column!r}{hint(column, columns)}")
    return column
