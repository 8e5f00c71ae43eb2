"""Which K of how many slots M RAM-Net learns with, and how fast: steps until 0.9 accuracy."""

from __future__ import annotations

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plots import ramnet
from plots.axes import GRID
from plots.cells import HEAT, write_cells
from plots.select import SETTING, check_data, select_points, summarise, tabulate
from plots.style import PAGE, RC, SERIES

SWEEPS = ("trainability",)

#: Inches of a row of panels.
ROW = 1.75

RECIPES = ("more slots at the start", "K throughout")
_CELL = ["design", "head_v_dim", "slots", "top_k"]


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells of the figure: for each K, M, width of a slot and recipe, the best learning rate.

    The recipe is whether training starts with more than K slots (``train_top_k``). Where no run starts with
    more, since K is as many as that, the same runs are in the table twice, once for each.

    Args:
        frame: tidy rows, one a run; runs that are not done, or of other mixers than RAM-Net, are left out.

    Returns:
        columns design, head_v_dim, recipe, slots (M), top_k (K), ratio (K * K / M: the slots that two random addresses
        share), train_top_k, steps_to_90 (median over seeds, where one that never gets there counts as the slowest;
        missing if the median is such a one), reached (seeds that got there), seeds, accuracy (mean), steps (of the
        longest run), learning_rate, learning_rates, runs, failed, selected_on,
        run_ids.

    Raises:
        ValueError: there is no finished run of RAM-Net, or they are of different data.
    """
    runs = ramnet.settings(frame)
    check_data(runs[runs["status"] == "done"])
    throughout = runs["train_top_k"] == runs["top_k"]
    cells = pd.MultiIndex.from_frame(runs[_CELL])
    alone = ~cells.isin(cells[~throughout])
    parts = (runs[~throughout | alone], runs[throughout])
    rows = []
    for recipe, part in zip(RECIPES, parts, strict=True):
        for point in select_points(part, _CELL):
            steps = point.chosen["steps_to_90"]
            median = np.median(steps.astype("float64").fillna(np.inf))
            k, m = point.at["top_k"], point.at["slots"]
            summary = summarise(point)
            rows.append(
                point.at
                | {"recipe": recipe, "ratio": k * k / m, "train_top_k": point.chosen["train_top_k"].iloc[0]}
                | {"steps_to_90": median if np.isfinite(median) else None, "reached": int(steps.notna().sum())}
                | {"steps": point.chosen["steps"].max()}
                | {name: value for name, value in summary.items() if not re.search(SETTING, name)}
            )
    return tabulate(rows, frame, SWEEPS[0]).astype({"steps_to_90": "float64"})


def figure(cells: pd.DataFrame) -> Figure:
    """Draw the cells of ``table``: a row of panels for each width of a slot (and each design).

    Heat maps have the steps for each (K, M), hatched where the median seed never gets there, with the share of seeds
    that do where they differ; on the right, the same against K * K / M, and what never gets there above the line.
    """
    groups = cells[_CELL[:2]].drop_duplicates()
    with plt.rc_context(RC):
        fig, axes = plt.subplots(
            len(groups), 3, figsize=(PAGE, ROW * len(groups) + 0.35), squeeze=False, layout="constrained"
        )
        for row, (design, width) in zip(axes, groups.itertuples(index=False), strict=True):
            those = cells[(cells["design"] == design) & (cells["head_v_dim"] == width)]
            for ax, recipe in zip(row, RECIPES, strict=False):
                _heat_map(ax, those, recipe, cells)
                ax.set_title(recipe.capitalize(), fontsize=7)
            row[0].set_ylabel(f"$D$ = {width}\nSlots $M$" + (f"\n{design}" if len(set(cells["design"])) > 1 else ""))
            _against_ratio(row[2], those, cells)
        for ax in axes[-1, :2]:
            ax.set_xlabel("Slots per access $K$")
        axes[-1, 2].set_xlabel("$K^2 / M$")
        design = f" {cells['design'].iloc[0]}" if len(set(cells["design"])) == 1 else ""
        title = f"RAM-Net{design}: steps until 0.9 accuracy"
        fig.legend(
            handles=_legend(cells),
            title=title,
            title_fontsize=7,
            loc="outside upper center",
            ncols=6,
            frameon=False,
            handletextpad=0.3,
            columnspacing=1.2,
        )
    plt.close(fig)
    return fig


def _heat_map(ax: Axes, cells: pd.DataFrame, recipe: str, everything: pd.DataFrame) -> None:
    slots, top_k = (sorted(set(cells[name]), reverse=name == "slots") for name in ("slots", "top_k"))
    shade = np.full((len(slots), len(top_k)), np.nan)
    texts = [["" for _ in top_k] for _ in slots]
    for cell in cells[cells["recipe"] == recipe].to_dict("records"):
        i, j = slots.index(cell["slots"]), top_k.index(cell["top_k"])
        steps, reached, seeds = cell["steps_to_90"], cell["reached"], cell["seeds"]
        share = f"{reached}/{seeds}"
        if np.isnan(steps):
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#EEEEEE", edgecolor="#999999", hatch="////"))
            texts[i][j] = share if reached else "never"
        else:
            shade[i, j] = speed(steps, everything)
            texts[i][j] = f"{steps:.0f}" + (f"\n{share}" if reached < seeds else "")
    ax.imshow(shade, aspect="auto", vmin=0, vmax=1, cmap=HEAT)
    write_cells(ax, shade, texts)
    ax.set_xticks(range(len(top_k)), top_k)
    ax.set_yticks(range(len(slots)), slots)


def speed(steps: float, everything: pd.DataFrame) -> float:
    """From 1 for the fastest of all to 0.2 for one that takes all steps, in octaves."""
    fastest, slowest = everything["steps_to_90"].min(), everything["steps"].max()
    return 1 - 0.8 * float(np.log2(steps / fastest) / np.log2(slowest / fastest)) if slowest > fastest else 1.0


def height_of_never(slots: int, recipe: str, every: list[int], most: int) -> float:
    """Above the line, where what never gets there lies: a height of its own for each M and recipe."""
    return most * (1.1 + 0.07 * (2 * every.index(slots) + RECIPES.index(recipe)))


def _against_ratio(ax: Axes, cells: pd.DataFrame, everything: pd.DataFrame) -> None:
    most = int(everything["steps"].max())
    slots = sorted(set(everything["slots"]))
    for m in slots:
        for recipe in RECIPES:
            part = cells[(cells["slots"] == m) & (cells["recipe"] == recipe)]
            if part.empty:  # a line without points would still have its place in the layout, at the origin
                continue
            above = height_of_never(m, recipe, slots, most)
            ax.plot(
                part["ratio"],
                part["steps_to_90"].fillna(above),
                linestyle="none",
                clip_on=False,
                **look(m, recipe, slots),
            )
    top = most * (1.1 + 0.07 * 2 * len(slots))
    ax.axhline(most * 1.04, color="#777777", linewidth=0.6)
    ax.set_ylim(0, top)
    ax.set_yticks([0, most / 2, most, (most * 1.07 + top) / 2], ["0", f"{most / 2:g}", f"{most:g}", "never"])
    ax.set_xscale("log", base=2)
    octaves = np.log2(everything["ratio"].max() / everything["ratio"].min())
    ax.xaxis.set_major_locator(LogLocator(base=16 if octaves > 6 else 4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel("Steps")
    ax.grid(**GRID)


def look(slots: int, recipe: str, every: list[int]) -> dict[str, Any]:
    color, marker = SERIES[every.index(slots) % len(SERIES)]
    fill = color if recipe == RECIPES[0] else "white"
    size = max(2.5, 6.0 - 1.5 * every.index(slots))  # what lies on the same spot is seen
    return {"color": color, "marker": marker, "markerfacecolor": fill, "markersize": size}


def _legend(cells: pd.DataFrame) -> list[Line2D]:
    slots = sorted(set(cells["slots"]))
    marks = [Line2D([], [], linestyle="none", label=f"$M$ = {m}", **look(m, RECIPES[0], slots)) for m in slots]
    plain: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "color": "#555555"}
    fills = zip(RECIPES, ("#555555", "white"), strict=True)
    return marks + [Line2D([], [], label=recipe, markerfacecolor=fill, **plain) for recipe, fill in fills]
