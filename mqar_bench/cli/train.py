"""Commands that train: ``sweep`` and ``run``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.configs import load_sweep, start_config

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig
    from mqar_bench.launch import Summary
    from mqar_bench.store import Store


class ExecutorName(StrEnum):
    ray = "ray"
    inline = "inline"


Force = Annotated[bool, typer.Option("--force", help="Also run what is done already.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only failures and the result.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Most runs at a time. Default: what fits.")]
Gpus = Annotated[
    float | None,
    typer.Option(min=0, metavar="F", help="GPUs a run; 0.25 packs four on one. Default: 1 if there is one."),
]


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

    configs, store = load_sweep(name, scale), Store(results)
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
    start = start_config(base, config, from_record, store)
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


def _print_fields() -> None:
    from mqar_bench.overrides import fields
    from mqar_bench.show import plain

    for setting in fields():
        default = f" = {setting.default}" if setting.default else ""
        print(f"--{setting.path}  {setting.type}{default}")
        if setting.description:
            print(f"    {plain(setting.description)}")
