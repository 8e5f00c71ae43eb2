"""What was found: checks with a mark, under titles; as lines for people and as JSON. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from mqar_bench.basics.console import fold

#: ``note`` is worth knowing; with ``FIX`` a sweep does not start, or goes wrong.
Mark = Literal["ok", "note", "FIX"]
STYLES = {"ok": "green", "note": "yellow", "FIX": "bold red"}


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

    def print(self, console: Console) -> None:
        """The title, and for each check its mark, its name, and what was found; what to do about it below."""
        console.print(Text(self.title, "bold"), soft_wrap=True)
        longest = max((len(check.name) for check in self.checks), default=0)
        for check in self.checks:
            lead = f"  {check.mark:<4}  {check.name:<{longest}}  "
            text = Text(fold(check.text, console, lead))
            text.stylize(STYLES[check.mark], 2, 2 + len(check.mark))
            console.print(text, soft_wrap=True)
            if check.fix:
                console.print(Text(fold(check.fix, console, " " * len(lead))), soft_wrap=True)
        if self.legend:
            console.print(Text(fold(self.legend, console, "  "), "dim"), soft_wrap=True)
        console.print()


def to_json(sections: Iterable[Section]) -> dict[str, Any]:
    """Everything, and how many things are to be fixed."""
    shown = [{"title": s.title, "checks": [asdict(check) for check in s.checks]} for s in sections]
    return {"fixes": count_fixes(sections), "sections": shown}


def count_fixes(sections: Iterable[Section]) -> int:
    return sum(check.mark == "FIX" for section in sections for check in section.checks)
