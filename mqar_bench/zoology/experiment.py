"""Experiment files of Zoology: executed with stand-ins for its modules, and their ``configs`` translated."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import re
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ValidationError

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.zoology.checkout import Checkout
from mqar_bench.zoology.fields import Reader, Untranslatable
from mqar_bench.zoology.shim import MODULES, TrainConfig
from mqar_bench.zoology.translate import translate

#: The scale under which the runs of a file are listed; the sweep is named after the file.
SCALE = "zoology"
#: Configs of a file.
MOST = 100_000


@dataclass(frozen=True)
class Experiment:
    """What a file of ``total`` configs came to: runs, why others were refused, and what was left out or differs.

    ``refused`` and ``notes`` count the configs by reason.
    """

    configs: tuple[RunConfig, ...]
    total: int
    refused: dict[str, int]
    notes: dict[str, int]


def load_experiment(path: Path, ignore_unknown: bool = False) -> Experiment:
    """Translate the experiment file at ``path``. It is executed.

    Args:
        path: the file. The sweep is named after it, its folder and where it lies, so that no other file shares it.
        ignore_unknown: leave out fields that are not known, instead of refusing the configs that give them; the
            runs say so (``RunConfig.ignored``).

    Raises:
        UsageError: it cannot be read or executed, imports what does more than building configs, or has no ``configs``.
    """
    checkout = Checkout.around(path)
    found = _execute(path, checkout)
    sweep = _name(path)
    runs: dict[str, RunConfig] = {}
    refused, reader = Counter[str](), Reader(checkout, ignore_unknown)
    for config in found:
        try:
            run = translate(config, sweep, SCALE, reader)
        except Untranslatable as error:
            refused[str(error)] += 1
            reader.close(keep=False)
            continue
        if run.run_id in runs:
            reader.note("the same run as another config")
            reader.close()
            run = run.model_copy(update={"ignored": tuple(sorted({*run.ignored, *runs[run.run_id].ignored}))})
        runs[run.run_id] = run
    return Experiment(tuple(runs.values()), len(found), dict(refused), reader.counts)


def _name(path: Path) -> str:
    """The sweep of a file: its folder's name and its own for people, and a hash that tells it from its namesakes.

    The same from wherever and however often it is run, whatever is in it.
    """
    place = path.resolve()
    words = (re.sub(r"[^A-Za-z0-9_.]+", "-", word).strip("-.")[:40] for word in (place.parent.name, place.stem))
    return "-".join([*filter(None, words), hashlib.sha256(os.fsencode(place)).hexdigest()[:6]])


def _execute(path: Path, checkout: Checkout) -> list[TrainConfig]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location("zoology_experiment", path)
    assert spec is not None and spec.loader is not None and spec.origin is not None
    with _stand_ins(checkout):
        try:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            configs = getattr(module, "configs", None)
            if not isinstance(configs, Iterable) or isinstance(configs, str | bytes | Mapping | BaseModel):
                configs = ()
            found = list(itertools.islice(configs, MOST + 1))
        except (Exception, SystemExit) as error:
            raise UsageError(f"{_place(path, spec.origin, checkout, error)}: {_explain(error)}") from error
    if not found:
        raise UsageError(f"{path} has no list `configs` of Zoology's TrainConfig")
    if len(found) > MOST:
        raise UsageError(f"{path} has more than {MOST} configs, if they end at all")
    for i, config in enumerate(found):
        if not isinstance(config, TrainConfig):
            raise UsageError(
                f"{path} has no list `configs` of Zoology's TrainConfig: entry {i} is of type {type(config).__name__}"
            )
    return found


def _place(path: Path, origin: str, checkout: Checkout, error: BaseException) -> str:
    """The line of the file that an error comes from, and the one in another file of the checkout that it led to."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno))
    root = str(checkout.root)
    known = [(name, line) for name, line in lines if name == origin or Path(name).is_relative_to(root)]
    own = [line for name, line in known if name == origin]
    where = f"{path}:{own[-1]}" if own else str(path)
    return where if not known or known[-1][0] == origin else f"{where}: {known[-1][0]}:{known[-1][1]}"


def _explain(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        text = f"{error.title}.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(f"{type(error).__name__}: {text}".split())


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
