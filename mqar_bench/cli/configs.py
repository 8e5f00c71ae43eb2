"""The configs that a command is about: those of a sweep, or one to start from."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from mqar_bench.basics.modules import Place
    from mqar_bench.config import RunConfig
    from mqar_bench.records.store import Store


def load_sweep(
    name: str,
    scale: str | None,
    seeds: int = 1,
    quiet: bool = True,
    ignore_unknown: bool = False,
    track: Sequence[str] = (),
) -> list[RunConfig]:
    """The runs of a sweep at a scale, with so many seeds: one of ours, or that of a module of the user's own.

    The latter is given by its file or by a dotted name, and has ``configs`` as ``sweeps.own`` or Zoology has it.

    Args:
        quiet: do not say on standard error what the runs of a module are listed as, and what of it differs.
        ignore_unknown: of an experiment file of Zoology, leave out fields that are not known.
        track: trackers that will follow the runs: Weights & Biases in the project that an experiment file asks for.

    Raises:
        UsageError: there is none such, or no scale.
    """
    import sweeps
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.modules import is_own

    if name not in sweeps.names() and is_own(name):
        return _load_module(name, scale, seeds, quiet, ignore_unknown, track)
    if ignore_unknown:
        raise _not_of_zoology(name)
    if name not in sweeps.names() and Path(f"{name}.py").is_file():
        raise UsageError(f"no sweep named {name!r}: did you mean the file {name}.py?")
    try:
        if scale is None:
            raise UsageError(f"sweep {name!r} needs a scale: --scale {', '.join(sweeps.scales(name))}")
        return sweeps.load(name, scale, seeds)
    except ValueError as error:
        if type(error) is not ValueError:  # a fault in the sweep, not in what was asked of it
            raise
        raise UsageError(str(error)) from error


def sweep_name(name: str) -> str:
    """What records name a sweep: for a module of the user's own what its place gives, any other as it is."""
    from mqar_bench.basics.modules import is_own, locate

    if name.endswith(".py") and Path(name).is_file():
        return locate(name).folder_name
    if is_own(name) and not name.endswith(".py") and _is_found(name):
        return locate(name).folder_name
    return name


def _is_found(name: str) -> bool:
    """Whether there is a module of a dotted name; a sweep's may look like one."""
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except Exception:
        return False


def _load_module(
    name: str, scale: str | None, seeds: int, quiet: bool, ignore_unknown: bool, track: Sequence[str]
) -> list[RunConfig]:
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.modules import locate
    from mqar_bench.zoology.experiment import execute_module
    from sweeps.own import load_own
    from sweeps.protocols import with_seeds

    place = locate(name)
    module = execute_module(place)
    if not callable(getattr(module, "configs", None)):
        if scale is not None and hasattr(module, "configs"):
            raise UsageError(f"--scale {scale}: an experiment file has no scales")
        return _load_zoology(place, module, seeds, quiet, ignore_unknown, track)
    if ignore_unknown:
        raise _not_of_zoology(name)
    configs = load_own(place, module, scale)
    if not quiet:
        _say_name(configs[0])
    return with_seeds(configs, seeds)


