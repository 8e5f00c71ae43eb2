"""Commands that look at what is there: ``plot`` and ``mixers``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_figure, complete_mixer, complete_recorded, complete_scale
from mqar_bench.cli.configs import sweep_name
from mqar_bench.cli.left_out import left_out
from mqar_bench.cli.output import Format, Json, ListFormat, frame_rows, print_json
from mqar_bench.cli.results import read_records

if TYPE_CHECKING:
    from mqar_bench.analysis.stream_record import StreamEvaluation
    from mqar_bench.analysis.trace import Trace
    from mqar_bench.records.result import RunResult
    from plots import Data


#: Lines that name runs that a figure lacks, at most, for each sweep; a report names all.
NAMED = 8


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench plot fig3 --scale demo --out figures\n\n"
    "mqar-bench plot lr --sweep top_k --scale laptop\n\n"
    "mqar-bench plot my_figure.py --sweep my_sweep.py\n\n"
    "mqar-bench plot cache --trace a/trace.npz --trace b/trace.npz"
)
def plot(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="The figure, such as fig3, or your own: my_figure.py, my_package.my_figure.",
            show_default=False,
            autocompletion=complete_figure,
        ),
    ],
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="Default: the one with finished runs.", autocompletion=complete_scale),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SWEEP|FILE",
            help="Of this sweep; may be repeated. Default: those that the figure is made for.",
            autocompletion=complete_recorded,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of runs on these data, as `results --columns data` names them."),
    ] = None,
    trace: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="For traces and cache: what `mqar-bench trace` wrote; may be repeated."),
    ] = None,
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")] = Path("figures"),
    columns: Annotated[
        int, typer.Option(min=1, max=2, metavar="1|2", help="Columns of a page it takes; fig3 and its like.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Draw a figure from records, and write the numbers in it beside it.

    Runs on different data do not compare: where there are some, --data chooses. Runs that are not done are named.

    A file of your own has `table(frame)`, from the rows that `mqar-bench results` has to the numbers in the figure, and
    `figure(points)`, from these to a matplotlib Figure. It shows every sweep with records, unless it has `SWEEPS`, a
    tuple of names; with `SCREENING = True` the short runs of a screening. Given --trace it is drawn from traces.
    """
    import plots
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.modules import is_own
    from mqar_bench.records.store import Store
    from mqar_bench.records.table import to_frame

    own = name not in plots.names() and is_own(name)
    if name not in plots.names() and not own:
        if Path(f"{name}.py").is_file():
            raise UsageError(f"no figure named {name!r}: did you mean the file {name}.py?")
        raise UsageError(f"no figure named {name!r}{hint(name, plots.names())}")
    if not plots.sweeps(name) and (trace or not own):
        streamed = () if own else plots.streamed(name)
        of = [sweep_name(one) for one in sweep or streamed]
        found = _find_streams(name, of, results, scale, trace) if streamed else _read_traces(name, trace)
        _draw(name, found, out, columns, as_json)
        return
    if trace:
        raise UsageError(f"the figure {name} is drawn from records: there is no --trace to it")
    files = {sweep_name(one): one for one in sweep or ()} | (plots.sweep_files(name) if own else {})
    chosen = [sweep_name(one) for one in sweep] if sweep else plots.sweeps(name)
    if not chosen:
        chosen = sorted({result.config.sweep for result in read_records(results, None, scale)})
    records, scale = _read_records(name, chosen, scale, results, files, own and plots.shows_screening(name))
    for one in chosen:
        for line in left_out(Store(results), records, one, scale, most=NAMED):
            print(f"note: {line}", file=sys.stderr)
    records = _on_data(records, data) if data else records
    for what, count in Counter(what for result in records for what in result.config.ignored).items():
        print(f"note: {count} of {len(records)} runs leave out {what}", file=sys.stderr)
    _draw(name, to_frame(records, curves=True), out, columns, as_json)


@app.command(name="mixers", epilog="**Examples**\n\nmqar-bench mixers\n\nmqar-bench mixers ramnet")
def list_mixers(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A mixer, or a dotted path to a class.",
            show_default=False,
            autocompletion=complete_mixer,
        ),
    ] = None,
    as_json: Json = False,
    format: Format = ListFormat.table,
) -> None:
    """List the mixers, or the options of one."""
    import mixers
    from mqar_bench.basics.console import print_table
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.show import describe_mixer, plain, show_json

    try:
        described = [describe_mixer(mixer) for mixer in ([name] if name else mixers.names())]
    except mixers.MixerError as error:
        raise UsageError(str(error)) from None
    if as_json or format is ListFormat.json:
        print_json(described if name is None else described[0])
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


