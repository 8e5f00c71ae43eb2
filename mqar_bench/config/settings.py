"""What can be set on a run, read off the config's classes: names, types, defaults and what they mean."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mqar_bench.config.run import RunConfig


@dataclass(frozen=True)
class Setting:
    """One thing that can be set: its dotted path (``N`` counts list entries from 0) and what it means."""

    path: str
    type: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


def fields() -> list[Setting]:
    """Everything that can be set on a run, in the order of the config."""
    return list(_settings(RunConfig, ""))


def settings_of(kind: type[BaseModel]) -> list[Setting]:
    """What can be set on one class of settings."""
    return list(_settings(kind, ""))


def argument_docs(cls: type) -> dict[str, str]:
    """What the ``Args:`` section of a class's docstring says of each argument."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", inspect.getdoc(cls) or "", re.MULTILINE)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.group(1).splitlines() if section else []:
        entry = re.match(r" {4}(\w[\w, ]*?)(?: \(.*?\))?: *(.*)", line)
        if entry and not line.startswith(" " * 5):
            names = entry.group(1).split(", ")
            found.update(dict.fromkeys(names, entry.group(2)))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return found


def models_of(kind: Any) -> tuple[type[BaseModel], ...]:
    """The classes of settings that a type stands for: one, several among which a name chooses, or none."""
    if get_origin(kind) is Annotated:
        return models_of(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(model for member in get_args(kind) for model in models_of(member))
    return (kind,) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def named(models: Iterable[type[BaseModel]], name: Any) -> type[BaseModel] | None:
    """The one whose ``name`` is this, where there is one."""
    return next((m for m in models if "name" in m.model_fields and m.model_fields["name"].default == name), None)


def all_fields(models: Iterable[type[BaseModel]]) -> dict[str, FieldInfo]:
    """The fields that any of the classes has, as the first of those has them."""
    found: dict[str, FieldInfo] = {}
    for model in models:
        found = model.model_fields | found
    return found


def entry_of(kind: Any) -> Any:
    """What the entries of a ``tuple[X, ...]`` are."""
    return get_args(kind)[0] if get_origin(kind) is tuple else Any


def _settings(kind: type[BaseModel], prefix: str) -> Iterator[Setting]:
    documented: dict[str, str] = {}
    for base in reversed(kind.__mro__):  # a subclass explains what it changes
        documented |= argument_docs(base)
    for name, field in kind.model_fields.items():
        path, annotation = f"{prefix}{name}", cast(Any, field.annotation)
        default = "" if field.is_required() else _plain(field.default)
        description = field.description or documented.get(name, "")
        if models_of(annotation):
            yield from _settings(annotation, f"{path}.")
        elif models := models_of(entry_of(annotation)):
            yield Setting(path, "list", default, description)
            yield from _entry_settings(models, f"{path}.N.")
        elif get_origin(annotation) is dict:
            yield Setting(f"{path}.NAME", "any", "", description or "an option of that mixer: `mqar-bench mixers NAME`")
        else:
            choices = tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()
            yield Setting(path, " | ".join(choices) or _type_name(annotation), default, description, choices)


def _entry_settings(models: tuple[type[BaseModel], ...], prefix: str) -> Iterator[Setting]:
    """What can be set on an entry of a list; where a name chooses what it is, with whose setting that is."""
    if len(models) == 1:
        yield from _settings(models[0], prefix)
        return
    names = [str(model.model_fields["name"].default) for model in models]
    yield Setting(f"{prefix}name", " | ".join(names), names[0], "which task", tuple(names))
    holders: dict[Setting, list[str]] = {}
    for name, model in zip(names, models, strict=True):
        for setting in _settings(model, prefix):
            if setting.path != f"{prefix}name":
                holders.setdefault(setting, []).append(name)
    paths = list(dict.fromkeys(setting.path for setting in holders))
    for setting, those in sorted(holders.items(), key=lambda item: paths.index(item[0].path)):
        whose = "" if those == names else f" [{', '.join(those)}]"
        yield replace(setting, description=setting.description + whose)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return json.dumps([v.model_dump(mode="json", exclude_defaults=True) for v in value])
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("None", "null")
