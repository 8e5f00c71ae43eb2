"""What training costs: tokens a second, of the fastest run, and peak memory against state size, by architecture."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plots.axes import GRID, draw_line, size_axis
from plots.lines import legend_beside, series
from plots.select import join_ids, select_points, tabulate
from plots.style import PAGE, RC

SWEEPS = ("cost",)

#: Inches of a row of panels.
ROW = 2.1

#: What is drawn: the column, a divisor, the label of the axis, and what stands for the runs: whatever else a machine
#: does slows a run down, and nothing speeds it up.
COSTS = {
    "tokens_per_second": (1e3, "Training (1000 tokens/s)", "max"),
    "peak_memory_bytes": (2**20, "Peak memory (MiB)", "mean"),
}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: what the best model at a state size costs on each machine.

    All its runs count, since the learning rate and the seed change the cost by chance only. A machine is a device
    with a number of threads; runs of different ones are never mixed. Runs that share a machine slow each other
    down, so the fastest stands for them; memory is what is allocated on a GPU, but that of the whole process on a CPU.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.

    Returns:
        columns mixer, stack, state_size, device, threads, then tokens_per_second, the highest, and peak_memory_bytes,
        the mean, each with _low and _high, runs, and run_ids.

    Raises:
        ValueError: there is no finished run, or they are of different data.
    """
    rows = []
    for point in select_points(frame, ["mixer", "stack", "state_size"]):
        runs = point.runs[point.runs["variant"] == point.chosen["variant"].iloc[0]]
        for (device, threads), those in runs.dropna(subset=list(COSTS)).groupby(["device", "threads"]):
            row = point.at | {"device": device, "threads": threads}
            for cost, (_, _, statistic) in COSTS.items():
                row |= {
                    cost: those[cost].agg(statistic),
                    f"{cost}_low": those[cost].min(),
                    f"{cost}_high": those[cost].max(),
                }
            rows.append(row | {"runs": len(those), "run_ids": join_ids(those)})
    return tabulate(rows, frame, SWEEPS[0])


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table``: a row of panels for each machine, named above it; bars from lowest to highest."""
    machines = points[["device", "threads"]].drop_duplicates().sort_values(["device", "threads"])
    with plt.rc_context(RC):
        lines, common = series(points)
        size = (PAGE, ROW * len(machines) + 0.3)
        fig, axes = plt.subplots(len(machines), 2, figsize=size, squeeze=False, layout="constrained")
        for row, (device, threads) in zip(axes, machines.itertuples(index=False), strict=True):
            there = points[(points["device"] == device) & (points["threads"] == threads)]
            for ax, (cost, (unit, label, _)) in zip(row, COSTS.items(), strict=True):
                for line in lines:
                    those = line.of(there).sort_values("state_size")
                    if those.empty:  # a line without points would still have its place in the layout, at the origin
                        continue
                    values = those.assign(**{c: those[c] / unit for c in (cost, f"{cost}_low", f"{cost}_high")})
                    draw_line(ax, those["state_size"], values, cost, label=line.label, **line.look)
                size_axis(ax, there["state_size"])
                _cost_axis(ax, there[f"{cost}_high"].max() / there[f"{cost}_low"].min())
                ax.set_ylabel(label)
            row[0].set_title(f"{device}, {threads} thread{'' if threads == 1 else 's'}", loc="left")
        for ax in axes[-1]:
            ax.set_xlabel("Total state size (elements)")
        legend_beside(fig, lines, common)
    plt.close(fig)
    return fig


def _cost_axis(ax: Axes, span: float) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 4, 6, 8)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(**GRID)
