"""Mixers by name, and the check of their options."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import nn

_REGISTRY: dict[str, type[nn.Module]] = {}

M = TypeVar("M", bound=type[nn.Module])


class MixerError(ValueError):
    """A mixer that does not exist, or an option it does not have or cannot take."""


@dataclass(frozen=True)
class Option:
    """One option of a mixer: its name, how its type reads, and its default."""

    name: str
    type: str
    default: Any


def register(name: str) -> Callable[[M], M]:
    """Class decorator: make a mixer available under ``name``."""

    def add(cls: M) -> M:
        if name in _REGISTRY:
            raise MixerError(f"a mixer named {name!r} is registered already")
        _REGISTRY[name] = cls
        return cls

    return add


def names() -> tuple[str, ...]:
    """The registered mixers, sorted."""
    return tuple(sorted(_REGISTRY))


def load(name: str) -> type[nn.Module]:
    """The class registered as ``name``, or found at a dotted path such as ``my_package.MyMixer``.

    Raises:
        MixerError: there is no such mixer.
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        close = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names())}"
        raise MixerError(f"no mixer named {name!r}: {hint} (or give a dotted path to a class)")
    try:
        cls = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise  # the module is there, but something it imports is not
        raise MixerError(f"mixer {name!r}: there is no module {error.name!r}") from None
    except AttributeError:
        raise MixerError(f"mixer {name!r}: module {module_name!r} has no {attribute!r}") from None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise MixerError(f"mixer {name!r} is not a torch module class")
    return cls


def describe(name: str) -> tuple[Option, ...]:
    """The options of a mixer, in order."""
    return tuple(Option(p.name, _type_name(p.annotation), p.default) for p in _option_parameters(load(name)).values())


def build(name: str, d_model: int, layer_idx: int | None = 0, **options: Any) -> Any:
    """Make a mixer of width ``d_model``.

    Args:
        name: a registered name or a dotted path.
        d_model: model width.
        layer_idx: which layer of the stack it is.
        options: the mixer's own; see ``describe``.

    Raises:
        MixerError: no such mixer, an option it does not have, or a value it cannot take.
    """
    cls = load(name)
    parameters = _option_parameters(cls)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
    hints = get_type_hints(cls.__init__)
    for option, value in options.items():
        if option not in parameters:
            if takes_any:
                continue
            close = difflib.get_close_matches(option, parameters, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise MixerError(f"mixer {name!r} has no option {option!r}; {hint}it has {', '.join(parameters) or 'none'}")
        if option in hints:
            try:
                TypeAdapter(hints[option]).validate_python(value, strict=True)
            except ValidationError as error:
                problem = error.errors()[0]["msg"]
                raise MixerError(f"mixer {name!r}, option {option!r}: {problem} (got {value!r})") from None
    try:
        return cls(d_model=d_model, layer_idx=layer_idx, **options)
    except ValueError as error:
        raise MixerError(f"mixer {name!r}: {error}") from error


def _option_parameters(cls: type[nn.Module]) -> dict[str, inspect.Parameter]:
    return {
        p.name: p
        for p in inspect.signature(cls).parameters.values()
        if p.name not in ("d_model", "layer_idx") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _type_name(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
