"""The command ``reproduce``: sweeps, then figures, then the report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_scale
from mqar_bench.cli.configs import read_sweep
from mqar_bench.cli.launching import (
    Address,
    Executor,
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
from mqar_bench.cli.sections import Figures

if TYPE_CHECKING:
    from mqar_bench.analysis.report.section import Section
    from mqar_bench.config import RunConfig
    from mqar_bench.records.store import Store


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench reproduce fig3 --scale laptop\n\n"
    "mqar-bench reproduce --scale laptop --time-budget 55m\n\n"
    "mqar-bench reproduce --scale laptop --no-train"
)
def reproduce(
    figures: Figures = None,
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
    executor: Executor = ExecutorName.ray,
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

    Sweeps resume as `mqar-bench sweep` does. Figures go to RESULTS/figures, the report to RESULTS/REPORT.md, and as a
    page to RESULTS/report.html (see `mqar-bench report`): protocol, deviations from the paper, every number, and each
    claim with its evidence, also where it does not hold.
    """
    import plots
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.sections import check_figures
    from mqar_bench.launching import Screening
    from mqar_bench.records.store import Store

    wanted = figures or list(plots.names())
    check_figures(wanted)
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
    paths, sections = _report(store, wanted, scale)
    if as_json:
        drawn = [{"figure": s.name, "picture": s.picture, "claims": [c._asdict() for c in s.claims]} for s in sections]
        print_json({"reports": [str(path) for path in paths], "exit_code": code, "figures": drawn})
    else:
        print(*paths, sep="\n")
    raise typer.Exit(code)


def _grids(figures: list[str], scale: str, seeds: int, skip: bool) -> dict[str, list[RunConfig]]:
    """The runs behind figures, by sweep, but for those that need a text, which are named. A sweep without this scale
    is an error, or passed over with ``skip``, if another has it."""
    import plots
    import sweeps

    named = dict.fromkeys(sweep for name in figures for sweep in plots.sweeps(name))
    of_text = [sweep for sweep in named if sweeps.needs_text(sweep)]
    for sweep in of_text:
        del named[sweep]
    lacking = [sweep for sweep in named if scale not in sweeps.scales(sweep)]
    if skip and len(lacking) < len(named):
        for sweep in lacking:
            print(f"sweep {sweep} has no scale {scale}: left out", file=sys.stderr)
            del named[sweep]
    for sweep in of_text:
        print(f"sweep {sweep} needs a text: `{sweeps.command(sweep, scale)}` trains it", file=sys.stderr)
    return {sweep: read_sweep(sweep, scale, seeds) for sweep in named}


def _report(store: Store, wanted: list[str], scale: str) -> tuple[list[Path], list[Section]]:
    """The report's files, as they are written, and what is in them."""
    import plots
    from mqar_bench.analysis.report.markdown import write_report
    from mqar_bench.cli.sections import find_sections, of_scale
    from mqar_bench.records.store import write_file
    from plots.page import find_missing, write_page
    from plots.page.libraries import INSTALL

    entries = of_scale(store.best(store.entries([])), scale)
    sections = find_sections(store, entries, wanted, scale)
    for section in sections:
        plots.save(section.name, section.table, store.root / "figures" / scale)
    paths = [store.root / "REPORT.md"]
    write_file(paths[0], write_report(sections, scale).encode())
    if missing := find_missing():
        print(f"report.html is left out, which needs {missing}: {INSTALL}", file=sys.stderr)
        return paths, sections
    paths.append(store.root / "report.html")
    write_file(paths[1], write_page(sections, entries, scale, store.root))
    return paths, sections
