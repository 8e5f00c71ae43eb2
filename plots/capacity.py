"""Pairs recalled at 0.9 accuracy against total state size, a line per architecture."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mqar_bench.records.capacity import UNBOUNDED
from plots import fig3
from plots.axes import (
    GRID,
    capacity_axis,
    draw_capacity,
    is_rising,
    mark_unconverged,
    name_height,
    name_line,
    size_axis,
)
from plots.lines import BOUND, RISING, Line, legend_beside, series
from plots.style import COLUMN, RC, SMALL, WIDTHS

SWEEPS = fig3.SWEEPS

#: Elements of state spent on a pair: lines to read the others against.
RATES = (16, 64, 256)

COLUMNS = [
    "mixer", "stack", "state_size", "active_state_size", "capacity", "low", "high", "censored", "seeds", "solved",
    "converged", "guide_accuracy", "recalled_pairs", "capacity_seeds", "learning_rate", "learning_rates", "edge",
    "runs", "failed", "selected_on", "run_ids",
]  # fmt: skip


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: for each architecture and state size, the best model and learning rate.

    Args:
        frame: tidy rows, one a run; those without a capacity (``records.capacity``) are left out.

    Returns:
        columns ``COLUMNS``: capacity is the geometric mean over seeds, low and high its bootstrap interval, censored
        ``above`` or ``below`` where any seed's is a bound; recalled_pairs the mean of the most recalled at any number
        of pairs, less guessing; the rest as ``fig3.table`` has it.

    Raises:
        ValueError: there is no finished run, they are of different data, or none has a capacity.
    """
    points = fig3.table(frame)
    if "capacity" not in points or (points := points.dropna(subset="capacity")).empty:
        raise ValueError("nothing to draw: a capacity takes test settings of MQAR with several numbers of pairs")
    return points.rename(columns={"capacity_low": "low", "capacity_high": "high"})[COLUMNS].reset_index(drop=True)


def figure(points: pd.DataFrame, columns: int = 1, ours: Collection[str] = ()) -> Figure:
    """Draw the points of ``table``, both axes in powers of two, over one or two columns of a page.

    What has no bounded state is a line across, since its size is its sequence's. Markers are open where a seed is at an
    end of what was tested; a cross is on those that were not converged. The mixers ``ours`` stand out.
    """
    with plt.rc_context(RC):
        lines, common = series(points, ours)
        fig, ax = plt.subplots(figsize=(WIDTHS[columns], COLUMN[1]), layout="constrained")
        marks = draw_lines(ax, lines, points)
        ax.set_ylabel("Capacity (pairs at 0.9 accuracy)")
        legend_beside(fig, [line for line in lines if line.mixer not in UNBOUNDED], common, marks)
    plt.close(fig)
    return fig


def known(sizes: Iterable[str], points: pd.DataFrame) -> list[str]:
    """Of the kinds of size those that some point has."""
    return [size for size in sizes if points[size].notna().any()]


def draw_lines(ax: Axes, lines: Sequence[Line], points: pd.DataFrame, size: str = "state_size") -> list[Line2D]:
    """The lines of ``points`` against a size, a column of ``fig3.LABELS``, on axes that are set up for them; without
    those that do not say it.

    Returns:
        what markers say in them, for a legend.
    """
    points = points.dropna(subset=size)
    sized = points[~points["mixer"].isin(UNBOUNDED)]
    for place, line in enumerate(lines):
        those = line.of(points).sort_values(size)
        look = line.along(size) | {"zorder": 3 - place / len(lines)}
        if line.mixer not in UNBOUNDED:
            draw_capacity(ax, those[size], those, label=line.label, **look)
            mark_unconverged(ax, those[size], those["capacity"], those["converged"])
            if line.stands_out:
                name_line(ax, those[size], those["capacity"], line.label)
    _across(ax, [line for line in lines if line.mixer in UNBOUNDED], points)
    size_axis(ax, (sized if len(sized) else points)[size])
    capacity_axis(ax, points)
    if size == "state_size":
        _rates(ax)
    ax.grid(**GRID)
    ax.set_xlabel(fig3.LABELS[size])
    return [BOUND] * bool((sized["censored"] != "").any()) + [RISING] * bool(is_rising(sized["converged"]).any())


def _across(ax: Axes, lines: Iterable[Line], points: pd.DataFrame) -> None:
    """A line for each, dashed where it is a bound, and one name for those at the same height."""
    names: dict[float, list[str]] = {}
    for line in lines:
        if (those := line.of(points)).empty:
            continue
        best = those.sort_values("capacity").iloc[-1]
        dashes = "-" if not best["censored"] else "--"
        ax.axhline(best["capacity"], color=line.look["color"], linewidth=0.8, linestyle=dashes)
        names.setdefault(best["capacity"], []).append(line.label)
    for height, labels in names.items():
        name_height(ax, height, f"{' and '.join([labels[0], *(label.lower() for label in labels[1:])])}, state grows")


def _rates(ax: Axes) -> None:
    """Thin lines of as many elements of state for each pair, named near their upper ends."""
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for rate in RATES:
        start, end = max(low, bottom * rate), min(high, top * rate)
        if start >= end:
            continue
        ax.plot([start, end], [start / rate, end / rate], color="0.75", linewidth=0.5, linestyle=":", zorder=0)
        near = start * (end / start) ** 0.82
        place: dict[str, Any] = {"xytext": (3, -1), "va": "top"}
        if end == high:  # there may be no room to the right of the line
            place = {"xytext": (-3, 1), "va": "bottom", "ha": "right"}
        ax.annotate(
            f"{rate} a pair", (near, near / rate), textcoords="offset points", fontsize=SMALL - 1, color="0.5",
            zorder=0, **place,
        ).set_in_layout(False)  # fmt: skip
    ax.set_xlim(low, high), ax.set_ylim(bottom, top)
