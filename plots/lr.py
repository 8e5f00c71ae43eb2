"""Accuracy against learning rate, a panel per architecture: whether the rates that were tried hold the best one."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plots import fig3
from plots.axes import accuracy_axis, count, draw_line, keys, small_panels
from plots.lines import Line, series
from plots.select import select_points, summarise, tabulate
from plots.style import RC, SMALL

SWEEPS = fig3.SWEEPS
#: It is of the short runs of a screening, where there was one.
SCREENING = True

#: Of lines, the smallest state first.
MARKERS = "osD^vP*X"
_EDGE = "#D55E00"


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: the best model of an architecture and state size at each learning rate.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.

    Returns:
        columns mixer, stack, state_size, those of ``summarise``, best (the rate that the other figures take), and
        edge (it is the best, and none below, or none above, was tried).

    Raises:
        ValueError: there is no finished run, or they are of different data.
    """
    line = ["mixer", "stack", "state_size"]
    best, edge = {}, {}
    for point in select_points(frame, line):
        tried = frame.loc[frame["variant"].isin(point.runs["variant"]), "learning_rate"]  # with those that failed
        at, rate = tuple(point.at.values()), point.chosen["learning_rate"].iloc[0]
        best[at], edge[at] = rate, rate in (tried.min(), tried.max())
    rows = []
    for point in select_points(frame, [*line, "learning_rate"]):
        at = tuple(point.at[name] for name in line)
        is_best = point.at["learning_rate"] == best[at]
        rows.append(point.at | summarise(point) | {"best": is_best, "edge": is_best and edge[at]})
    return tabulate(rows, frame, SWEEPS[0]).drop(columns="learning_rates")


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table``: a ring is the best rate of a line, filled where it lies on the edge of its grid."""
    with plt.rc_context(RC):
        lines, common = series(points)
        fig, axes = small_panels(len(lines), 0.5)
        wide = points["learning_rate"].max() / points["learning_rate"].min() > 50
        for ax, line in zip(axes, lines, strict=True):
            _panel(ax, line, line.of(points))
            ax.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 3)))
        fig.supxlabel("Learning rate", fontsize=8)
        fig.supylabel("MQAR accuracy", fontsize=8)
        kinds = {"best rate": "none", "best rate, on the edge of those tried": _EDGE}
        rings = [
            Line2D([], [], marker="o", linestyle="none", markersize=8, color=_EDGE, markerfacecolor=fill, label=label)
            for label, fill in kinds.items()
        ]
        fig.legend(handles=rings, title=common, loc="outside upper center", ncols=2, frameon=False, title_fontsize=7)
    plt.close(fig)
    return fig


def _panel(ax: Axes, line: Line, points: pd.DataFrame) -> None:
    sizes = sorted(set(points["state_size"]))
    colors = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.0, max(2, len(sizes))))
    for i, size in enumerate(sizes):
        those = points[points["state_size"] == size].sort_values("learning_rate")
        look = {"color": colors[i], "marker": MARKERS[i % len(MARKERS)], "label": count(size)}
        look["markersize"] = max(2.5, 4.5 - 0.6 * i)  # what lies on the same spot is seen
        draw_line(ax, those["learning_rate"], those, **look)
        for best in those[those["best"]].itertuples():
            fill = _EDGE if best.edge else "none"
            ax.plot(
                best.learning_rate, best.accuracy, "o", markersize=8, color=_EDGE, markerfacecolor=fill, clip_on=False,
                zorder=1.5 if best.edge else 3,
            )  # fmt: skip
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    accuracy_axis(ax)
    ax.legend(
        **keys(ax),
        title=line.label, title_fontsize=7, fontsize=SMALL, loc="lower left", bbox_to_anchor=(-0.05, 1.03), ncols=4,
        frameon=False, handlelength=0.8, handletextpad=0.3, columnspacing=0.6, borderaxespad=0.1, alignment="left",
    )  # fmt: skip
