"""The lines of a figure that compares architectures: one for each, and for each place in the stack it is tried in."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plots.style import SMALL, STANDS_OUT, design, paler, styles


class Line(NamedTuple):
    """An architecture in a stack; ``look`` is for matplotlib."""

    mixer: str
    stack: str
    label: str
    look: dict[str, Any]
    stands_out: bool = False

    def of(self, points: pd.DataFrame) -> pd.DataFrame:
        """Its rows."""
        return points[(points["mixer"] == self.mixer) & (points["stack"] == self.stack)]

    def along(self, size: str) -> dict[str, Any]:
        """``look`` against a kind of size: models are in a line by their total state alone, along which they grow."""
        return self.look | ({} if size == "state_size" else {"linestyle": "none"})


def series(points: pd.DataFrame, ours: Collection[str] = ()) -> tuple[list[Line], str]:
    """The lines of a table with columns mixer and stack, and a title.

    Those of the mixers ``ours`` come first and stand out, the others are paler than they are without any.

    The title says where in the stack the mixers are, most of them; the label of one that is elsewhere says so, and its
    line is dashed and its markers are hollow, in the colour of its architecture.
    """
    pairs = points[["mixer", "stack"]].drop_duplicates()
    designs = [design(stack) for stack in pairs["stack"]]
    common = max(sorted(set(designs)), key=designs.count)
    lines = []
    for mixer, (label, color, marker) in styles(pairs["mixer"]).items():
        dashes = iter(["--", ":", "-."] * len(pairs))
        for stack in sorted(pairs.loc[pairs["mixer"] == mixer, "stack"], key=lambda s: (design(s) != common, s)):
            pale = {"color": paler(color) if ours else color, "marker": marker}
            look: dict[str, Any] = dict(STANDS_OUT) if mixer in ours else pale
            if design(stack) == common:
                lines.append(Line(mixer, stack, label, look, mixer in ours))
            else:
                look |= {"linestyle": next(dashes), "markerfacecolor": "white"}
                lines.append(Line(mixer, stack, f"{label} {design(stack)}", look, mixer in ours))
    lines.sort(key=lambda line: not line.stands_out)
    return lines, f"Mixers {common}"


#: What a marker says besides which architecture it is.
BOUND = Line2D([], [], linestyle="none", marker="o", color="0.4", markerfacecolor="white", label="a bound")
RISING = Line2D([], [], linestyle="none", marker="x", color="0.4", markersize=3, label="not converged")


#: Entries of a legend beyond which they move together, and the height of one in sizes of its letters.
MANY, ROW = 14, 1.25


def legend_beside(fig: Figure, lines: Iterable[Line], title: str, more: Iterable[Line2D] = ()) -> None:
    """A legend in one column to the right of the axes; its title is broken to the width of the column. A figure that is
    too low for it grows."""
    handles = [Line2D([], [], label=line.label, **line.look) for line in lines] + list(more)
    wide = max((len(str(handle.get_label())) for handle in handles), default=0) + 4
    titles = textwrap.wrap(title, max(wide, 12))
    spacing = 0.5 if len(handles) <= MANY else 0.25
    fig.legend(
        handles=handles, title="\n".join(titles), loc="outside right center", frameon=False, handlelength=1.2,
        handletextpad=0.4, borderpad=0, borderaxespad=0.2, labelspacing=spacing, alignment="left", fontsize=SMALL,
        title_fontsize=SMALL,
    )  # fmt: skip
    needed = (len(handles) * (ROW + spacing) + len(titles) * ROW + 1) * SMALL / 72
    width, height = fig.get_size_inches()
    fig.set_size_inches(width, max(height, needed))
