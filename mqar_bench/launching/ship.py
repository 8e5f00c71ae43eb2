"""The code that runs need, gathered to travel to machines of a cluster which may not have it."""

from __future__ import annotations

import importlib.util
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import mixers
from mqar_bench.config import RunConfig

IGNORED = shutil.ignore_patterns("__pycache__", ".git", "*.pyc")


def gather(configs: Iterable[RunConfig], folder: Path) -> Path:
    """Copy this package, the mixers and the users' own modules that the runs name into ``folder``, for Ray to send.

    They name mixers and tasks. Of a module of the user's own, what it imports from the same place comes along.
    Installed packages do not: they must be installed on every machine. A module that cannot be imported goes as far as
    it has come, for its runs to fail with it.
    """
    for package in (sys.modules[__name__.partition(".")[0]], mixers):
        _copy(package, folder)
    named = {part.name for config in configs for part in (*config.model.mixers, *config.data.tasks)}
    for name in sorted({path.rpartition(".")[0] for path in named if "." in path}):
        top = _import(name)
        root = None if top is None else _root(top)
        if top is None or root is None or _is_installed(root):
            continue
        for other, module in [(top.__name__, top), *sys.modules.items()]:
            if "." not in other and _root(module) == root and not (folder / _path(module).name).exists():
                _copy(module, folder)
    return folder


def _import(name: str) -> ModuleType | None:
    """A module's top-level package, after importing it and what it imports; one that cannot be is only looked up."""
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException:  # it may call sys.exit
        pass
    top = name.partition(".")[0]
    if top in sys.modules:
        return sys.modules[top]
    spec = importlib.util.find_spec(top)
    return None if spec is None else importlib.util.module_from_spec(spec)


def _copy(module: ModuleType, folder: Path) -> None:
    path = _path(module)
    if path.is_dir():
        shutil.copytree(path, folder / path.name, ignore=IGNORED)
    else:
        shutil.copy2(path, folder / path.name)


def _path(module: ModuleType) -> Path:
    """A top-level module's file, or a package's folder."""
    file = getattr(module, "__file__", None)
    path = Path(file or next(iter(module.__path__))).resolve()
    return path.parent if path.name == "__init__.py" else path


def _root(module: ModuleType) -> Path | None:
    """The folder that a top-level module was found in; none for what is built in or is the program itself."""
    if module.__name__ == "__main__" or not (getattr(module, "__file__", None) or getattr(module, "__path__", None)):
        return None
    return _path(module).parent


def _is_installed(root: Path) -> bool:
    installed = [*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()]
    return any(root.is_relative_to(Path(place).resolve()) for place in installed if place != sysconfig.get_path("data"))
