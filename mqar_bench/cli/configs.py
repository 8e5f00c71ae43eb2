"""The configs that a command is about: those of a sweep, or one to start from."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig
    from mqar_bench.records.store import Store


def read_sweep(
    name: str,
    scale: str | None,
    seeds: int = 1,
    quiet: bool = True,
    ignore_unknown: bool = False,
    track: Sequence[str] = (),
) -> list[RunConfig]:
    """``sweeps.loading.load_sweep``, with what is to be said of a module of the user's own on standard error.

    Args:
        name: see there, as ``scale``, ``seeds`` and ``ignore_unknown``.
        quiet: say only what is refused, not as what the runs are listed, and what of them differs.
        track: trackers that will follow the runs: Weights & Biases in the project that an experiment file asks for.

    Raises:
        UsageError: there is none such, or no scale.
    """
    import sweeps
    from mqar_bench.basics.modules import is_own
    from sweeps.loading import load_sweep

    def say(line: str) -> None:
        if not (quiet and line.startswith("note:")):
            print(line, file=sys.stderr)

    take = _take_loggers if "wandb" in track else None
    configs = load_sweep(name, scale, seeds, ignore_unknown=ignore_unknown, say=say, take_loggers=take)
    if name not in sweeps.names() and is_own(name):
        say(f"note: its runs are those of sweep {configs[0].sweep} at scale {configs[0].scale}")
    return configs


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


def _take_loggers(shown: str, loggers: Sequence[tuple[str, str | None]]) -> None:
    """Have Weights & Biases take the project and the entity of an experiment file, unless the environment has some."""
    from mqar_bench.basics.errors import UsageError

    if "WANDB_PROJECT" in os.environ or "WANDB_ENTITY" in os.environ or not loggers:
        return
    if len(loggers) > 1:
        asked = ", ".join("/".join(filter(None, (entity, project))) for project, entity in loggers)
        raise UsageError(f"{shown} logs to several projects of Weights & Biases, {asked}: choose by WANDB_PROJECT")
    [(os.environ["WANDB_PROJECT"], entity)] = loggers
    if entity:
        os.environ["WANDB_ENTITY"] = entity


def changed_config(
    pairs: list[tuple[str, str]],
    base: str | None,
    file: Path | None,
    record: str | None,
    store: Store,
    track: Sequence[str] = (),
) -> RunConfig:
    """``start_config`` with changes; a changed run is not of the sweep that it was changed from."""
    from mqar_bench.config.change import with_pairs
    from mqar_bench.config.overrides import apply_overrides

    start = start_config(base, file, record, store, track)
    return apply_overrides(start, pairs) if file is not None else with_pairs(start, pairs)


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
    configs = read_sweep(name, scale, track=track)
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
