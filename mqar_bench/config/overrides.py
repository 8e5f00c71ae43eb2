"""Dotted overrides, ``train.learning_rate 1e-3``, onto a config, and configs from files; one-line errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mixers.checks import brief
from mqar_bench.basics.errors import UsageError, one_line
from mqar_bench.config.check import check_mixers, check_tasks
from mqar_bench.config.run import MixerSpec, RunConfig
from mqar_bench.config.settings import all_fields, entry_of, models_of, named
from mqar_bench.config.suggest import MAX_PATH, not_an_option, unknown_setting, unknown_task
from mqar_bench.tasks import UNKNOWN_TASK, find_task
from mqar_bench.tasks.own import is_path

#: Pydantic's words for what a user writes as JSON.
_IN_JSON = {
    "tuple_type": "Input should be a list",
    "model_type": "Input should be an object with fields",
    "dict_type": "Input should be an object",
    "string_unicode": "Input should be Unicode text",
}


def apply_overrides(config: RunConfig, pairs: Iterable[tuple[str, str]]) -> RunConfig:
    """``config`` with each dotted path set to its value: JSON where it parses as JSON, else the text itself.

    Where the mixers change and ``mixer`` is not given, the label follows them. Where the ``name`` of a task changes, it
    keeps the settings that are given and, of the rest, those that were no defaults and that the new one has too.

    Raises:
        UsageError: no such setting, one that is given twice, or a value that it, its mixer or the rest of the config
            cannot take.
    """
    pairs = list(pairs)
    _check_once(pairs)
    values = config.model_dump(mode="json")
    paths = [path for path, _ in pairs]
    for path, text in _own_names_first(pairs):
        _assign(values, path, text, paths)
    if "mixer" not in paths and any(path == "model" or path.split(".")[:2] == ["model", "mixers"] for path in paths):
        values["mixer"] = ""
    return parse_config(values)


def parse_pairs(arguments: Iterable[str], options: Iterable[str] = ()) -> list[tuple[str, str]]:
    """``--a.b value`` and ``--a.b=value`` as pairs for ``apply_overrides``.

    Args:
        arguments: words of a command line.
        options: what else the command takes, such as ``--force``, in case one of those was meant.

    Raises:
        UsageError: a word that is neither, or a value that is missing.
    """
    pairs, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        path, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not path:
            raise UsageError(f"unexpected argument {brief(argument)}: settings are given as --dotted.path value")
        if len(path) > MAX_PATH or not path.isprintable():
            raise UsageError(f"no setting {brief(path)}: settings are given as --dotted.path value")
        if "." not in path and path not in RunConfig.model_fields and (text := not_an_option(path, options)):
            raise UsageError(text)
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"--{path} needs a value")
            value = rest.pop(0)
        pairs.append((path, value))
    return pairs


def _check_once(pairs: Iterable[tuple[str, str]]) -> None:
    """Whether no setting is given twice, by its own path or in the JSON of one that it is a part of."""
    given: dict[str, tuple[str, Any]] = {}
    for path, text in pairs:
        try:
            value = _parse(text, Any)
        except UsageError as error:
            raise UsageError(f"--{path}: {error}") from None
        for other, (before, inside) in given.items():
            if path == other:
                raise UsageError(f"--{path} is given twice: {_short(before)} and {_short(text)}")
            if other.startswith(f"{path}."):
                raise UsageError(f"--{path} would replace --{other}, which is given before it: give --{path} first")
            if path.startswith(f"{other}.") and _holds(inside, path.removeprefix(f"{other}.").split(".")):
                raise UsageError(f"--{path} is given twice: --{other} has it too")
        given[path] = text, value


def _own_names_first(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The name of a task of the user's own before its settings, which no other task need have."""
    ordered = list(pairs)
    for path, text in pairs:
        above = path.removesuffix("name")
        if path.startswith("data.") and path.endswith(".name") and is_path(text):
            ordered.remove((path, text))
            first = next((i for i, (other, _) in enumerate(ordered) if other.startswith(above)), len(ordered))
            ordered.insert(min(first, pairs.index((path, text))), (path, text))
    return ordered


def _holds(value: Any, segments: list[str]) -> bool:
    """Whether there is something at this path below a value."""
    for segment in segments:
        if isinstance(value, list):
            value = dict(zip(map(str, range(len(value))), value, strict=True))
        if not isinstance(value, dict) or segment not in value:
            return False
        value = value[segment]
    return True


def read_config(path: Path) -> RunConfig:
    """The config in a JSON file, or that of the record which the file is.

    Raises:
        UsageError: there is no such file, or it is neither.
    """
    try:
        values = json.loads(path.read_bytes(), object_pairs_hook=_object)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if isinstance(values, dict) and "config" in values:
        values = values["config"]
    try:
        return parse_config(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def parse_config(values: Any) -> RunConfig:
    """A config from plain values, every mixer in it tried out.

    Raises:
        UsageError: it is none; the message names the first fault.
    """
    if not isinstance(values, dict):
        raise UsageError(f"a config is a JSON object, not {_short(values)}")
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, values)) from None
    check_tasks(config)
    check_mixers(config)
    return config