def _load_zoology(
    place: Place, module: ModuleType, seeds: int, quiet: bool, ignore_unknown: bool, track: Sequence[str]
) -> list[RunConfig]:
    """The runs of an experiment file of Zoology; on standard error, what could not be translated or differs, and the
    name of the sweep."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.zoology.experiment import translate_module
    from sweeps.protocols import with_seeds

    experiment = translate_module(place, module, ignore_unknown)
    for reason, count in experiment.refused.items():
        print(f"refused: {count} of {experiment.total} configs: {reason}", file=sys.stderr)
    if not quiet:
        for note, count in experiment.notes.items():
            print(f"note: {count} of {experiment.total} configs: {note}", file=sys.stderr)
    if not experiment.configs:
        raise UsageError(f"{place.shown}: none of its {experiment.total} configs can be run here")
    if "wandb" in track:
        _take_logger(place, experiment.loggers)
    elif experiment.loggers and not quiet:
        projects = ", ".join(project for project, _ in experiment.loggers)
        print(f"note: they log to Weights & Biases, project {projects}: with --track wandb, here too", file=sys.stderr)
    if not quiet:
        _say_name(experiment.configs[0])
    return with_seeds(experiment.configs, seeds)


def _take_logger(place: Place, loggers: Sequence[tuple[str, str | None]]) -> None:
    """Have Weights & Biases take the project and the entity of an experiment file, unless the environment has some."""
    from mqar_bench.basics.errors import UsageError

    if "WANDB_PROJECT" in os.environ or "WANDB_ENTITY" in os.environ or not loggers:
        return
    if len(loggers) > 1:
        asked = ", ".join("/".join(filter(None, (entity, project))) for project, entity in loggers)
        raise UsageError(
            f"{place.shown} logs to several projects of Weights & Biases, {asked}: choose by WANDB_PROJECT"
        )
    [(os.environ["WANDB_PROJECT"], entity)] = loggers
    if entity:
        os.environ["WANDB_ENTITY"] = entity


def _say_name(config: RunConfig) -> None:
    print(f"note: its runs are those of sweep {config.sweep} at scale {config.scale}", file=sys.stderr)


def _not_of_zoology(name: str) -> Exception:
    from mqar_bench.basics.errors import UsageError

    return UsageError(f"--ignore-unknown-fields is for experiment files of Zoology; {name!r} is none")


def changed_config(
    pairs: list[tuple[str, str]],
    base: str | None,
    file: Path | None,
    record: str | None,
    store: Store,
    track: Sequence[str] = (),
) -> RunConfig:
    """``start_config`` with changes; a changed run is not of the sweep that it was changed from."""
    from mqar_bench.config.overrides import apply_overrides

    start = start_config(base, file, record, store, track)
    if pairs and (base is not None or record is not None):
        start = start.model_copy(update={"sweep": "adhoc", "scale": "custom"})
    return apply_overrides(start, pairs)


def start_config(
    base: str | None, file: Path | None, record: str | None, store: Store, track: Sequence[str] = ()
) -> RunConfig:
    """The config to start from: a run of a sweep (NAME/SCALE/I, or NAME/I of a module without a choice of scales), a
    file, a record (file or id), or the default."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config import RunConfig
    from mqar_bench.config.overrides import read_config

    if base is not None:
        return run_of_sweep(base, "--base ", track)
    if record is not None and Path(record).exists():
        file = Path(record)
    elif record is not None:
        found = store.with_id(record)
        if len(found) != 1:
            many = "several records have an id that starts with" if found else "there is no file and no record"
            raise UsageError(f"{many} {record!r} in {store.root}")
        return found[0].config
    return RunConfig() if file is None else read_config(file)


def run_of_sweep(place: str, option: str = "", track: Sequence[str] = ()) -> RunConfig:
    """The run that ``SWEEP/SCALE/I`` means, which is given to an ``option``; ``UsageError`` if there is none such."""
    from mqar_bench.basics.errors import UsageError

    name, scale, index = _parse_place(place, option)
    configs = load_sweep(name, scale, track=track)
    if index not in map(str, range(len(configs))):
        raise UsageError(f"{option}{place}: the last part must be a run from 0 to {len(configs) - 1}")
    return configs[int(index)]


def _parse_place(place: str, option: str) -> tuple[str, str | None, str]:
    """The sweep, its scale and the run's number; a file's name may have slashes in it."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.modules import is_own

    above, _, index = place.rpartition("/")
    if is_own(above):
        return above, None, index
    name, _, scale = above.rpartition("/")
    if not (name and scale and index) or ("/" in name and not is_own(name)):
        raise UsageError(f"{option}{place}: a run is given as SWEEP/SCALE/I, such as fig3/demo/0")
    return name, scale, index
