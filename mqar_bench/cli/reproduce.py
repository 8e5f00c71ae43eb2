"""The command ``reproduce``: sweeps, then figures, then the report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_figure, complete_scale
from mqar_bench.cli.configs import read_sweep
from mqar_bench.cli.launching import (
    Address,
    ExecutorName,
    Gpus,
    Jobs,
    Launcher,
    Quiet,
    Retrain,
    Retries,
    SaveWeights,
    TimeBudget,
    make_budget,
)
from mqar_bench.cli.output import Json, print_json

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.analysis.report.claims import Claim
    from mqar_bench.analysis.report.markdown import Section
    from mqar_bench.config import RunConfig
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench reproduce fig3 --scale laptop\n\n"
    "mqar-bench reproduce --scale laptop --time-budget 55m\n\n"
    "mqar-bench reproduce --scale laptop --no-train"
)
def reproduce(
    figures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIGURE]...", help="Default: all there are.", show_default=False, autocompletion=complete_figure
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(metavar="SCALE", help="Such as laptop.", show_default=False, autocompletion=complete_scale)
    ] = "laptop",
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Seeds of every run.")] = 1,
    results: Results = Path("results"),
    train: Annotated[bool, typer.Option("--train/--no-train", help="Run what is missing, or only draw.")] = True,
    select: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Screen the learning rates, and train the best with N fresh seeds.",
            show_default=False,
        ),
    ] = None,
    screen_share: Annotated[
        float, typer.Option(metavar="F", help="With --select: share of the epochs to screen.")
    ] = 0.25,
    executor: Annotated[ExecutorName, typer.Option(help="Parallel, or one run after another.")] = ExecutorName.ray,
    address: Address = None,
    gpus_per_run: Gpus = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    time_budget: TimeBudget = None,
    save_weights: SaveWeights = False,
    retrain_without_weights: Retrain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Reproduce figures from nothing: their sweeps, the drawings, and a report that answers the paper's claims.

    Sweeps resume as `mqar-bench sweep` does. Figures go to RESULTS/figures, the report to RESULTS/REPORT.md:
    protocol, deviations from the paper, every number, and each claim with its evidence, also where it does not hold.
    """
    import plots
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.launching import Screening
    from mqar_bench.records.store import Store

    wanted = figures or list(plots.names())
    for name in wanted:
        if name not in plots.names():
            raise UsageError(f"no figure named {name!r} to reproduce{hint(name, plots.names())}")
    if select is not None and seeds != 1:
        raise UsageError("--select N says how many seeds there are: leave out --seeds")
    store, code = Store(results), 0
    if train:
        resources = {"address": address, "jobs": jobs, "gpus_per_run": gpus_per_run, "retries": retries}
        resources |= {"save_weights": save_weights, "retrain_without_weights": retrain_without_weights}
        launcher = Launcher(store, executor, quiet, False, make_budget(time_budget), resources)
        screening = Screening(screen_share, fresh=select) if select else None
        for sweep, runs in _grids(wanted, scale, seeds, skip=not figures).items():
            print(f"sweep {sweep}", file=sys.stderr)
            summary = launcher.launch_screened(runs, screening) if screening else launcher.launch(runs)
            code = max(code, launcher.exit_code(summary))
            if summary.stopped:  # the next one would come no further
                break
    path, sections = _report(store, wanted, scale)
    if as_json:
        drawn = [{"figure": s.name, "picture": s.picture, "claims": [c._asdict() for c in s.claims]} for s in sections]
        print_json({"report": str(path), "exit_code": code, "figures": drawn})
    else:
        print(path)
    raise typer.Exit(code)


def _grids(figures: list[str], scale: str, seeds: int, skip: bool) -> dict[str, list[RunConfig]]:
    """The runs behind figures, by sweep. A sweep that has no such scale is an error, or passed over with ``skip``, if
    another has it."""
    import plots
    import sweeps

    named = dict.fromkeys(sweep for name in figures for sweep in plots.sweeps(name))
    lacking = [sweep for sweep in named if scale not in sweeps.scales(sweep)]
    if skip and len(lacking) < len(named):
        for sweep in lacking:
            print(f"sweep {sweep} has no scale {scale}: left out", file=sys.stderr)
            del named[sweep]
    return {sweep: read_sweep(sweep, scale, seeds) for sweep in named}


