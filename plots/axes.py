"""Axes that figures share: sizes in powers of two, accuracies from 0 to 1, lines with their spread over seeds."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from plots.select import parse_seeds
from plots.style import PAGE, RC, SMALL

GRID: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.4}
#: Small panels beside one another; inches of a row of them.
PANELS, PANEL = 4, 1.5


def size_axis(ax: Axes, sizes: pd.Series) -> None:
    """A log2 x axis with a tick every one, two or more octaves, and at least two of them in sight."""
    low, high = math.log2(max(1, sizes.min())), math.log2(max(1, sizes.max()))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(LogLocator(base=4 if high - low > 4 else 2))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: count(x)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    if math.floor(high) - math.ceil(low) < 1:
        ax.set_xlim(2 ** (math.floor(low) - 0.15), 2 ** (math.ceil(high + 1e-9) + 0.15))


def value_axis(ax: Axes, values: pd.Series, log: bool) -> None:
    """A linear or log2 x axis with a tick at every value there is."""
    if log:
        ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(sorted(set(values))))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def small_panels(number: int, rest: float) -> tuple[Figure, list[Axes]]:
    """A figure of so many small panels with common axes, ``rest`` inches higher than its rows of them; each column has
    its labels below the last panel."""
    columns = min(PANELS, number)
    rows = -(-number // columns)
    fig, grid = plt.subplots(
        rows, columns, figsize=(PAGE * max(2, columns) / PANELS, PANEL * rows + rest), squeeze=False,
        sharex=True, sharey=True, layout="constrained",
    )  # fmt: skip
    axes = list(grid.flat)
    for ax in axes[number:]:
        ax.set_axis_off()
    for ax in axes[max(0, number - columns) : number]:
        ax.tick_params(labelbottom=True)
    return fig, axes[:number]


def accuracy_axis(ax: Axes, low: float = 0) -> None:
    """A y axis from ``low`` to 1; above 0 its markers are cut off at its edges, so it leaves room for those at 1."""
    ax.set_ylim(low, 1.005 if low else 1)
    ax.grid(**GRID)


def capacity_axis(ax: Axes, points: pd.DataFrame) -> None:
    """A log2 y axis of numbers of pairs, a tick an octave or finer, with room for the markers of all
    ``capacity_seeds``."""
    pairs = [pairs for text in points["capacity_seeds"] for pairs in parse_seeds(text)]
    ax.set_yscale("log", base=2)
    low, high = min(pairs) / 1.25, max(pairs) * 1.25
    ax.yaxis.set_major_locator(LogLocator(base=2, subs=(1.0,) if high >= 4 * low else (1.0, 1.25, 1.5, 1.75)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(low, high)


def draw_capacity(ax: Axes, x: pd.Series, points: pd.DataFrame, **look: Any) -> None:
    """``draw_line`` of capacities; markers are open where a seed's is at an end of what was tested.

    Args:
        ax: where.
        x: positions of the points.
        points: has the columns capacity, low, high, capacity_seeds and censored.
        look: for matplotlib's ``errorbar``.
    """
    values = points.rename(columns={"low": "capacity_low", "high": "capacity_high"})
    draw_line(ax, x, values, "capacity", **look)
    open_ones = (points["censored"] != "").to_numpy()
    if not open_ones.any():  # a line without points would have its place in the layout, at the origin
        return
    ax.plot(
        x[open_ones], points.loc[open_ones, "capacity"], linestyle="none", marker=look.get("marker", "o"),
        color=look.get("color"), markerfacecolor="white", markersize=look.get("markersize", 4.5) + 1,
        markeredgewidth=0.8,
        zorder=look.get("zorder", 2) + 0.5, clip_on=False,
    )  # fmt: skip


def draw_line(ax: Axes, x: pd.Series, points: pd.DataFrame, y: str = "accuracy", **look: Any) -> None:
    """A line through the means, with bars from low to high where there are several of anything, and a dot a seed.

    Args:
        ax: where.
        x: positions of the points.
        points: has the columns ``y``, ``y_low`` and ``y_high``, and where seeds are known ``y_seeds``.
        y: what is drawn.
        look: for matplotlib's ``errorbar``.
    """
    # a mean of equals may differ from them in the last bit
    below, above = ((points[y] - points[f"{y}_low"]).clip(lower=0), (points[f"{y}_high"] - points[y]).clip(lower=0))
    spread = [below, above] if (points[f"{y}_low"] < points[f"{y}_high"]).any() else None
    ax.errorbar(x, points[y], yerr=spread, **{"capsize": 2, "elinewidth": 0.8, "clip_on": False} | look)
    if f"{y}_seeds" in points:
        each = [(at, value) for at, text in zip(x, points[f"{y}_seeds"], strict=True) for value in parse_seeds(text)]
        if len(each) > len(points):
            ax.plot(*zip(*each, strict=True), ".", color=look.get("color"), markersize=2, alpha=0.6, zorder=1.5)


def name_line(ax: Axes, x: pd.Series, y: pd.Series, label: str) -> None:
    """A label beside the last point of a line, for one that is to be found at once."""
    ax.annotate(
        label, (x.iloc[-1], y.iloc[-1]), xytext=(-5, 6), textcoords="offset points", fontsize=RC["legend.fontsize"],
        fontweight="bold", ha="right", va="bottom", zorder=7,
    ).set_in_layout(False)  # fmt: skip


def name_height(ax: Axes, y: float, label: str) -> None:
    """A label on a line across the axes, at its left end; it can be read where lines of the figure are behind it."""
    ax.annotate(
        label, (0, y), xycoords=("axes fraction", "data"), xytext=(2, 1), textcoords="offset points", fontsize=SMALL,
        va="bottom", zorder=8, path_effects=[withStroke(linewidth=1.5, foreground="white")],
    ).set_in_layout(False)  # fmt: skip


def is_rising(converged: pd.Series) -> pd.Series:
    """Which points are known not to have converged."""
    return converged.map(lambda known: not pd.isna(known) and not known).astype(bool)


def mark_unconverged(ax: Axes, x: pd.Series, y: pd.Series, converged: pd.Series) -> None:
    """A small cross on each point whose training still gained at its end."""
    those = is_rising(converged)
    if those.any():
        ax.plot(x[those], y[those], "x", color="black", markersize=3, markeredgewidth=0.6, zorder=6, clip_on=False)


def keys(ax: Axes) -> dict[str, Any]:
    """A legend's handles and labels for the lines of ``draw_line``, without their bars."""
    lines = [container for container in ax.containers if isinstance(container, ErrorbarContainer)]
    return {"handles": [line.lines[0] for line in lines], "labels": [str(line.get_label()) for line in lines]}


def count(x: float) -> str:
    """A number of elements, in binary thousands: 4096 is 4K."""
    for unit, name in ((2**30, "G"), (2**20, "M"), (2**10, "K")):
        if x >= unit:
            return f"{x / unit:.3g}{name}"
    return f"{x:.3g}"