def _read_traces(name: str, files: list[Path] | None) -> list[Trace]:
    from mqar_bench.analysis.trace import load_trace
    from mqar_bench.basics.errors import UsageError

    if not files:
        raise UsageError(f"the figure {name} is drawn from --trace FILE, as `mqar-bench trace` writes it")
    return [load_trace(file) for file in files]


def _find_streams(
    name: str, sweeps: Sequence[str], results: Path, scale: str | None, traces: list[Path] | None
) -> list[StreamEvaluation]:
    from mqar_bench.analysis.stream_record import find_streams
    from mqar_bench.basics.errors import UsageError

    if traces:
        raise UsageError(f"the figure {name} is drawn from what `mqar-bench stream` keeps: there is no --trace to it")
    found = find_streams(results, sweeps, scale)
    if not found:
        at = f" at scale {scale}" if scale else ""
        raise UsageError(
            f"no run of {' or '.join(sweeps)}{at} in {results} is streamed: `mqar-bench stream RUN` does that"
        )
    return found


def _draw(name: str, data: Data, out: Path, columns: int, as_json: bool) -> None:
    import plots
    from mqar_bench.basics.errors import UsageError

    try:
        drawing = plots.make_figure(name, data, columns)
        paths = drawing.save(out)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if as_json:
        print_json({"figure": name, "files": list(map(str, paths)), "table": frame_rows(drawing.table)})
        return
    for path in paths:
        print(path)


def _read_records(
    figure: str,
    wanted: Sequence[str],
    scale: str | None,
    root: Path,
    files: Mapping[str, str] | None = None,
    short: bool = False,
) -> tuple[list[RunResult], str]:
    """The records of these sweeps at one scale, and that scale: the only one with finished runs, unless it is given.

    Args:
        files: what names a sweep in a command, where it is not what records name it.
        short: those of a screening at that scale, where some are done.
    """
    import sweeps
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.modules import is_own
    from mqar_bench.launching.screen import SUFFIX

    files = files or {}
    every = read_records(root, None, None if short else scale)
    records = [result for result in every if scale in (None, result.config.scale)]
    there = sorted({result.config.sweep for result in records})
    for sweep in wanted:
        known = sweep in (*there, *sweeps.names()) or sweeps.needs_text(sweep)
        if not known and not is_own(files.get(sweep, "")):
            raise UsageError(f"no sweep named {sweep!r}{hint(sweep, sorted({*there, *sweeps.names()}))}")
    records = [result for result in records if result.config.sweep in wanted]
    if not records:
        given = [files.get(sweep, sweep) for sweep in wanted]
        makes = f"mqar-bench sweep {given[0]}"
        if scale or not is_own(given[0]):
            makes = sweeps.command(given[0], scale or "demo")
        raise UsageError(
            f"no records of {' or '.join(given)}{f' at scale {scale}' if scale else ''} in {root}:"
            f" `{makes}` makes some (there is {', '.join(there)})"
        )
    if scale is None:
        records = [r for r in records if not r.config.scale.endswith(SUFFIX)] or records  # screening's are no results
        scales = sorted({result.config.scale for result in records})
        finished = sorted({result.config.scale for result in records if result.status == "done"})
        if len(scales) > 1 and len(finished) != 1:
            raise UsageError(f"there are records of {figure} at {', '.join(scales)}: choose one with --scale")
        scale = finished[0] if finished else scales[0]
    screened = [r for r in every if r.config.sweep in wanted and r.config.scale == scale + SUFFIX]
    if short and any(result.status == "done" for result in screened):
        return screened, scale + SUFFIX
    return [result for result in records if result.config.scale == scale], scale


def _on_data(records: Sequence[RunResult], names: Sequence[str]) -> list[RunResult]:
    from mqar_bench.basics.errors import UsageError

    there = sorted({result.config.data_name for result in records})
    for name in names:
        if name not in there:
            raise UsageError(f"--data {name}: there are no such runs{hint(name, there)}")
    return [result for result in records if result.config.data_name in names]