def _report(store: Store, wanted: list[str], scale: str) -> tuple[Path, list[Section]]:
    """The report's file, as it is written, and what is in it."""
    from mqar_bench.analysis.report.markdown import write_report
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.files import write_atomically
    from mqar_bench.launching.screen import SUFFIX
    from mqar_bench.records.store import StoreError

    records = [r for r in store.results()[0] if r.config.scale in (scale, scale + SUFFIX)]
    sections = [section for name in wanted if (section := _section(store, records, name, scale)) is not None]
    if not sections:
        raise UsageError(f"nothing to report: no run of {', '.join(wanted)} at scale {scale} is done in {store.root}")
    path = store.root / "REPORT.md"
    try:
        write_atomically(path, write_report(sections, scale).encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return path, sections


def _section(store: Store, all_records: list[RunResult], name: str, scale: str) -> Section | None:
    """A figure drawn, and its part of the report; none if there is nothing to draw."""
    import plots
    from mqar_bench.analysis.report.markdown import Section
    from mqar_bench.cli.left_out import left_out
    from mqar_bench.records.table import to_frame

    if not plots.sweeps(name):
        return _traced_section(store, name, scale)
    records = [r for r in all_records if r.config.sweep in plots.sweeps(name)]
    short = [r for r in records if r.config.scale != scale]
    note = ""
    if plots.shows_screening(name) and any(r.status == "done" for r in short):
        records, note = short, "The short runs by which rates were chosen."
    else:
        records = [r for r in records if r.config.scale == scale]
    done = [r for r in records if r.status == "done"]
    if not done:
        print(f"{name}: no run is done", file=sys.stderr)
        return None
    frame = to_frame(records, curves=True)
    try:
        table = plots.table(name, frame)
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
    return Section(
        name=name,
        title=plots.describe(name),
        picture=_draw(store, name, scale, table),
        table=table,
        runs=frame,
        configs=[result.config for result in done],
        claims=_claims(name, table),
        note=note,
        left_out=[line for sweep in plots.sweeps(name) for line in left_out(store, all_records, sweep, scale)],
    )


def _traced_section(store: Store, name: str, scale: str) -> Section | None:
    """Like ``_section``, of the traces below RESULTS/traces."""
    import plots
    from mqar_bench.analysis.report.claims import locality
    from mqar_bench.analysis.report.markdown import Section
    from mqar_bench.analysis.trace import load_trace

    files = sorted((store.root / "traces").rglob("*.npz"))
    if not files:
        print(f"{name}: no trace, see `mqar-bench trace --out {store.root / 'traces'}`", file=sys.stderr)
        return None
    traces = [load_trace(file) for file in files]
    if name == "traces":
        traces = traces[:1]
    table = plots.table(name, traces)
    runs = ", ".join(f"{trace.config.run_id} ({trace.setting}: {trace.accuracy:.3f} right)" for trace in traces)
    return Section(
        name=name,
        title=plots.describe(name),
        picture=_draw(store, name, scale, table),
        table=table,
        runs=None,
        configs=[trace.config for trace in traces],
        claims=locality(table) if name == "cache" else (),
        note=f"Traced: {runs}; mixers {' '.join(spec.name for spec in traces[0].config.model.mixers)}.",
    )


def _draw(store: Store, name: str, scale: str, table: pd.DataFrame) -> str:
    """The path of the picture, from the report."""
    import plots

    return os.path.relpath(plots.save(name, table, store.root / "figures" / scale)[1], store.root)


def _claims(name: str, table: pd.DataFrame) -> list[Claim]:
    from mqar_bench.analysis.report.claims import (
        above_at_equal_state,
        helps,
        lasts,
        more_slots_help,
        overlap_decides,
        rises,
    )

    if name == "fig3":
        return above_at_equal_state(table)
    if name == "fig4":
        axes = (("fig4_order", "the order U"), ("fig4_slots", "the slots M"), ("top_k", "K"))
        return [claim for sweep, what in axes for claim in rises(table, sweep, what)]
    if name == "ablations":
        from plots.ablations import GRADIENTS, TEMPERATURES
        from plots.ramnet import NEVER, SHRUNK

        claims = rises(table, "cape", "CAPE in more heads of the last layer", falls=True)
        claims += helps(table, "temperature", "learning the temperature, by where it starts,", *TEMPERATURES)
        claims += helps(table, "proxy_gradient", "the proxy gradient, by gamma,", *GRADIENTS)
        what = "of 64 slots, training with more than K to the end, by K,"
        return claims + helps(table, "anneal", what, *(f"{how}, $M$ = 64" for how in (NEVER, SHRUNK)))
    if name == "trainability":
        from plots.trainability import RECIPES

        return overlap_decides(table) + more_slots_help(table, *RECIPES) + lasts(table)
    return []
