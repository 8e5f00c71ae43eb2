"""The command ``sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_scale, complete_sweep
from mqar_bench.cli.configs import read_sweep
from mqar_bench.cli.launching import (
    Address,
    Cpus,
    Executor,
    ExecutorName,
    Force,
    Gpus,
    Jobs,
    Launcher,
    Quiet,
    Retrain,
    Retries,
    SaveWeights,
    TimeBudget,
    Track,
    make_budget,
)
from mqar_bench.cli.output import Json, print_json

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig
    from mqar_bench.launching import Screening
    from mqar_bench.records.store import Store


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench sweep fig3 --scale demo\n\n"
    "mqar-bench sweep fig3 --scale demo --dry-run\n\n"
    "mqar-bench sweep fig3 --scale laptop --time-budget 55m --select 5\n\n"
    "mqar-bench sweep fig3 --scale paper --gpus-per-run 0.25 --address auto\n\n"
    "mqar-bench sweep my_sweep.py --seeds 3\n\n"
    "mqar-bench sweep zoology/experiments/mqar_example_configs/original_mqar_configs.py"
)
def sweep(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="The sweep, such as fig3, or your own: my_sweep.py, my_package.my_sweep; or Zoology's file.",
            show_default=False,
            autocompletion=complete_sweep,
        ),
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="SCALE",
            help="Its scale, such as demo; of a file with SCALES.",
            show_default=False,
            autocompletion=complete_scale,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Seeds of every run: its own and the next ones.")] = 1,
    results: Results = Path("results"),
    executor: Executor = ExecutorName.ray,
    address: Address = None,
    cpus_per_run: Cpus = None,
    gpus_per_run: Gpus = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    time_budget: TimeBudget = None,
    save_weights: SaveWeights = False,
    retrain_without_weights: Retrain = False,
    track: Track = None,
    screen: Annotated[
        bool, typer.Option("--screen", help="Try all learning rates for a share of the epochs, the best in full.")
    ] = False,
    select: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Screen likewise; the best with N seeds not screened with.", show_default=False
        ),
    ] = None,
    screen_share: Annotated[float, typer.Option(metavar="F", help="With either: that share of the epochs.")] = 0.25,
    screen_keep: Annotated[int, typer.Option(metavar="K", help="With either: learning rates kept of a model.")] = 1,
    ignore_unknown_fields: Annotated[
        bool,
        typer.Option(
            "--ignore-unknown-fields",
            help="Of a file: leave out what is known neither here nor in Zoology; records say so.",
        ),
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and which are done; train none.")] = False,
    as_json: Json = False,
) -> None:
    """Run a sweep: every run that has no record yet.

    A file of your own has a function `configs()` that returns a list of RunConfigs, or `configs(scale)` and `SCALES`, a
    tuple of names; one of Zoology has a list `configs` of its TrainConfigs. The command says under which name the runs
    are listed; wherever a sweep is asked for, the file's name does as well.

    Records are written as runs end, and longer runs leave checkpoints: the same command resumes, whatever ended the
    last one. A run that fails is recorded with its traceback and tried again next time; one whose process or machine
    dies is tried again at once. Several of these commands may share a folder of records. Exit code 1 if any run
    failed, 3 if runs are left: the time budget ended first, or Ray was lost for good. Weights are kept of runs in
    full, not of the short ones of a screening.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.launching import Screening
    from mqar_bench.records.store import Store

    if select is not None and (screen or seeds != 1):
        raise UsageError("--select N screens, and says how many seeds there are: leave out --screen and --seeds")
    configs = read_sweep(name, scale, seeds, quiet, ignore_unknown_fields, track or ())
    store = Store(results)
    screening = Screening(screen_share, screen_keep, select or 0) if screen or select else None
    budget = make_budget(time_budget)
    if dry_run:
        _list_runs(configs, store, screening, as_json)
        return
    resources = {
        "address": address,
        "jobs": jobs,
        "cpus_per_run": cpus_per_run,
        "gpus_per_run": gpus_per_run,
        "retries": retries,
        "save_weights": save_weights,
        "retrain_without_weights": retrain_without_weights,
        "track": tuple(track or ()),
    }
    Launcher(store, executor, quiet, force, budget, resources).train(configs, screening, as_json)


def _list_runs(configs: list[RunConfig], store: Store, screening: Screening | None, as_json: bool) -> None:
    from mqar_bench.launching.progress import label_runs

    if screening is not None:
        short = screening.first_stage(configs)
        chosen, _ = screening.second_stage(configs, store.find(short))
        configs = short + chosen
    labels, known = label_runs(configs), store.find(configs)
    if as_json:
        found = [(config, known.get(config.run_id)) for config in configs]
        print_json(
            [
                {"run_id": c.run_id, "status": r and r.status, "label": labels[c.run_id], "scale": c.scale}
                for c, r in found
            ]
        )
        return
    for i, config in enumerate(configs):
        record = known.get(config.run_id)
        print(f"{i:4d}  {config.run_id}  {record.status if record else '-':6s}  {labels[config.run_id]}")
