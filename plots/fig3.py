"""Accuracy against total state size, a line per architecture (RAM-Net paper, Fig. 3)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plots.style import COLUMN, RC, order, style

LEGEND_COLUMNS = 3

#: Inches of a row of the legend.
LEGEND_ROW = 0.13


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: for each architecture and state size, the best learning rate.

    Per learning rate, accuracy is averaged over seeds; the best mean wins, and its seeds give the spread.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.

    Returns:
        columns mixer, state_size, active_state_size, accuracy (mean), accuracy_min, accuracy_max, seeds,
        learning_rate, learning_rates (how many were tried), runs, settings (the accuracy on each).

    Raises:
        ValueError: there is no finished run.
    """
    done = frame[frame["status"] == "done"]
    if done.empty:
        raise ValueError("nothing to draw: there is no finished run; start one with `mqar-bench sweep fig3`")
    settings = [c for c in done.columns if c.startswith("accuracy/") and done[c].notna().any()]
    points = []
    # configurations that share a state size compete for its point, as learning rates do
    options = [c for c in done.columns if c.startswith("option.") or c == "d_model"]
    done = done.assign(variant=[repr(row) for row in done[options].itertuples(index=False, name=None)])
    # variants that share a state size compete for its point, as learning rates do
    for _, cell in done.groupby(["mixer", "state_size"]):
        means = cell.groupby(["variant", "learning_rate"], as_index=False)["accuracy"].mean()
        best = means.loc[means["accuracy"].idxmax()]
        chosen = cell[(cell["variant"] == best["variant"]) & (cell["learning_rate"] == best["learning_rate"])]
        points.append(
            {
                "mixer": cell["mixer"].iloc[0],
                "state_size": int(cell["state_size"].iloc[0]),
                "active_state_size": int(chosen["active_state_size"].iloc[0]),
                "accuracy": chosen["accuracy"].mean(),
                "accuracy_min": chosen["accuracy"].min(),
                "accuracy_max": chosen["accuracy"].max(),
                "seeds": chosen["seed"].nunique(),
                "learning_rate": best["learning_rate"],
                "learning_rates": cell["learning_rate"].nunique(),
                "runs": len(cell),
                **chosen[settings].mean().to_dict(),
            }
        )
    return pd.DataFrame(points)


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table``: one column wide, log2-spaced state sizes, chance-to-one accuracy."""
    with plt.rc_context(RC):
        rows = -(-points["mixer"].nunique() // LEGEND_COLUMNS)
        height = COLUMN[1] + LEGEND_ROW * max(0, rows - 1)  # a long legend does not eat into the axes
        fig, ax = plt.subplots(figsize=(COLUMN[0], height), layout="constrained")
        for mixer in order(points["mixer"]):
            line = points[points["mixer"] == mixer].sort_values("state_size")
            label, color, marker = style(mixer)
            spread = [line["accuracy"] - line["accuracy_min"], line["accuracy_max"] - line["accuracy"]]
            ax.errorbar(
                line["state_size"],
                line["accuracy"],
                yerr=spread if (line["seeds"] > 1).any() else None,
                label=label,
                color=color,
                marker=marker,
                capsize=2,
                clip_on=False,
            )
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(LogLocator(base=4 if _octaves(points) > 4 else 2))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _count(x)))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(0, 1)
        ax.set_xlabel("Total state size (elements)")
        ax.set_ylabel("MQAR accuracy")
        ax.grid(alpha=0.3, linewidth=0.4)
        fig.legend(loc="outside upper center", ncols=LEGEND_COLUMNS, frameon=False, handlelength=1.4, columnspacing=1.0)
    plt.close(fig)
    return fig


def _octaves(points: pd.DataFrame) -> int:
    low, high = points["state_size"].min(), points["state_size"].max()
    return (int(high) // max(1, int(low))).bit_length()


def _count(x: float) -> str:
    for unit, name in ((2**20, "M"), (2**10, "K")):
        if x >= unit:
            return f"{x / unit:g}{name}"
    return f"{x:g}"
