"""Mixers by name, and the check of their options."""

from __future__ import annotations

import difflib
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from torch import nn

from mixers.checks import brief
from mixers.dotted import NotFound, find_at

_REGISTRY: dict[str, type[nn.Module]] = {}

#: How much of an unknown name is compared with those there are.
MAX_NAME = 100

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
    if not ("." in name and all(part.isidentifier() for part in name.split("."))):
        close = difflib.get_close_matches(name[:MAX_NAME], names(), 1)
        hint = f"did you mean {close[0]!r}?" if close else f"mixers.names() lists the {len(names())} there are"
        raise MixerError(f"no mixer named {brief(name)}: {hint} (or give a dotted path to a class)")
    try:
        cls = find_at(name, "mixer")
    except NotFound as error:
        raise MixerError(str(error)) from None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and cls is not nn.Module):
        raise MixerError(f"mixer {brief(name)} is not a torch module class")
    takes = inspect.signature(cls).parameters
    if not (_takes_any(cls) or {"d_model", "layer_idx"} <= takes.keys()):
        raise MixerError(
            f"mixer {brief(name)} must take d_model and layer_idx: it takes {', '.join(takes) or 'nothing'}"
        )
    return cls


def describe(name: str) -> tuple[Option, ...]:
    """The options of a mixer, in order."""
    return tuple(Option(p.name, _type_name(p.annotation), p.default) for p in _option_parameters(load(name)).values())


def build(name: str, /, d_model: int, layer_idx: int | None = 0, **options: Any) -> Any:
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
    if type(d_model) is not int:
        raise MixerError(f"mixer {name!r}: d_model must be an integer, got {brief(d_model)}")
    _check_options(name, cls, options)
    try:
        return cls(d_model=d_model, layer_idx=layer_idx, **options)
    except ValueError as error:
        raise MixerError(f"mixer {name!r}: {error}") from error


def outline(name: str, /, d_model: int, layer_idx: int | None = 0, **options: Any) -> Any:
    """``build`` without memory for the weights, on torch's meta device: to check options, and to ask for sizes.

    A mixer from elsewhere whose constructor looks into its tensors cannot be built there, and is built for real.
    """
    try:
        with torch.device("meta"):
            return build(name, d_model, layer_idx, **options)
    except (RuntimeError, TypeError):  # no numbers there; what else it may be shows again
        return build(name, d_model, layer_idx, **options)


def _check_options(name: str, cls: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Whether a class can be called with these options, as far as its signature tells."""
    parameters, hints = _option_parameters(cls), _type_hints(cls)
    for option, value in options.items():
        if option in parameters:
            _check_value(name, option, value, hints.get(option, Any))
        elif not _takes_any(cls):
            close = difflib.get_close_matches(option[:MAX_NAME], parameters, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            known = textwrap.shorten(", ".join(parameters), 200, placeholder=" and more") or "none"
            raise MixerError(f"mixer {name!r} has no option {brief(option)}; {hint}it has {known}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise MixerError(f"mixer {name!r} needs option {option!r}, which has no default")


def _check_value(name: str, option: str, value: Any, hint: Any) -> None:
    problem = ""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        problem = "Input should be an integer of 64 bits"
    elif isinstance(value, float) and not math.isfinite(value):
        problem = "Input should be a finite number"
    else:
        try:
            TypeAdapter(hint).validate_python(value, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
        except PydanticUserError:  # a type that only the mixer itself can check
            pass
    if problem:
        raise MixerError(f"mixer {name!r}, option {option!r}: {problem} (got {brief(value)})")


def _type_hints(cls: type[nn.Module]) -> dict[str, Any]:
    try:
        return get_type_hints(cls.__init__)
    except NameError:  # names that are there for type checkers alone
        return {}


def _option_parameters(cls: type[nn.Module]) -> dict[str, inspect.Parameter]:
    return {
        p.name: p
        for p in inspect.signature(cls).parameters.values()
        if p.name not in ("d_model", "layer_idx") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _takes_any(cls: type[nn.Module]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())


def _type_name(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
