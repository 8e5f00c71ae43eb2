"""Experiments: one module a sweep, each with ``SCALES`` and ``configs(scale) -> list[RunConfig]``.

What the names stand for is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from mqar_bench.basics.errors import hint

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig

__all__ = ["describe", "load", "names", "scales"]

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


def names() -> tuple[str, ...]:
    """The sweeps there are."""
    return tuple(_SWEEPS)


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
