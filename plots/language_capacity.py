"""Perplexity of what recall can tell against the pairs that the same mixer recalls of MQAR, a marker per mixer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mqar_bench.analysis.statistics import correlate
from plots import capacity, language
from plots.axes import GRID
from plots.lines import BOUND, legend_beside, series
from plots.select import tabulate
from plots.style import PAGE, RC, SMALL

SWEEPS = ("language", "fig3")

#: Inches.
HEIGHT = 2.7
#: Of both sweeps, what a mixer is found by.
KEY = ["mixer", "stack"]
#: Of the models of ``language``, kept in the table.
KEPT = [f"perplexity_{kind}{part}" for kind in language.PANELS for part in ("", "_low", "_high", "_seeds")]


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: each mixer of which there are both a language model and a capacity.

    Of each sweep that is the mixer's model of the largest state, at its best learning rate: both have the same options.

    Args:
        frame: tidy rows of both sweeps, one a run.

    Returns:
        columns mixer, stack, capacity, low, high, capacity_seeds, censored and mqar_state_size as ``capacity.table``
        has them; state_size and the perplexities as ``language.table`` has them; for each kind of token
        spearman_KIND, the rank correlation over the mixers of capacity and perplexity, with _low and _high (its
        bootstrap interval), the same in each row; and run_ids, of both.

    Raises:
        ValueError: one of the sweeps has no finished run, or runs on different data; or no mixer is in both.
    """
    if not (frame["status"] == "done").any():
        return tabulate([], frame, SWEEPS[0])
    parts = {sweep: frame[frame["sweep"] == sweep] for sweep in SWEEPS}
    spoken, recalled = (
        points.sort_values("state_size", kind="stable").groupby(KEY).tail(1)
        for points in (language.table(parts["language"]), capacity.table(parts["fig3"]))
    )
    recalled = recalled.rename(columns={"state_size": "mqar_state_size"})
    columns = [*KEY, "capacity", "low", "high", "capacity_seeds", "censored", "mqar_state_size", "run_ids"]
    points = recalled[columns].merge(
        spoken[[*KEY, "state_size", *KEPT, "seeds", "run_ids"]], on=KEY, suffixes=("_mqar", "")
    )
    if points.empty:
        raise ValueError("nothing to draw: no mixer has runs in both sweeps, language and fig3")
    points["run_ids"] = points["run_ids"] + " " + points.pop("run_ids_mqar")
    for kind in language.PANELS:
        found = correlate(points["capacity"].tolist(), points[f"perplexity_{kind}"].tolist())
        for name, value in found._asdict().items():
            points[f"spearman_{kind}{'' if name == 'rank' else f'_{name}'}"] = value
    return points


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table``, hits and the rest beside each other, each with its rank correlation.

    Markers are open where a capacity is a bound.
    """
    with plt.rc_context(RC):
        lines, common = series(points)
        fig, axes = plt.subplots(1, len(language.PANELS), figsize=(PAGE, HEIGHT), layout="constrained", sharex=True)
        for ax, (kind, title) in zip(axes, language.PANELS.items(), strict=True):
            column = f"perplexity_{kind}"
            for line in lines:
                row = line.of(points).iloc[0]
                reach = [
                    [[max(0.0, row[name] - row[low])], [max(0.0, row[high] - row[name])]]
                    for name, low, high in (("capacity", "low", "high"), (column, f"{column}_low", f"{column}_high"))
                ]
                look = line.look | ({"markerfacecolor": "white"} if row["censored"] else {})
                ax.errorbar(
                    [row["capacity"]], [row[column]], xerr=_known(reach[0]), yerr=_known(reach[1]), label=line.label,
                    **look | {"linestyle": "none", "elinewidth": 0.6, "clip_on": False},
                )  # fmt: skip
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(LogLocator(base=2))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            language.perplexity_axis(ax, points, column)
            ax.set_xlabel("MQAR capacity (pairs at 0.9 accuracy)")
            ax.set_title(title)
            ax.text(0.02, 0.03, say(points, kind), transform=ax.transAxes, fontsize=SMALL)
            ax.grid(**GRID)
        axes[0].set_ylabel("Perplexity")
        legend_beside(fig, lines, common, [BOUND] if (points["censored"] != "").any() else [])
    plt.close(fig)
    return fig


def say(points: pd.DataFrame, kind: str) -> str:
    """The rank correlation of a panel, in words."""
    rank, low, high = (points[f"spearman_{kind}{part}"].iloc[0] for part in ("", "_low", "_high"))
    if pd.isna(rank):
        return f"{len(points)} mixers: too few for a correlation"
    return f"Spearman {rank:.2f} ({low:.2f} to {high:.2f}), {len(points)} mixers"


def _known(reach: list[list[float]]) -> list[list[float]] | None:
    """An interval's two arms; None of a single seed."""
    return None if any(pd.isna(arm) for (arm,) in reach) else reach
