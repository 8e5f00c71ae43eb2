"""The command ``compare``: a mixer trained as the baselines of fig3 were, and drawn among them."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.check import MixerName, MixerOptions, print_findings
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
    Retries,
    TimeBudget,
    make_budget,
)
from mqar_bench.cli.output import Json, print_json, summary_values

if TYPE_CHECKING:
    from mqar_bench.config import MixerSpec, RunConfig
    from mqar_bench.launching import Screening, Summary
    from mqar_bench.records.baselines import Baselines
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store

#: Learning rates a factor of three apart, from the lowest to the highest that any baseline was trained with.
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 9e-2)
#: Of the epochs, to screen rates with where those of the baselines were not screened.
SHARE = 0.4
#: Characters of a sweep's name that are of the mixer's.
MAX_NAME = 80


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench compare my_mixers.Mine\n\n"
    'mqar-bench compare my_mixers.Mine --sizes \'[{"width": 16}, {"width": 64}]\' --scale laptop\n\n'
    "mqar-bench compare gla --options '{\"use_short_conv\": true}' --rates '[3e-3, 1e-2]' --json > gla.json"
)
def compare(
    name: MixerName,
    options: MixerOptions = "{}",
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="A JSON list of options, each over --options: a point each.", show_default=False
        ),
    ] = None,
    scale: Annotated[str, typer.Option(metavar="SCALE", help="Of the baselines: demo or laptop.")] = "demo",
    rates: Annotated[
        str | None, typer.Option(metavar="LIST", help=f"Learning rates to screen. Default: {json.dumps(RATES)}.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of the best rate, none of which was screened with.")
    ] = 3,
    d_model: Annotated[int, typer.Option(min=1, metavar="N", help="Width of the model.")] = 64,
    skip_check: Annotated[
        bool, typer.Option("--skip-check", help="Train it without asking whether it keeps the contract.")
    ] = False,
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the figures, in one of the runs.")] = Path(
        "figures"
    ),
    executor: Executor = ExecutorName.ray,
    address: Address = None,
    cpus_per_run: Cpus = None,
    gpus_per_run: Gpus = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    time_budget: TimeBudget = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare a mixer of your own with the baselines: check it, train it as they were trained, and draw it among them.

    The baselines are the records of fig3 that come with this package; only your mixer is trained, after a short
    convolution as they are: every learning rate for a share of the epochs, then the best with fresh seeds. Its records
    are those of sweep `compare-MIXER`, and the same command resumes, as `mqar-bench sweep` does, with its exit codes. A
    mixer that breaks the contract ends it as `mqar-bench check` does.

    The rank is among what each architecture of bounded state recalls with no more state than yours: its best model
    with at most as much, or, where that is higher, between the two models that yours lies between.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.compared import Compared, print_compared
    from mqar_bench.cli.show import print_undone
    from mqar_bench.config.check import check_mixers
    from mqar_bench.records.baselines import load_baselines
    from mqar_bench.records.store import Store

    shipped = load_baselines(scale)
    specs, tried = _parse_sizes(name, options, sizes), _parse_rates(rates)
    budget, store = make_budget(time_budget), Store(results)
    configs = _plan(shipped, list(specs.values()), tried, d_model)
    _check(specs, d_model, skip_check, quiet or as_json, as_json)
    for config in {config.variant: config for config in configs}.values():
        try:
            check_mixers(config)
        except UsageError as error:
            raise UsageError(str(error).partition(": ")[2]) from None  # without its place in a stack of ours
    resources = {"address": address, "jobs": jobs, "cpus_per_run": cpus_per_run, "gpus_per_run": gpus_per_run}
    launcher = Launcher(store, executor, quiet, force, budget, resources | {"retries": retries})
    screening = _screening(shipped, seeds)
    summary = launcher.launch_screened(configs, screening)
    code = launcher.exit_code(summary)
    if summary.left:
        if as_json:
            print_json(summary_values(summary, store, code))
        raise typer.Exit(code)
    records = _find(store, configs, screening)
    if not as_json and summary.failed:
        print_undone(summary, store)
    if not quiet and not as_json and not summary.done and not summary.failed:
        print("all of it was done before: --force trains it again, as after a change of the code", file=sys.stderr)
    found = Compared.make(shipped, specs, configs, records, checked=not skip_check)
    if not found.sizes:
        _fail(summary, store, as_json)
    drawn, lacking = _draw(found, out)
    print_compared(found, drawn, lacking, as_json)
    raise typer.Exit(max(code, 1 if len(found.sizes) < len(specs) else 0))


def _parse_sizes(name: str, options: str, sizes: str | None) -> dict[str, MixerSpec]:
    """The mixer with the options of each size, by what tells them apart."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.show import show_json
    from mqar_bench.config.overrides import parse_list, parse_mixer

    common = parse_mixer(name, options)
    if sizes is None:
        return {_label(common.options, show_json): common}
    entries = parse_list("--sizes", sizes, '[{"width": 16}, {"width": 64}]')
    found: dict[str, MixerSpec] = {}
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UsageError(f"--sizes: entry {i} must be an object of options, got {json.dumps(entry)}")
        try:
            spec = parse_mixer(name, json.dumps({**common.options, **entry}))
        except UsageError as error:
            raise UsageError(f"--sizes: entry {i}: {error}") from None
        if spec in found.values():
            raise UsageError(f"--sizes: entry {i} is {json.dumps(entry)}, with the options of one before it")
        found[_label(entry, show_json)] = spec
    return found


