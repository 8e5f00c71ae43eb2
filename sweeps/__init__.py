"""Experiments: one module a sweep, each with ``SCALES`` and ``configs(scale) -> list[RunConfig]``.

``language`` is none of those listed: its runs depend on a text, too, and it has a command of its own. Its records are
those of a sweep like any other.

What the names stand for is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from mqar_bench.basics.errors import hint

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig

__all__ = ["command", "describe", "load", "names", "needs_text", "recorded", "scales"]

_SWEEPS = {
    name: f"sweeps.{name}"
    for name in (
        "fig3",
        "fig4_order",
        "fig4_slots",
        "top_k",
        "gamma",
        "cape",
        "temperature",
        "proxy_gradient",
        "trainability",
        "anneal",
        "token_wise",
        "published",
        "cost",
        "long_context",
        "long_context_slots",
        "segments",
    )
}


#: What trains a sweep whose runs take more than a scale.
_COMMANDS = {"language": "mqar-bench language"}


def command(name: str, scale: str) -> str:
    """What to type for the runs of a sweep at a scale: one of ours, with or without a text, or another of that name."""
    return f"{_COMMANDS.get(name, f'mqar-bench sweep {name}')} --scale {scale}"


def needs_text(name: str) -> bool:
    """Whether the runs of a sweep depend on a text, so that ``load`` does not know them."""
    return name in _COMMANDS


def names() -> tuple[str, ...]:
    """The sweeps there are."""
    return tuple(_SWEEPS)


def recorded() -> tuple[str, ...]:
    """The sweeps that records may be of: also those whose runs take more than a scale."""
    return (*_SWEEPS, *_COMMANDS)


def scales(name: str) -> tuple[str, ...]:
    """The scales of a sweep, smallest first."""
    return tuple(_module(name).SCALES)


def describe(name: str) -> str:
    """What a sweep is, in one line."""
    return (_module(name).__doc__ or "").strip().splitlines()[0]


def load(name: str, scale: str, seeds: int = 1) -> list[RunConfig]:
    """The runs of a sweep, each with so many seeds.

    Raises:
        ValueError: no such sweep, or it has no such scale; one line that names what there is.
    """
    from sweeps.protocols import with_seeds

    module = _module(name)
    if scale not in module.SCALES:
        raise ValueError(f"sweep {name!r} has no scale {scale!r}{hint(scale, module.SCALES)}")
    return with_seeds(module.configs(scale), seeds)


def _module(name: str) -> ModuleType:
    if name not in _SWEEPS:
        raise ValueError(f"no sweep named {name!r}{hint(name, _SWEEPS)}")
    return importlib.import_module(_SWEEPS[name])
