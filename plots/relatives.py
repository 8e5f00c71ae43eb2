"""Pairs recalled at 0.9 accuracy by RAM-Net and its relatives, at equal total and at equal active state size."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from mqar_bench.records.capacity import UNBOUNDED
from plots import capacity, fig3
from plots.lines import legend_beside, series
from plots.style import COLUMN, PAGE, RC

SWEEPS = fig3.SWEEPS

#: Those that read and write a few of many slots for a token, and what all of them are measured against.
RELATIVES = ("ramnet", "sparse_delta_memory", "raven", "attention")

#: A panel each.
SIZES = ("state_size", "active_state_size")


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: those of ``capacity`` that are of ``RELATIVES``.

    Args:
        frame: tidy rows, one a run.

    Returns:
        what ``capacity.table`` does.

    Raises:
        ValueError: there is no finished run of any of them, runs are of different data, or none has a capacity.
    """
    points = capacity.table(frame)
    points = points[points["mixer"].isin(RELATIVES)].reset_index(drop=True)
    if points.empty:
        raise ValueError(f"nothing to draw: no run with a capacity is of {', '.join(RELATIVES)}")
    return points


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table`` twice, against the state that is carried and against what a token touches of it.

    What has no bounded state is a line across both. Without the second where no mixer says what it touches.
    """
    with plt.rc_context(RC):
        lines, common = series(points)
        sizes = capacity.known(SIZES, points)
        fig, axes = plt.subplots(
            1, len(sizes), figsize=(PAGE, COLUMN[1]), sharey=True, squeeze=False, layout="constrained"
        )
        marks = [capacity.draw_lines(ax, lines, points, size) for ax, size in zip(axes[0], sizes, strict=True)]
        axes[0, 0].set_ylabel("Capacity (pairs at 0.9 accuracy)")
        legend_beside(fig, [line for line in lines if line.mixer not in UNBOUNDED], common, marks[0])
    plt.close(fig)
    return fig