def _label(options: dict[str, Any], show: Any) -> str:
    return ", ".join(f"{key}={show(value)}" for key, value in options.items()) or "by default"


def _parse_rates(rates: str | None) -> tuple[float, ...]:
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config.overrides import parse_list
    from mqar_bench.config.run import MAX_FLOAT

    if rates is None:
        return RATES
    found = parse_list("--rates", rates, "[3e-3, 1e-2]")
    for rate in found:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= MAX_FLOAT:
            raise UsageError(f"--rates: a learning rate is a number above 0, got {json.dumps(rate)}")
        if found.count(rate) > 1:
            raise UsageError(f"--rates: {rate:g} is given twice")
    return tuple(map(float, found))


def _plan(shipped: Baselines, specs: list[MixerSpec], rates: tuple[float, ...], d_model: int) -> list[RunConfig]:
    """Every size at every rate, with the first seed."""
    import mixers

    name = specs[0].name
    label = f"{name} (yours)" if name in mixers.names() else ""  # it is no baseline
    return [shipped.config(spec, d_model, rate, sweep_of(name), label) for spec in specs for rate in rates]


def sweep_of(name: str) -> str:
    """The sweep under which a mixer's runs are listed; no two mixers share one."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[-MAX_NAME:]
    return f"compare-{safe}" if safe == name else f"compare-{safe}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _check(specs: dict[str, MixerSpec], d_model: int, skip: bool, quiet: bool, as_json: bool) -> None:
    """Ask each size for the contract; one that breaks it ends the command as ``mqar-bench check`` does."""
    from mqar_bench.contract.building import WIDTHS
    from mqar_bench.contract.check import check_mixer
    from mqar_bench.contract.report import Report, make_subject

    # all sizes before any is looked at for long: an option that there is not is said at once
    subjects = [make_subject(spec.name, spec.options, (*WIDTHS, d_model)) for spec in specs.values()]
    for label, subject in zip(specs, subjects, strict=True) if not skip else ():
        report = Report(subject, tuple(check_mixer(subject)))
        if report.failed:
            print_json(report.to_dict()) if as_json else print_findings(subject, report.findings)
            print("--skip-check trains it nevertheless", file=sys.stderr)
            raise typer.Exit(1)
        if not quiet:
            print(f"{report.verdict} ({label})", file=sys.stderr)


def _screening(shipped: Baselines, seeds: int) -> Screening:
    from mqar_bench.launching import Screening

    share = shipped.screening["epochs"] / shipped.protocol["train"]["max_epochs"] if shipped.screening else SHARE
    return Screening(share, keep=1, fresh=seeds)


def _find(store: Store, configs: list[RunConfig], screening: Screening) -> list[RunResult]:
    """The records of the runs in full."""
    chosen, _ = screening.second_stage(configs, store.find(screening.first_stage(configs)))
    return list(store.find(chosen).values())


def _fail(summary: Summary, store: Store, as_json: bool) -> None:
    """End where there is nothing to compare."""
    if as_json:
        print_json(summary_values(summary, store, 1))
    failed = [store.path(result.config) for result in summary.failed]
    where = f": {failed[0]} has the first traceback" if failed else ""
    print(f"no run is done, so there is nothing to compare{where}", file=sys.stderr)
    raise typer.Exit(1)


def _draw(found: Any, out: Path) -> tuple[list[Path], list[str]]:
    """The figures that can be drawn, and a line for each that cannot."""
    import plots
    from mqar_bench.basics.errors import UsageError

    paths: list[Path] = []
    lacking = []
    for name in ("fig3", "capacity"):
        try:
            paths += plots.draw(name, found.frame, out / found.folder, ours=[found.label])
        except OSError as error:
            raise UsageError(f"cannot write to {out}: {error.strerror or error}") from error
        except ValueError as error:
            lacking.append(f"no figure {name}: {error}")
    return paths, lacking
