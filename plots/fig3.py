"""Accuracy against total state size, a line per architecture (RAM-Net paper, Fig. 3)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from plots.axes import accuracy_axis, draw_line, size_axis
from plots.lines import fit_legend, series
from plots.select import select_points, summarise, tabulate
from plots.style import COLUMN, RC

SWEEPS = ("fig3",)

#: Inches: the height of the axes with their title and labels.
AXES = COLUMN[1] + 0.02

#: What the x axis can show.
LABELS = {
    "state_size": "Total state size (elements)",
    "active_state_size": "Active state size (elements per token)",
}


def table(frame: pd.DataFrame, size: str = "state_size") -> pd.DataFrame:
    """The points of the figure: for each architecture and size, the best model and learning rate.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.
        size: the column on the x axis; what has it in common competes for a point.

    Returns:
        columns mixer, stack, state_size, active_state_size, num_parameters, and those of ``summarise``.

    Raises:
        ValueError: there is no finished run.
    """
    rows = [
        {
            "mixer": point.at["mixer"],
            "stack": point.at["stack"],
            **{c: int(point.chosen[c].iloc[0]) for c in (*LABELS, "num_parameters")},
            **summarise(point),
        }
        for point in select_points(frame, ["mixer", "stack", size])
    ]
    return tabulate(rows, SWEEPS[0])


def figure(points: pd.DataFrame, size: str = "state_size") -> Figure:
    """Draw the points of ``table``: one column wide, log2-spaced sizes, chance-to-one accuracy."""
    with plt.rc_context(RC):
        lines, common = series(points)
        legend, height = fit_legend(lines, COLUMN[0], 3)  # a long one does not eat into the axes
        fig, ax = plt.subplots(figsize=(COLUMN[0], AXES + height), layout="constrained")
        for line in lines:
            those = line.of(points).sort_values(size)
            draw_line(ax, those[size], those, label=line.label, **line.look)
        size_axis(ax, points[size])
        accuracy_axis(ax)
        ax.set_xlabel(LABELS[size])
        ax.set_ylabel("MQAR accuracy")
        ax.set_title(common, fontsize=7)
        fig.legend(**legend)
    plt.close(fig)
    return fig
