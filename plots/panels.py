"""Ablations of RAM-Net: small panels of capacity, or accuracy, against one of its settings, one for each sweep with
records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plots import ramnet
from plots.axes import (
    GRID,
    accuracy_axis,
    capacity_axis,
    draw_capacity,
    draw_line,
    keys,
    size_axis,
    value_axis,
)
from plots.select import select_points, summarise, tabulate
from plots.style import COLUMN, PAGE, RC, SERIES, SMALL

#: Inches: a panel's axes with their labels, and a row of its legend.
HEIGHT, ROW = 1.7, 0.14

#: What says where the values of an x axis are.
_AXES: Mapping[str, Callable[[Axes, pd.Series], None]] = {
    "octaves": size_axis,
    "log": partial(value_axis, log=True),
    "linear": partial(value_axis, log=False),
}


class Panel(NamedTuple):
    """What a panel shows of its sweep.

    Args:
        x: the column of ``ramnet.settings`` on the x axis.
        xlabel: its name.
        lines: the columns that tell lines apart, and each one's values in words.
        axis: ``linear`` or ``log`` (base 2) with ticks at the values there are, or log2 with ticks at ``octaves``.
        by_design: whether runs of different designs are on lines of their own.
    """

    x: str
    xlabel: str
    lines: Mapping[str, Callable[[Any], str]]
    axis: str = "linear"
    by_design: bool = True


def table(frame: pd.DataFrame, panels: Mapping[str, Panel]) -> pd.DataFrame:
    """The points of the panels: for each the best model and learning rate.

    Args:
        frame: tidy rows, one a run; runs that are not done, or of other mixers than RAM-Net, are left out.
        panels: by sweep.

    Returns:
        columns sweep, line, design, setting (on the x axis), value, and those of ``summarise``.

    Raises:
        ValueError: no panel has a finished run, or one has runs on different data.
    """
    rows = []
    for sweep, panel in panels.items():
        runs = ramnet.settings(frame[frame["sweep"] == sweep])
        for point in select_points(runs, [*panel.lines, *(["design"] if panel.by_design else []), panel.x]):
            line = ", ".join(text(point.at[name]) for name, text in panel.lines.items())
            design = point.at["design"] if panel.by_design else ""
            at = {"sweep": sweep, "line": line, "design": design, "setting": panel.x, "value": point.at[panel.x]}
            rows.append(at | summarise(point))
    return tabulate(rows, frame, next(iter(panels)))


def figure(points: pd.DataFrame, panels: Mapping[str, Panel]) -> Figure:
    """Draw the points of ``table``: a panel for each sweep that has some, with its legend above it.

    A panel shows capacity, or accuracy where no model of it has one within what was tested.
    """
    there = [sweep for sweep in panels if sweep in set(points["sweep"])]
    columns = len(there) if len(there) <= 3 else 2
    rows = -(-len(there) // columns)
    legends = [len(points.loc[points["sweep"] == sweep, ["line", "design"]].drop_duplicates()) for sweep in there]
    height = sum(HEIGHT + ROW * (1 + max(legends[i * columns : (i + 1) * columns])) for i in range(rows))
    with plt.rc_context(RC):
        size = (COLUMN[0] if columns == 1 else PAGE, height)
        fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for ax, sweep in zip(axes.flat, there, strict=False):
            _draw(ax, points[points["sweep"] == sweep], panels[sweep])
        for ax in axes.flat[len(there) :]:
            ax.set_axis_off()
    plt.close(fig)
    return fig


def by_capacity(points: pd.DataFrame) -> bool:
    """Whether a panel shows capacity: where a model has one within what was tested."""
    known = "capacity" in points and points["capacity"].notna().all()
    return bool(known and (points["censored"] == "").any())


def _draw(ax: Axes, points: pd.DataFrame, panel: Panel) -> None:
    designs = list(points["design"].drop_duplicates())
    names = list(points["line"].drop_duplicates())
    _AXES[panel.axis](ax, points["value"])
    capacities = by_capacity(points)
    for line, design in points[["line", "design"]].drop_duplicates().itertuples(index=False):
        color, marker = SERIES[names.index(line) % len(SERIES)]
        look: dict[str, Any] = {"color": color, "marker": marker}
        if design != designs[0]:
            look |= {"linestyle": "--", "markerfacecolor": "white"}
        label = ", ".join(filter(None, [line, design if len(designs) > 1 else ""]))
        those = points[(points["line"] == line) & (points["design"] == design)]
        if capacities:
            draw_capacity(ax, those["value"], those, label=label, **look)
        else:
            draw_line(ax, those["value"], those, label=label, **look)
    if capacities:
        capacity_axis(ax, points)
        ax.grid(**GRID)
    else:
        accuracy_axis(ax)
    ax.set_ylabel("Capacity (pairs)" if capacities else "MQAR accuracy")
    ax.set_xlabel(panel.xlabel)
    title = f"RAM-Net {designs[0]}".rstrip() if len(designs) == 1 else "RAM-Net"
    ax.legend(
        **keys(ax),
        title=title, title_fontsize=SMALL, fontsize=SMALL, loc="lower left", bbox_to_anchor=(-0.3, 1.0), frameon=False,
        handlelength=1.8, borderaxespad=0.2, labelspacing=0.25, alignment="left",
    )  # fmt: skip
