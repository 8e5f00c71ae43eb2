"""The lines of a figure that compares architectures: one for each, and for each place in the stack it is tried in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from plots.style import RC, design, styles

#: Points: what a legend's entry has beside its text, and inches of a row.
_HANDLE, _ROW = 27, 0.135


class Line(NamedTuple):
    """An architecture in a stack; ``look`` is for matplotlib."""

    mixer: str
    stack: str
    label: str
    look: dict[str, Any]

    def of(self, points: pd.DataFrame) -> pd.DataFrame:
        return points[(points["mixer"] == self.mixer) & (points["stack"] == self.stack)]


def series(points: pd.DataFrame) -> tuple[list[Line], str]:
    """The lines of a table with columns mixer and stack, and a title.

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
            look = {"color": color, "marker": marker}
            if design(stack) == common:
                lines.append(Line(mixer, stack, label, look))
            else:
                look |= {"linestyle": next(dashes), "markerfacecolor": "white"}
                lines.append(Line(mixer, stack, f"{label} {design(stack)}", look))
    return lines, f"Mixers {common}"


def fit_legend(lines: list[Line], width: float, most: int) -> tuple[dict[str, Any], float]:
    """A legend above the axes with as many columns as fit, at most ``most``, and how high it is.

    Args:
        lines: its entries.
        width: of the figure, in inches.
        most: columns.

    Returns:
        arguments of ``Figure.legend``, and inches.
    """
    font = FontProperties(family=RC["font.family"], size=RC["legend.fontsize"])
    widths = np.array([TextPath((0, 0), line.label, prop=font).get_extents().width + _HANDLE for line in lines])
    columns = min(most, len(lines))
    while columns > 1 and sum(part.max() for part in np.array_split(widths, columns)) > 72 * width:
        columns -= 1
    look = {"loc": "outside upper center", "frameon": False, "handlelength": 1.4, "columnspacing": 1.0}
    handles = [Line2D([], [], label=line.label, **line.look) for line in lines]
    return look | {"handles": handles, "ncols": columns}, _ROW * -(-len(lines) // columns)
