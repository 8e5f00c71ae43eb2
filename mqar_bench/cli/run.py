"""The command ``run``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_place, complete_run
from mqar_bench.cli.configs import changed_config
from mqar_bench.cli.launching import (
    Address,
    ExecutorName,
    Force,
    Gpus,
    Launcher,
    Quiet,
    Retrain,
    Retries,
    SaveWeights,
    TimeBudget,
    Track,
    make_budget,
)
from mqar_bench.cli.output import print_json


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
        str | None,
        typer.Option(
            metavar="SWEEP/SCALE/I",
            help="Start from run I of a sweep, see sweep --dry-run.",
            autocompletion=complete_place,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start from a config in JSON, as --dry-run prints it.")
    ] = None,
    from_record: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|ID",
            help="Start from the config of a record: its file or run id.",
            autocompletion=complete_run,
        ),
    ] = None,
    results: Results = Path("results"),
    executor: Annotated[ExecutorName, typer.Option(help="In this process, or in a Ray worker.")] = ExecutorName.inline,
    cpus_per_run: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Torch threads. Default: all cores; ray: 1.")
    ] = None,
    gpus_per_run: Gpus = None,
    address: Address = None,
    retries: Retries = 2,
    time_budget: TimeBudget = None,
    save_weights: SaveWeights = False,
    retrain_without_weights: Retrain = False,
    track: Track = None,
    force: Force = False,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the config as JSON; train nothing.")] = False,
    list_fields: Annotated[bool, typer.Option("--list-fields", help="List everything that can be set.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record, or the fields, as JSON instead.")] = False,
) -> None:
    """Train one model: the default config, or another one to start from, with `--dotted.path value` changes.

    Values are JSON, else text. --list-fields tells what can be set, `mqar-bench mixers` the options of each mixer.
    A changed run is listed as sweep adhoc, scale custom, unless --sweep and --scale say otherwise.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.show import print_run
    from mqar_bench.config.overrides import parse_pairs
    from mqar_bench.records.store import Store

    if list_fields:
        _print_fields(as_json)
        return
    options = [name for parameter in context.command.params for name in parameter.opts]
    pairs, store = parse_pairs(context.args, options), Store(results)
    if sum(start is not None for start in (base, config, from_record)) > 1:
        raise UsageError("--base, --config and --from-record exclude each other")
    chosen = changed_config(pairs, base, config, from_record, store, track or ())
    if dry_run:
        print(chosen.model_dump_json(indent=2))
        return
    resources = {
        "address": address,
        "cpus_per_run": cpus_per_run,
        "gpus_per_run": gpus_per_run,
        "retries": retries,
        "save_weights": save_weights,
        "retrain_without_weights": retrain_without_weights,
        "track": tuple(track or ()),
    }
    launcher = Launcher(store, executor, quiet, force, make_budget(time_budget), resources)
    summary = launcher.launch([chosen])
    ended = summary.done + summary.skipped + summary.failed
    if as_json:
        print(ended[0].model_dump_json(indent=1) if ended else "null")
    for result in () if as_json else ended:
        print_run(result, store, skipped=bool(summary.skipped))
    raise typer.Exit(launcher.exit_code(summary))


def _print_fields(as_json: bool) -> None:
    from mqar_bench.cli.show import plain
    from mqar_bench.config.settings import fields

    if as_json:
        print_json([asdict(setting) for setting in fields()])
        return
    for setting in fields():
        default = f" = {setting.default}" if setting.default else ""
        print(f"--{setting.path}  {setting.type}{default}")
        if setting.description:
            print(f"    {plain(setting.description)}")
