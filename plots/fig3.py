"""Accuracy against total state size, a line per architecture (RAM-Net paper, Fig. 3)."""

from __future__ import annotations

from collections.abc import Collection

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from plots.axes import accuracy_axis, draw_line, is_rising, mark_unconverged, name_line, size_axis
from plots.lines import RISING, legend_beside, series
from plots.select import select_points, summarise, tabulate
from plots.style import COLUMN, RC, WIDTHS

SWEEPS = ("fig3",)

#: Inches: the height of the axes with their title and labels, and of the ones below that enlarge the top.
AXES, TOP = COLUMN[1] + 0.02, 1.25

#: Where the top begins, and more architectures than this up there are enlarged.
NEAR_ONE, CROWD = 0.9, 3

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
        columns mixer, stack, state_size, active_state_size (missing where the mixer does not say), num_parameters, and
        those of ``summarise``.

    Raises:
        ValueError: there is no finished run, or they are of different data.
    """
    rows = [
        {
            "mixer": point.at["mixer"],
            "stack": point.at["stack"],
            **point.chosen[[*LABELS, "num_parameters"]].iloc[0],
            **summarise(point),
        }
        for point in select_points(frame, ["mixer", "stack", size])
    ]
    return tabulate(rows, frame, SWEEPS[0]).astype(dict.fromkeys((*LABELS, "num_parameters"), "Int64"))


def figure(points: pd.DataFrame, size: str = "state_size", columns: int = 1, ours: Collection[str] = ()) -> Figure:
    """Draw the points of ``table``: log2-spaced sizes, accuracy from 0 to 1, over one or two columns of a page.

    Where several architectures are close to 1, axes below show that part enlarged. The mixers ``ours`` stand out.
    """
    with plt.rc_context(RC):
        lines, common = series(points, ours)
        heights = [AXES] + [TOP] * (points.loc[points["accuracy"] > NEAR_ONE, "mixer"].nunique() > CROWD)
        fig, axes = plt.subplots(
            len(heights), figsize=(WIDTHS[columns], sum(heights)), height_ratios=heights, sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        main, *top = axes[:, 0]
        for place, line in enumerate(lines):
            those = line.of(points).sort_values(size)
            look = line.along(size) | {"zorder": 3 - place / len(lines)}  # the first of the legend lies on top
            draw_line(main, those[size], those, label=line.label, **look)
            mark_unconverged(main, those[size], those["accuracy"], those["converged"])
            if line.stands_out:
                name_line(main, those[size], those["accuracy"], line.label)
            for ax in top:
                draw_line(ax, those[size], those, label=line.label, **look, clip_on=True)
        size_axis(main, points[size])
        accuracy_axis(main)
        for ax in top:
            accuracy_axis(ax, NEAR_ONE)
        axes[-1, 0].set_xlabel(LABELS[size])
        fig.supylabel("MQAR accuracy", fontsize=RC["axes.labelsize"])
        legend_beside(fig, lines, common, [RISING] if is_rising(points["converged"]).any() else [])
    plt.close(fig)
    return fig