def parse_mixer(name: str, options: str | Mapping[str, Any]) -> MixerSpec:
    """A mixer by its name and its options, a JSON object or its text; whether there is such a mixer is not asked.

    Raises:
        UsageError: they are none; one line.
    """
    try:
        return MixerSpec(name=name, options=_parse(options, dict) if isinstance(options, str) else dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        text = _IN_JSON.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {text} (got {_short(first['input'])})") from None
    except UsageError as error:
        raise UsageError(f"options: {error}") from None


def parse_list(option: str, text: str, example: str) -> list[Any]:
    """A JSON list of one entry or more, which is given to an option.

    Raises:
        UsageError: it is none; one line, with an example.
    """
    try:
        value = _parse(text, list)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None
    if not isinstance(value, list) or not value:
        empty = ", not an empty one" if value == [] else f" (got {_short(value)})"
        raise UsageError(f"{option} must be a JSON list, such as {example}{empty}")
    return value


def _assign(values: dict[str, Any], path: str, text: str, given: list[str]) -> None:
    """Set one path of those ``given`` in the plain form of a ``RunConfig``."""
    segments = path.split(".")
    node: Any = values
    kind: Any = RunConfig
    for depth in range(len(segments)):
        above = kind
        key, kind = _step(node, kind, segments, depth)
        if depth < len(segments) - 1:
            node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
            continue
        value = _parse(text, kind)
        if key == "name" and len(models_of(above)) > 1:
            _leave_out(node, value, [name for name in node if f"{path.removesuffix('name')}{name}" in given])
        node[key] = value


def _leave_out(task: dict[str, Any], name: Any, given: list[str]) -> None:
    """What a task need not keep, besides what is ``given``, when it becomes the one of another name."""
    try:
        before, after = (find_task(each) for each in (task.get("name"), name))
    except ValueError:
        return  # refused later
    if before is None or after is None:
        return
    for key in [key for key in task if key not in given]:
        field = before.model_fields.get(key)
        if key not in after.model_fields or (field is not None and task[key] == field.default):
            del task[key]


def _step(node: Any, kind: Any, segments: list[str], depth: int) -> tuple[Any, Any]:
    """The key that ``segments[depth]`` means in ``node``, which is of type ``kind``, and the type of what is there."""
    path, above, segment = ".".join(segments), ".".join(segments[:depth]), segments[depth]
    if isinstance(node, dict) and (models := models_of(kind)):
        try:
            chosen = (find_task(node.get("name")) if len(models) > 1 else None) or models[0]
        except ValueError as error:
            raise UsageError(f"{above}.name: {error}") from None
        known = all_fields((chosen, *models))  # of what it may yet be named, too
        if segment not in known:
            raise UsageError(unknown_setting(path, above, segment, chosen, segments[depth + 1 :]))
        return segment, known[segment].annotation
    if isinstance(node, dict):
        if not segment:
            raise UsageError(f"{path}: a name is missing{f' after {above}' if above else ''}")
        return segment, Any
    if isinstance(node, list):
        if not node and segment == "0" and models_of(entry_of(kind)):
            node.append({})  # the first of a list that has none by default
        if segment not in map(str, range(len(node))):
            numbers = f" ({', '.join(map(str, range(len(node))))})" if len(node) < 9 else f" (0 to {len(node) - 1})"
            entries = f"{len(node)} {'entry' if len(node) == 1 else 'entries'}{numbers if node else ''}"
            raise UsageError(f"{path}: {above} has {entries}; to replace the list give JSON: --{above} '[...]'")
        return int(segment), entry_of(kind)
    raise UsageError(f"{path}: {above} is a single value, nothing lies below it")


def _parse(text: str, kind: Any) -> Any:
    """JSON, else the text; and the text where only text will do, so that a name may look like a number."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except UsageError:
        raise
    except (ValueError, RecursionError):
        return text
    wants_text = kind is str or (get_origin(kind) is Literal and all(isinstance(c, str) for c in get_args(kind)))
    return text if wants_text and not isinstance(value, str) else value


def _object(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which no name may be twice: its parser would take the last."""
    found: dict[str, Any] = {}
    for name, value in entries:
        if name in found:
            raise UsageError(f"{brief(name)} is given twice in one object: {_short(found[name])} and {_short(value)}")
        found[name] = value
    return found


def _explain(error: ValidationError, values: Any) -> str:
    """The first fault in ``values`` as ``path: what is wrong (got value)``."""
    first = error.errors()[0]
    segments, kind = _locate(first["loc"], values)
    path, given = ".".join(segments), first["input"]
    if first["type"] == "extra_forbidden":
        return unknown_setting(path, ".".join(segments[:-1]), segments[-1], kind, [])
    if first["type"] == UNKNOWN_TASK:
        return f"{path}.name: {unknown_task(given['name'])}"
    text = one_line(_IN_JSON.get(first["type"]) or first["msg"].removeprefix("Value error, ").replace("Tuple", "List"))
    if not path and first["type"] == "value_error":
        return text  # a rule between settings, which it names
    got = "" if isinstance(given, dict | BaseModel) else f" (got {_short(given)})"
    return f"{path or 'a config'}: {text}{got}"


def _locate(location: tuple[int | str, ...], node: Any) -> tuple[list[str], Any]:
    """The path, as a user writes it, of a place in pydantic's words; and the class of settings that it is in.

    ``node`` is what was validated, in its plain form.
    """
    segments: list[str] = []
    kind: Any = RunConfig
    holder: Any = RunConfig
    for segment in location:
        models = models_of(kind)
        if len(models) > 1 and isinstance(node, dict) and is_path(node.get("name")):
            kind = find_task(node["name"])
            models = models_of(kind)
        elif len(models) > 1:
            kind = named(models, segment)  # pydantic's word for which of them it took, and no setting
            continue
        segments.append(str(segment))
        node = _below(node, segment)
        holder = kind
        field = models[0].model_fields.get(str(segment)) if models else None
        kind = field.annotation if field else entry_of(kind)
    return segments, holder


def _below(node: Any, segment: int | str) -> Any:
    try:
        return node[segment]
    except (KeyError, IndexError, TypeError):
        return None


def _short(value: Any) -> str:
    """A value as the user wrote it, or nearly."""
    if isinstance(value, list | tuple | dict):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 and text.isprintable() else brief(text)
