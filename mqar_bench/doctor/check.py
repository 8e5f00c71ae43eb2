"""What a section returns: checks, each with a mark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: ``note`` is worth knowing; with ``FIX`` a sweep does not start, or goes wrong.
Mark = Literal["ok", "note", "FIX"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: of the thing, short.
        text: what was found, one line.
        mark: what it means.
        fix: what to do about it, one line; the command where there is one.
        values: what was found, for programs.
    """

    name: str
    text: str
    mark: Mark = "ok"
    fix: str | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Checks under a title; the legend explains words in them."""

    title: str
    checks: tuple[Check, ...]
    legend: str = ""
