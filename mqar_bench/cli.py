"""The command line. Commands import what they need when they run, so that help comes at once."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mqar_bench.perf.command import EXAMPLES as PERF_EXAMPLES
from mqar_bench.perf.command import perf

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.config import RunConfig
    from mqar_bench.launch import Summary
    from mqar_bench.store import Store


class Commands(TyperGroup):
    """Says a user's mistake in one line, ``error: ...`` with exit code 2; anything else keeps its traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        standalone = kwargs.pop("standalone_mode", True)
        try:
            result = super().main(*args, **{**kwargs, "standalone_mode": False})
        except Exception as error:
            if not _is_users(error):
                raise
            text = error.format_message() if hasattr(error, "format_message") else str(error)
            print("error:", " ".join(text.replace("Value error, ", "").split()), file=sys.stderr)
            sys.exit(2)
        if not standalone:
            return result
        sys.exit(result if isinstance(result, int) else 0)


def _is_users(error: Exception) -> bool:
    if hasattr(error, "format_message"):  # of the parser, whose module differs between typer's versions
        return True
    from mqar_bench.overrides import UsageError
    from mqar_bench.store import StoreError

    return isinstance(error, UsageError | StoreError)


class ExecutorName(StrEnum):
    ray = "ray"
    inline = "inline"


