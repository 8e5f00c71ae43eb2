"""Experiment files of Zoology: executed with stand-ins for its modules, and their ``configs`` translated."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from mqar_bench.config import RunConfig
from mqar_bench.overrides import UsageError
from mqar_bench.zoology.shim import MODULES, TrainConfig
from mqar_bench.zoology.translate import Notes, Untranslatable, translate

#: The scale under which the runs of a file are listed; the sweep is the file's name.
SCALE = "zoology"


@dataclass(frozen=True)
class Experiment:
    """What a file of ``total`` configs came to: runs, why others were refused, and what was left out or differs.

    ``refused`` and ``notes`` count the configs by reason.
    """

    configs: tuple[RunConfig, ...]
    total: int
    refused: dict[str, int]
    notes: dict[str, int]


def load_experiment(path: Path) -> Experiment:
    """Translate the experiment file at ``path``. It is executed.

    Raises:
        UsageError: it cannot be read or executed, imports what does more than building configs, or has no ``configs``.
    """
    found = _execute(path)
    sweep = path.stem.replace(" ", "-")
    runs: dict[str, RunConfig] = {}
    refused, notes = Counter[str](), Notes()
    for config in found:
        try:
            run = translate(config, sweep, SCALE, notes)
        except Untranslatable as error:
            refused[str(error)] += 1
            notes.close(keep=False)
            continue
        if run.run_id in runs:
            notes.add("the same run as another config")
            notes.close()
        runs.setdefault(run.run_id, run)
    return Experiment(tuple(runs.values()), len(found), dict(refused), notes.counts)


def _execute(path: Path) -> Sequence[TrainConfig]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    with _stand_ins(path):
        try:
            spec = importlib.util.spec_from_file_location("zoology_experiment", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            place = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
            where = f"{path}:{place[-1]}" if place else str(path)
            text = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                text = f"{error.title}.{'.'.join(map(str, first['loc']))}: {first['msg']}"
            text = " ".join(text.split())
            raise UsageError(f"{where}: {type(error).__name__}: {text}") from error
    configs = getattr(module, "configs", None)
    if not isinstance(configs, list) or not configs or not all(isinstance(c, TrainConfig) for c in configs):
        raise UsageError(f"{path} has no list `configs` of Zoology's TrainConfig")
    return configs


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
def _stand_ins(path: Path) -> Iterator[None]:
    """Zoology's modules replaced, whether it is installed or not."""

    def take() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "zoology"}

    folders = [p for p in path.resolve().parents if p.name == "zoology"]
    folders += [Path(folder) / "zoology" for folder in sys.path]  # or where it is installed
    checkout = next((folder for folder in folders if (folder / "experiments").is_dir()), None)
    before, finder = take(), _StandIns(checkout)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        take()
        sys.modules.update(before)
