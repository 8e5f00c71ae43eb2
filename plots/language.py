"""Held-out perplexity of what recall can tell, and of the rest, against total state size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mqar_bench.records.capacity import UNBOUNDED
from mqar_bench.text.task import Scored
from plots import fig3
from plots.axes import GRID, draw_line, is_rising, mark_unconverged, size_axis
from plots.lines import RISING, Line, legend_beside, series
from plots.select import over_seeds, select_points, summarise, tabulate
from plots.style import COLUMN, PAGE, RC

SWEEPS = ("language",)

#: A panel each, and what it is called.
PANELS = {"hits": "Pairs seen before in the window (hits)", "rest": "The rest"}
#: Kinds of tokens in the table.
KINDS = get_args(Scored)


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: for each architecture and state size, the best model and learning rate.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.

    Returns:
        columns mixer, stack, state_size (at the length of a window), active_state_size, num_parameters; for each of
        ``KINDS`` that is scored perplexity_KIND (the geometric mean over seeds), with _low and _high (its bootstrap
        interval) and _seeds; and those of ``summarise``, of which accuracy is that of the next token.

    Raises:
        ValueError: there is no finished run, they are of different data, or none keeps the losses of both panels.
    """
    rows = [
        {
            "mixer": point.at["mixer"],
            "stack": point.at["stack"],
            **point.chosen[[*fig3.LABELS, "num_parameters"]].iloc[0],
            **_perplexities(point.chosen),
            **summarise(point),
        }
        for point in select_points(frame, ["mixer", "stack", "state_size"])
    ]
    points = tabulate(rows, frame, SWEEPS[0])
    needed = [f"perplexity_{kind}" for kind in PANELS]
    if not set(needed) <= set(points) or (points := points.dropna(subset=needed)).empty:
        raise ValueError("nothing to draw: a perplexity takes runs on text, as `mqar-bench language` trains them")
    points = points.astype(dict.fromkeys((*fig3.LABELS, "num_parameters"), "Int64"))
    return points.reset_index(drop=True)


def _perplexities(chosen: pd.DataFrame) -> dict[str, Any]:
    """``exp`` of the mean over seeds of the loss on each kind of held-out token, and of its interval."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        losses = chosen.filter(regex=rf"^loss/test-{re.escape(kind)}-L\d+$").dropna(axis=1).mean(axis=1)
        if len(losses.dropna()):
            name = f"perplexity_{kind}"
            columns = over_seeds(name, losses)
            for part in (name, f"{name}_low", f"{name}_high"):
                columns[part] = float(np.exp(columns[part]))
            found |= columns | {f"{name}_seeds": " ".join(f"{np.exp(loss):.6g}" for loss in losses)}
    return found


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table`` in two panels: the tokens that end a pair seen before in the window, and the rest.

    What has no bounded state is a line across, since its size is its window's; the legend names it, as a name on it
    would hide what lies beside.
    """
    with plt.rc_context(RC):
        lines, common = series(points)
        sized = points[~points["mixer"].isin(UNBOUNDED)]
        fig, axes = plt.subplots(1, len(PANELS), figsize=(PAGE, COLUMN[1]), layout="constrained")
        for ax, (kind, title) in zip(axes, PANELS.items(), strict=True):
            column = f"perplexity_{kind}"
            for line in lines:
                those = line.of(points).sort_values("state_size")
                if line.mixer in UNBOUNDED:
                    ax.axhline(those[column].min(), zorder=1.5, **_across(line).look)
                    continue
                draw_line(ax, those["state_size"], those, column, label=line.label, **line.look)
                mark_unconverged(ax, those["state_size"], those[column], those["converged"])
            size_axis(ax, (sized if len(sized) else points)["state_size"])
            perplexity_axis(ax, points, column)
            ax.set_xlabel(fig3.LABELS["state_size"])
            ax.set_title(title)
        axes[0].set_ylabel("Perplexity")
        named = [_across(line) if line.mixer in UNBOUNDED else line for line in lines]
        legend_beside(fig, named, common, [RISING] if is_rising(sized["converged"]).any() else [])
    plt.close(fig)
    return fig


def _across(line: Line) -> Line:
    """As a line without a place along the axis of sizes."""
    return line._replace(label=f"{line.label}, state grows", look=line.look | {"marker": "", "linewidth": 0.8})


def perplexity_axis(ax: Axes, points: pd.DataFrame, column: str) -> None:
    """A log y axis of perplexities with plain numbers at its ticks, and room for the intervals."""
    low, high = span(points, column)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(FixedLocator(ticks(low, high)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(low, high)
    ax.grid(**GRID)


def span(points: pd.DataFrame, column: str) -> tuple[float, float]:
    """Ends of an axis with a column and its intervals."""
    values = points[[column, f"{column}_low", f"{column}_high"]].to_numpy(float)
    return float(np.nanmin(values)) / 1.05, float(np.nanmax(values)) * 1.05


def ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers between: of each decade three, or within one a few that are equally far apart."""
    found = [part * 10.0**decade for decade in range(-1, 9) for part in (1, 2, 5)]
    if high < 5 * low:
        found = list(map(float, MaxNLocator(6).tick_values(low, high)))
    return [tick for tick in found if low <= tick <= high]
