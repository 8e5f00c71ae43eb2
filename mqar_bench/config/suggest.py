"""What was meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from mixers.checks import brief
from mixers.registry import describe, names
from mqar_bench.config.settings import all_fields, fields
from mqar_bench.tasks import TASKS, Task

#: Characters of a dotted path.
MAX_PATH = 120

#: Parts of a run, in the order in which a name that several have is thought to be meant.
PARTS = ("train", "model", "data")


def not_an_option(word: str, options: Iterable[str]) -> str:
    """What to say of ``--word``, which is no setting, where it is the last part of one, or more like an option."""
    leaves, bare = _leaves(), {option.lstrip("-"): option for option in options}
    if _as_leaf(word) in leaves:
        return f"no setting {brief(word)}; did you mean {_either(leaves[_as_leaf(word)])}?"
    close = difflib.get_close_matches(word[:MAX_PATH], {**leaves, **bare}, 1)
    return f"no option --{word}; did you mean {bare[close[0]]}?" if close and close[0] in bare else ""


def unknown_setting(path: str, above: str, segment: str, kind: type[BaseModel], rest: list[str]) -> str:
    """What to say of a path, of which ``segment`` is not below ``above``, a ``kind``; ``rest`` is what follows it."""
    if issubclass(kind, Task):
        return _not_of_task(path, above, segment, kind)
    close = difflib.get_close_matches(segment, kind.model_fields, 1) if above or rest else []
    if close:
        meant = ".".join(filter(None, [above, close[0], *rest]))
        return f"no setting {brief(path)}; did you mean {meant!r}?"
    leaves = _leaves() | ({} if above else {name: [name] for name in kind.model_fields})
    close = difflib.get_close_matches(_as_leaf(path.rpartition(".")[2]), leaves, 1)
    if close:
        return f"no setting {brief(path)}; did you mean {_either(leaves[close[0]])}?"
    return f"no setting {brief(path)}; {above or 'a run'} has {', '.join(kind.model_fields)}"


def _as_leaf(word: str) -> str:
    return word.replace("-", "_")  # as options have it


def _leaves() -> dict[str, list[str]]:
    """By the last part of its path, every setting that is called so; the options of mixers come after all others."""
    found: dict[str, list[str]] = {}
    settings = sorted((setting.path for setting in fields() if "." in setting.path), key=_part)
    for path in dict.fromkeys(path.replace(".N.", ".0.") for path in settings):
        found.setdefault(path.rpartition(".")[2], []).append(path)
    for mixer in names():
        for option in describe(mixer):
            found.setdefault(option.name, [f"model.mixers.1.options.{option.name}"])
    return found


def _part(path: str) -> int:
    return PARTS.index(path.partition(".")[0])


def _either(paths: list[str]) -> str:
    return " or ".join(map(repr, paths))


def _not_of_task(path: str, above: str, segment: str, kind: type[Task]) -> str:
    close = difflib.get_close_matches(segment, kind.model_fields, 1)
    if close and segment not in all_fields(TASKS.values()):
        return f"no setting {brief(path)}; did you mean {f'{above}.{close[0]}'!r}?"
    name = kind.model_fields["name"].default
    return f"no setting {brief(path)}; the task {name!r} has {', '.join(kind.model_fields)}"


def unknown_task(name: Any) -> str:
    """What to say of a task that does not exist."""
    close = difflib.get_close_matches(name[:MAX_PATH], TASKS, 1) if isinstance(name, str) else []
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(TASKS)}"
    return f"no task named {brief(name)}: {hint} (or give a dotted path to a class)"
