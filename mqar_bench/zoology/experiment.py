"""Experiment files of Zoology: executed with stand-ins for its modules, and their ``configs`` translated."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.modules import Place, execute, explain, locate
from mqar_bench.config import RunConfig
from mqar_bench.zoology.checkout import Checkout
from mqar_bench.zoology.fields import Reader, Untranslatable
from mqar_bench.zoology.shim import MODULES, TrainConfig
from mqar_bench.zoology.translate import translate

#: The scale under which the runs of a file are listed; the sweep is named after the file.
SCALE = "zoology"
#: Configs of a file.
MOST = 100_000
#: What a sweep of ours has instead of a list.
FORM = "`configs(scale)` that returns RunConfigs"


@dataclass(frozen=True)
class Experiment:
    """What a file of ``total`` configs came to: runs, why others were refused, and what was left out or differs.

    ``refused`` and ``notes`` count the configs by reason. ``loggers`` are the projects of Weights & Biases that the
    runs ask for, each with its entity, if one is given.
    """

    configs: tuple[RunConfig, ...]
    total: int
    refused: dict[str, int]
    notes: dict[str, int]
    loggers: tuple[tuple[str, str | None], ...] = ()


def load_experiment(path: Path, ignore_unknown: bool = False) -> Experiment:
    """Translate the experiment file at ``path``. It is executed.

    Args:
        path: the file. The sweep is named after it, its folder and where it lies, so that no other file shares it.
        ignore_unknown: leave out fields that are not known, instead of refusing the configs that give them; the
            runs say so (``RunConfig.ignored``).

    Raises:
        UsageError: it cannot be read or executed, imports what does more than building configs, or has no ``configs``.
    """
    place = locate(str(path))
    return translate_module(place, execute_module(place), ignore_unknown)


def execute_module(place: Place) -> ModuleType:
    """A module of the user's own, executed with stand-ins for Zoology's modules.

    Raises:
        UsageError: it cannot be read or raises; with the line of the file, and that of another file that it led to.
    """
    checkout, path = Checkout.around(place.path), list(sys.path)
    try:
        with _stand_ins(checkout):
            module = execute(place)
    except (Exception, SystemExit) as error:
        sys.path[:] = path
        raise UsageError(explain(place, error, checkout.root)) from error
    if not callable(getattr(module, "configs", None)):  # nothing beside it will be imported
        sys.path[:] = path
    return module


def translate_module(place: Place, module: ModuleType, ignore_unknown: bool = False) -> Experiment:
    """What a module that ``execute_module`` gave came to, as ``load_experiment`` has it.

    Raises:
        UsageError: it has no list ``configs`` of Zoology's configs.
    """
    checkout = Checkout.around(place.path)
    found = _configs(place, module, checkout)
    runs: dict[str, RunConfig] = {}
    loggers: dict[tuple[str, str | None], None] = {}
    refused, reader = Counter[str](), Reader(checkout, ignore_unknown)
    for config in found:
        try:
            run = translate(config, place.folder_name, SCALE, reader)
        except Untranslatable as error:
            refused[str(error)] += 1
            reader.close(keep=False)
            continue
        if run.run_id in runs:
            reader.note("the same run as another config")
            reader.close()
            run = run.model_copy(update={"ignored": tuple(sorted({*run.ignored, *runs[run.run_id].ignored}))})
        runs[run.run_id] = run
        if config.logger.project_name:
            loggers[config.logger.project_name, config.logger.entity] = None
    return Experiment(tuple(runs.values()), len(found), dict(refused), reader.counts, tuple(loggers))


def _configs(place: Place, module: ModuleType, checkout: Checkout) -> list[TrainConfig]:
    configs = getattr(module, "configs", None)
    if not isinstance(configs, Iterable) or isinstance(configs, str | bytes | Mapping | BaseModel):
        configs = ()
    try:
        with _stand_ins(checkout):
            found = list(itertools.islice(configs, MOST + 1))
    except (Exception, SystemExit) as error:
        raise UsageError(explain(place, error, checkout.root)) from error
    if not found:
        raise UsageError(f"{place.shown} has no list `configs` of Zoology's TrainConfig, nor a function {FORM}")
    if len(found) > MOST:
        raise UsageError(f"{place.shown} has more than {MOST} configs, if they end at all")
    for i, config in enumerate(found):
        if not isinstance(config, TrainConfig):
            raise UsageError(
                f"{place.shown} has no list `configs` of Zoology's TrainConfig:"
                f" entry {i} is of type {type(config).__name__}"
                + (f"; a sweep of RunConfigs has a function {FORM}" if isinstance(config, RunConfig) else "")
            )
    return found


class _StandIns(MetaPathFinder, Loader):
    """Finds everything of the package ``zoology``: stand-ins, and experiments in the checkout."""

    def __init__(self, checkout: Path | None) -> None:
        self._checkout = checkout

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname in MODULES:
            return ModuleSpec(fullname, self, is_package=fullname in ("zoology", "zoology.data"))
        if fullname.startswith("zoology.experiments"):
            if self._checkout is None:
                raise ImportError(f"{fullname} is part of Zoology: no checkout of it is around the file or installed")
            return PathFinder.find_spec(fullname, [str(self._checkout.joinpath(*fullname.split(".")[1:-1]))])
        if fullname.startswith("zoology."):
            raise ImportError(f"{fullname} is not stood in for: there is {', '.join(MODULES)}")
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        for each in MODULES[module.__name__]:
            setattr(module, each.__name__, each)


@contextmanager
def _stand_ins(checkout: Checkout) -> Iterator[None]:
    """Zoology's modules replaced, whether it is installed or not."""

    def take() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "zoology"}

    before, finder = take(), _StandIns(checkout.root)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        take()
        sys.modules.update(before)