class ResultsFormat(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


class MixersFormat(StrEnum):
    table = "table"
    json = "json"


app = typer.Typer(
    name="mqar-bench",
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of the records.")]
Force = Annotated[bool, typer.Option("--force", help="Also run what is done already.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only failures and the result.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Most runs at a time. Default: what fits.")]
Gpus = Annotated[
    float | None,
    typer.Option(min=0, metavar="F", help="GPUs a run; 0.25 packs four on one. Default: 1 if there is one."),
]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Recall in efficient sequence models: train, tabulate and draw.

    A sweep is a list of runs. Each leaves a record, a JSON file; a run with a record is not run again, so the
    same command resumes. Tables and figures are made from records alone.
    """
    if os.getcwd() not in sys.path:  # the user's own mixers; last, so that nothing here is hidden by them
        sys.path.append(os.getcwd())
    if version:
        print(f"mqar-bench {_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench sweep fig3 --scale demo\n\n"
    "mqar-bench sweep fig3 --scale demo --dry-run\n\n"
    "mqar-bench sweep fig3 --scale paper --gpus-per-run 0.25"
)
def sweep(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sweep, such as fig3.", show_default=False)],
    scale: Annotated[str, typer.Option(metavar="SCALE", help="Its scale, such as demo.", show_default=False)],
    results: Results = Path("results"),
    executor: Annotated[ExecutorName, typer.Option(help="Parallel, or one run after another.")] = ExecutorName.ray,
    cpus_per_run: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPUs and torch threads a run. Default: 1; inline: all."),
    ] = None,
    gpus_per_run: Gpus = None,
    jobs: Jobs = None,
    force: Force = False,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and which are done; train none.")] = False,
) -> None:
    """Run a sweep: every run that has no record yet.

    Records are written as runs end, so interrupting loses only what is under way. A run that fails is recorded
    with its traceback and tried again next time. Exit code 1 if any run failed.
    """
    from mqar_bench.launch.progress import label_runs
    from mqar_bench.show import print_summary
    from mqar_bench.store import Store

    configs, store = _load_sweep(name, scale), Store(results)
    if dry_run:
        labels, known = label_runs(configs), store.find(configs)
        for i, config in enumerate(configs):
            record = known.get(config.run_id)
            print(f"{i:4d}  {config.run_id}  {record.status if record else '-':6s}  {labels[config.run_id]}")
        return
    summary = _launch(configs, store, executor, quiet, jobs, cpus_per_run, gpus_per_run, force)
    print_summary(summary, store)
    raise typer.Exit(1 if summary.failed else 0)


@app.command(
    options_metavar="[OPTIONS] [--SETTING VALUE]...",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="**Examples**\n\n"
    "mqar-bench run --model.mixers.1.name ramnet --model.mixers.1.options.top_k 8\n\n"
    "mqar-bench run --base fig3/demo/3 --train.learning_rate 1e-3 --train.seed=1\n\n"
    'mqar-bench run --model.mixers \'[{"name": "my_module.MyMixer"}]\' --dry-run',
)
def run(
    context: typer.Context,
    base: Annotated[
        str | None, typer.Option(metavar="SWEEP/SCALE/I", help="Start from run I of a sweep, see sweep --dry-run.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start from a config in JSON, as --dry-run prints it.")
    ] = None,
    from_record: Annotated[
        str | None, typer.Option(metavar="FILE|ID", help="Start from the config of a record: its file or run id.")
    ] = None,
    results: Results = Path("results"),
    executor: Annotated[ExecutorName, typer.Option(help="In this process, or in a Ray worker.")] = ExecutorName.inline,
    cpus_per_run: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Torch threads. Default: all cores; ray: 1.")
    ] = None,
    gpus_per_run: Gpus = None,
    force: Force = False,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the config as JSON; train nothing.")] = False,
    list_fields: Annotated[bool, typer.Option("--list-fields", help="List everything that can be set.")] = False,
) -> None:
    """Train one model: the default config, or another one to start from, with `--dotted.path value` changes.

    Values are JSON, else text. --list-fields tells what can be set, `mqar-bench mixers` the options of each mixer.
    A changed run is listed as sweep adhoc, scale custom, unless --sweep and --scale say otherwise.
    """
    from mqar_bench.overrides import UsageError, apply_overrides, parse_pairs
    from mqar_bench.show import print_run
    from mqar_bench.store import Store

    if list_fields:
        _print_fields()
        return
    options = [name for parameter in context.command.params for name in parameter.opts]
    pairs, store = parse_pairs(context.args, options), Store(results)
    if sum(start is not None for start in (base, config, from_record)) > 1:
        raise UsageError("--base, --config and --from-record exclude each other")
    start = _start_config(base, config, from_record, store)
    if pairs and (base or from_record):  # a changed run is not of the sweep that it was changed from
        start = start.model_copy(update={"sweep": "adhoc", "scale": "custom"})
    chosen = apply_overrides(start, pairs)
    if dry_run:
        print(chosen.model_dump_json(indent=2))
        return
    summary = _launch([chosen], store, executor, quiet, None, cpus_per_run, gpus_per_run, force)
    (result,) = summary.done + summary.skipped + summary.failed
    print_run(result, store, skipped=bool(summary.skipped))
    raise typer.Exit(1 if summary.failed else 0)


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
        raise UsageError(f"no figure named {name!r}{_hint(name, plots.names())}")
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
            rows.append([mixer["name"], f"{plain(mixer['summary'])}\n  {options}"])
        print_table(["mixer", "what it is, and its options with their defaults"], rows)
    else:
        print(plain(described[0]["summary"]))
        rows = [
            [o["name"], o["type"], show_json(o["default"]), plain(o["description"])] for o in described[0]["options"]
        ]
        print_table(["option", "type", "default", "what it is"], rows)


app.command(epilog=PERF_EXAMPLES)(perf)


def main() -> None:
    """Entry point of ``mqar-bench``."""
    app(prog_name="mqar-bench")


def _load_sweep(name: str, scale: str) -> list[RunConfig]:
    import sweeps
    from mqar_bench.overrides import UsageError

    try:
        return sweeps.load(name, scale)
    except ValueError as error:
        if type(error) is not ValueError:  # a fault in the sweep, not in what was asked of it
            raise
        raise UsageError(str(error)) from error


def _start_config(base: str | None, file: Path | None, record: str | None, store: Store) -> RunConfig:
    from mqar_bench.config import RunConfig
    from mqar_bench.overrides import UsageError, read_config

    if base is not None:
        name, scale, index = (base.split("/") + ["", ""])[:3]
        configs = _load_sweep(name, scale)
        if not (index.isdecimal() and int(index) < len(configs)):
            raise UsageError(f"--base {base}: the last part must be a run from 0 to {len(configs) - 1}")
        return configs[int(index)]
    if record is not None and Path(record).exists():
        file = Path(record)
    elif record is not None:
        found = store.with_id(record)
        if len(found) != 1:
            many = "several records have an id that starts with" if found else "there is no file and no record"
            raise UsageError(f"{many} {record!r} in {store.root}")
        return found[0].config
    return RunConfig() if file is None else read_config(file)


def _launch(
    configs: list[RunConfig],
    store: Store,
    executor: ExecutorName,
    quiet: bool,
    jobs: int | None,
    cpus_per_run: int | None,
    gpus_per_run: float | None,
    force: bool,
) -> Summary:
    """``launch`` under the eyes of whoever sits at the terminal."""
    from mqar_bench.launch import launch
    from mqar_bench.launch.progress import make_watcher
    from mqar_bench.show import make_console

    try:
        return launch(
            configs,
            store,
            executor.value,
            jobs=jobs,
            cpus_per_run=cpus_per_run,
            gpus_per_run=gpus_per_run,
            force=force,
            watcher=make_watcher(make_console(stderr=True), quiet),
        )
    except KeyboardInterrupt:
        done = sum(result.status == "done" for result in store.find(configs).values())
        kept = f"{done} of {len(configs)} runs are done, in {store.root}"
        print(f"interrupted: {kept}; the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None


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
        raise UsageError(f"no column {column!r}{_hint(column, columns)}")
    return column


def _hint(given: str, known: Any) -> str:
    close = difflib.get_close_matches(given, known, 1)
    return f": did you mean {close[0]!r}?" if close else f": there is {', '.join(known)}"


def _print_fields() -> None:
    from mqar_bench.overrides import fields
    from mqar_bench.show import plain

    for setting in fields():
        default = f" = {setting.default}" if setting.default else ""
        print(f"--{setting.path}  {setting.type}{default}")
        if setting.description:
            print(f"    {plain(setting.description)}")


def _version() -> str:
    try:
        return importlib.metadata.version("mqar-bench")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        import tomllib

        with open(Path(__file__).parent.parent / "pyproject.toml", "rb") as file:
            return tomllib.load(file)["project"]["version"]
