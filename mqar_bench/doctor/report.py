"""Sections as lines for people and as JSON for programs. Needs neither torch nor what imports it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from mqar_bench.doctor.check import Check, Section

STYLES = {"ok": "green", "note": "yellow", "FIX": "bold red"}
#: Text is folded to the terminal's width, but not to less than this.
NARROWEST = 24


def print_section(section: Section, console: Console) -> None:
    """A title, and a line for each check: its mark, its name, and what was found; what to do about it below."""
    console.print(Text(section.title, "bold"), soft_wrap=True)
    longest = max((len(check.name) for check in section.checks), default=0)
    for check in section.checks:
        _print_check(check, longest, console)
    if section.legend:
        for line in _fold(section.legend, 2, console):
            console.print(Text(f"  {line}", "dim"), soft_wrap=True)
    console.print()


def _print_check(check: Check, longest: int, console: Console) -> None:
    lead = f"  {check.mark:<4}  {check.name:<{longest}}  "
    lines = _fold(check.text, len(lead), console)
    if check.fix:
        lines += _fold(check.fix, len(lead), console)
    for i, line in enumerate(lines):
        text = Text(f"{lead if i == 0 else ' ' * len(lead)}{line}")
        if i == 0:
            text.stylize(STYLES[check.mark], 2, 2 + len(check.mark))
        console.print(text, soft_wrap=True)


def _fold(text: str, indent: int, console: Console) -> list[str]:
    """To the width of a terminal; a file has none."""
    if not console.is_terminal:
        return [text]
    width = max(NARROWEST, console.width - indent)
    # paths and options stay whole, to be copied: the terminal breaks them where it must
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def to_json(sections: Sequence[Section]) -> dict[str, Any]:
    """Everything, and how many things are to be fixed."""
    return {
        "fixes": count_fixes(sections),
        "sections": [
            {"title": section.title, "checks": [asdict(check) for check in section.checks]} for section in sections
        ],
    }


def count_fixes(sections: Iterable[Section]) -> int:
    return sum(check.mark == "FIX" for section in sections for check in section.checks)


def conclude(sections: Iterable[Section]) -> str:
    """The last line."""
    fixes = count_fixes(sections)
    return "everything works" if not fixes else f"{fixes} thing{'s' * (fixes != 1)} to fix"
