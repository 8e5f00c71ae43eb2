"""The configs that a command is about: those of a sweep, or one to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig
    from mqar_bench.records.store import Store


def load_sweep(name: str, scale: str | None, seeds: int = 1) -> list[RunConfig]:
    """The runs of a sweep at a scale, with so many seeds; ``UsageError`` if there is none such, or no scale."""
    import sweeps
    from mqar_bench.basics.errors import UsageError

    try:
        if scale is None:
            raise UsageError(f"sweep {name!r} needs a scale: --scale {', '.join(sweeps.scales(name))}")
        return sweeps.load(name, scale, seeds)
    except ValueError as error:
        if type(error) is not ValueError:  # a fault in the sweep, not in what was asked of it
            raise
        raise UsageError(str(error)) from error


def load_zoology(path: Path, seeds: int, quiet: bool, ignore_unknown: bool) -> list[RunConfig]:
    """The runs of an experiment file of Zoology; on standard error, what could not be translated or differs, and the
    name of the sweep."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.zoology import load_experiment
    from sweeps.protocols import with_seeds

    experiment = load_experiment(path, ignore_unknown)
    for reason, count in experiment.refused.items():
        print(f"refused: {count} of {experiment.total} configs: {reason}", file=sys.stderr)
    if not quiet:
        for note, count in experiment.notes.items():
            print(f"note: {count} of {experiment.total} configs: {note}", file=sys.stderr)
    if not experiment.configs:
        raise UsageError(f"{path}: none of its {experiment.total} configs can be run here")
    if not quiet:
        first = experiment.configs[0]
        print(f"note: its runs are those of sweep {first.sweep} at scale {first.scale}", file=sys.stderr)
    return with_seeds(experiment.configs, seeds)


def changed_config(
    pairs: list[tuple[str, str]], base: str | None, file: Path | None, record: str | None, store: Store
) -> RunConfig:
    """``start_config`` with changes; a changed run is not of the sweep that it was changed from."""
    from mqar_bench.config.overrides import apply_overrides

    start = start_config(base, file, record, store)
    if pairs and (base is not None or record is not None):
        start = start.model_copy(update={"sweep": "adhoc", "scale": "custom"})
    return apply_overrides(start, pairs)


def start_config(base: str | None, file: Path | None, record: str | None, store: Store) -> RunConfig:
    """The config to start from: a run of a sweep (NAME/SCALE/I), a file, a record (file or id), or the default."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config import RunConfig
    from mqar_bench.config.overrides import read_config

    if base is not None:
        return run_of_sweep(base, "--base ")
    if record is not None and Path(record).exists():
        file = Path(record)
    elif record is not None:
        found = store.with_id(record)
        if len(found) != 1:
            many = "several records have an id that starts with" if found else "there is no file and no record"
            raise UsageError(f"{many} {record!r} in {store.root}")
        return found[0].config
    return RunConfig() if file is None else read_config(file)


def run_of_sweep(place: str, option: str = "") -> RunConfig:
    """The run that ``SWEEP/SCALE/I`` means, which is given to an ``option``; ``UsageError`` if there is none such."""
    from mqar_bench.basics.errors import UsageError

    if place.count("/") != 2:
        raise UsageError(f"{option}{place}: a run is given as SWEEP/SCALE/I, such as fig3/demo/0")
    name, scale, index = place.split("/")
    configs = load_sweep(name, scale)
    if index not in map(str, range(len(configs))):
        raise UsageError(f"{option}{place}: the last part must be a run from 0 to {len(configs) - 1}")
    return configs[int(index)]
