"""The terminal: how wide it is, and tables on it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Where output is no terminal there is no width to keep to.
FILE_WIDTH = 200

SHORT_CELL = 20

#: Text is folded to the terminal's width, but not to less than this.
NARROWEST = 24


def make_console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=FILE_WIDTH)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()) -> None:
    """A table on standard output; the columns in ``numbers`` are set flush right."""
    cells = [[Text(cell) for cell in row] for row in rows]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(header):
        longest = max((len(row[i]) for row in cells), default=0)
        # short cells stay whole: where it is narrow, headers and long texts are folded instead
        least = longest if longest <= SHORT_CELL else None
        table.add_column(Text(name), justify="right" if name in numbers else "left", min_width=least, overflow="fold")
    for row in cells:
        table.add_row(*row)
    make_console().print(table)


def fold(text: str, console: Console, lead: str) -> str:
    """``text`` after ``lead`` in lines of the width of a terminal; a file has none."""
    width = max(console.width, len(lead) + NARROWEST) if console.is_terminal else sys.maxsize
    # paths and options stay whole, to be copied: the terminal breaks them where it must
    lines = textwrap.wrap(text, width - len(lead), break_long_words=False, break_on_hyphens=False)
    return lead + f"\n{' ' * len(lead)}".join(lines)
