"""Modules of the user's own, by file or by dotted name: found, executed, and what goes wrong in them in one line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from mqar_bench.basics.errors import UsageError, hint

#: Packages of this project: of a traceback, what lies in them is not the user's.
_OURS = tuple(Path(__file__).resolve().parents[2] / name for name in ("mqar_bench", "mixers", "sweeps", "plots"))


@dataclass(frozen=True)
class Place:
    """A module of the user's own.

    Args:
        given: as the user named it.
        path: its file.
        module: by which name it is imported; None for a file that no import would find, such as ``my sweep.py``.
    """

    given: str
    path: Path
    module: str | None

    @property
    def shown(self) -> str:
        """The file as people know it: as given, else from the current folder where it lies in that."""
        if self.given.endswith(".py"):
            return self.given
        here = Path.cwd()
        return str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path)

    @property
    def root(self) -> Path:
        """The folder in which the user's own code lies."""
        depth = 0 if self.module is None or self.given.endswith(".py") else self.module.count(".")
        return self.path.resolve().parents[depth]

    @property
    def folder_name(self) -> str:
        """What names records: the folder's name and the file's for people, and a hash that tells it from its namesakes.

        The same from wherever and however often it is run, whatever is in it, by file or by dotted name.
        """
        place = self.path.resolve()
        words = (re.sub(r"[^A-Za-z0-9_.]+", "-", word).strip("-.")[:40] for word in (place.parent.name, place.stem))
        return "-".join([*filter(None, words), hashlib.sha256(os.fsencode(place)).hexdigest()[:6]])


def is_own(name: str) -> bool:
    """Whether a name is a file's, ``my_sweep.py``, or a dotted one, ``my_package.my_sweep``; of what need not exist."""
    return name.endswith(".py") or ("." in name and all(part.isidentifier() for part in name.split(".")))


def locate(name: str, beside: Path | None = None) -> Place:
    """The module of a name for which ``is_own``. Nothing of it is executed, but for the packages that it lies in.

    Args:
        name: a file, from the current folder or from ``beside``, or a dotted name.
        beside: a folder.

    Raises:
        UsageError: there is none.
    """
    if name.endswith(".py"):
        path = Path(name) if beside is None else beside / name
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
        return Place(str(path), path, _importable(path))
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise UsageError(f"{name}: {_explain(error)}") from error
        raise UsageError(f"there is no module {error.name!r}") from None
    except (Exception, SystemExit) as error:  # of a package that it lies in
        raise UsageError(f"{name}: {_explain(error)}") from error
    if spec is None:
        folder, _, last = name.rpartition(".")
        there = sys.modules[folder].__path__
        names = sorted({path.stem for each in there for path in Path(each).glob("*.py")} - {"__init__"})
        raise UsageError(f"there is no module {name!r}{hint(last, names) if names else ''}")
    if spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(f"{name} is a folder, not a module")
    return Place(name, Path(spec.origin), name)


def execute(place: Place) -> ModuleType:
    """Import the module, anew if it is a file, and from then on whatever lies beside it too.

    Raises:
        Exception: what it raises, and SystemExit.
    """
    if not place.given.endswith(".py"):
        assert place.module is not None
        return importlib.import_module(place.module)
    sys.path[:] = _path_with(place.root)
    spec = importlib.util.spec_from_file_location(place.module or "own_module", place.path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(spec.name)
    if place.module:
        sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if place.module:
            sys.modules.pop(spec.name, None)
            if before is not None:
                sys.modules[spec.name] = before
        raise
    return module


def explain(place: Place, error: BaseException, root: Path | None = None) -> str:
    """What a module raised, in one line: its file and line, those of another file below ``root`` that it led to (by
    default, where the user's code lies), and the exception."""
    origin, known = str(place.path.resolve()), _lines(place, error, root or place.root)
    own = [line for name, line in known if name == origin]
    where = f"{place.shown}:{own[-1]}" if own else place.shown
    return f"{where}: {_explain_elsewhere(origin, known, error)}"


def explain_elsewhere(place: Place, error: BaseException) -> str:
    """What other code of the user's raised, in one line: its file and line, where it is known, and the exception."""
    return _explain_elsewhere(str(place.path.resolve()), _lines(place, error, place.root), error)


def line_of(place: Place, function: Any) -> str:
    """The file of a module, with the line in which a function begins if it is one of the module's."""
    code = getattr(function, "__code__", None)
    if code is not None and Path(code.co_filename).resolve() == place.path.resolve():
        return f"{place.shown}:{code.co_firstlineno}"
    return place.shown


def is_ours(error: BaseException) -> bool:
    """Whether code of this project raised an exception, and not the user's or a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(Path(frames[-1].filename).resolve().is_relative_to(ours) for ours in _OURS)


def _lines(place: Place, error: BaseException, root: Path) -> list[tuple[str, int | None]]:
    """The files and lines of the user's that an error went through."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    return [(str(Path(name).resolve()), line) for name, line in frames if _is_users(Path(name), place, root)]


def _explain_elsewhere(origin: str, known: list[tuple[str, int | None]], error: BaseException) -> str:
    where = f"{known[-1][0]}:{known[-1][1]}: " if known and known[-1][0] != origin else ""
    return f"{where}{_explain(error)}"


def _is_users(file: Path, place: Place, root: Path) -> bool:
    if file.name.startswith("<"):
        return False
    file = file.resolve()
    if file == place.path.resolve():
        return True
    foreign = "site-packages" in file.parts or any(file.is_relative_to(ours) for ours in _OURS)
    return file.is_relative_to(root) and not foreign


def _explain(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        given = first["input"]
        got = "" if isinstance(given, dict) or hasattr(given, "model_fields") else f" (got {given!r:.60})"
        text = f"{'.'.join(map(str, (error.title, *first['loc'])))}: {first['msg']}{got}"
    return " ".join(f"{type(error).__name__}: {text}".split())


def _importable(path: Path) -> str | None:
    """The name by which a file will be imported once its folder is looked in; none where that finds something else."""
    name = path.stem
    if not name.isidentifier() or name in sys.builtin_module_names:
        return None
    if name in sys.modules:
        return name if _is_file(getattr(sys.modules[name], "__file__", None), path) else None
    importlib.invalidate_caches()
    found = PathFinder.find_spec(name, _path_with(path.resolve().parent))
    return name if isinstance(found, ModuleSpec) and _is_file(found.origin, path) else None


def _is_file(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).resolve() == path.resolve()


def _path_with(folder: Path) -> list[str]:
    """Where modules are found if also in a folder: before the current one, which comes after all that is installed
    (unless Python itself puts it first)."""
    if str(folder) in sys.path:
        return sys.path
    last = next((i for i, each in enumerate(sys.path) if each in ("", os.getcwd())), len(sys.path))
    return [*sys.path[:last], str(folder), *sys.path[last:]]
