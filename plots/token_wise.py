"""RAM-Net in every layer, by M and K and without each part of its recipe: steps until 0.9, and final accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mixers
from mixers.ramnet.mixer import default_train_top_k
from plots import ramnet
from plots.axes import GRID
from plots.select import check_data, tabulate
from plots.style import PAGE, RC, SERIES

SWEEPS = ("token_wise",)

#: Inches of a row.
ROW = 0.19
#: Where those stand that never get there, in the longest run's steps.
BEYOND = 1.3
#: Options that are parts of the recipe, and what a row without them is called.
_PARTS = {
    "address_bias": "without address bias",
    "aligned_values": "without aligned values",
    "normalize_reads": "without normalised reads",
    "tied_addresses": "without tied addresses",
}
WHOLE = "the recipe"
DEFAULTS = {option.name: option.default for option in mixers.describe(ramnet.NAME)}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each run, since seeds near the edge of what is learnt differ by all there is.

    Args:
        frame: tidy rows, one a run; runs that are not done, or of other mixers than RAM-Net, are left out.

    Returns:
        columns slots (M), top_k (K), recipe (``WHOLE``, or what it lacks), seed, steps_to_90 (missing: never),
        accuracy (final), steps, learning_rate, run_id; the whole recipe first.

    Raises:
        ValueError: there is no finished run of RAM-Net, or they are of different data.
    """
    runs = ramnet.settings(frame[frame["status"] == "done"])
    check_data(runs)
    rows = [
        {"slots": run["slots"], "top_k": run["top_k"], "recipe": _recipe(run)}
        | {name: run[name] for name in ("seed", "steps_to_90", "accuracy", "steps", "learning_rate", "run_id")}
        for run in runs.to_dict("records")
    ]
    points = tabulate(rows, frame, SWEEPS[0])
    points["steps_to_90"] = points["steps_to_90"].astype("Int64")
    first = points.assign(part=points["recipe"] != WHOLE)
    order = first.sort_values(["part", "slots", "top_k", "recipe", "learning_rate", "seed"]).index
    return points.loc[order].reset_index(drop=True)


def _recipe(run: Mapping[Any, Any]) -> str:
    options = ramnet.options(run, "")
    lacks = [words for name, words in _PARTS.items() if not options[name]]
    if run["annealing"] == ramnet.AT_ONCE and default_train_top_k(run["slots"], run["top_k"]) > run["top_k"]:
        lacks.append("without more slots")
    elif run["annealing"] == ramnet.NEVER:
        lacks.append("more slots to the end")
    elif run["annealing"] == ramnet.SHRUNK:
        lacks.append("shrinking, not fading")
    if options["learnable_temperature"]:
        lacks.append("addresses that may sharpen")
    if options["address_init_std"] != DEFAULTS["address_init_std"]:
        lacks.append(f"addresses from {options['address_init_std']:g}")
    if options["output_gain"] != DEFAULTS["output_gain"]:
        lacks.append(f"output gain {options['output_gain']:g}")
    if options["output_norm"] == "rmsnorm":
        lacks.append("with RMSNorm")
    return ", ".join(lacks) or WHOLE


def figure(points: pd.DataFrame) -> Figure:
    """Draw the rows of ``table``: a line for each M, K and recipe, a dot for each seed; hollow ones never got there."""
    lines = points[["slots", "top_k", "recipe"]].drop_duplicates().reset_index(drop=True)
    labels = [
        f"$M$ = {m}, $K$ = {k}" + ("" if recipe == WHOLE else f", {recipe}")
        for m, k, recipe in lines.itertuples(index=False)
    ]
    most = int(points["steps"].max())
    with plt.rc_context(RC):
        size = (PAGE, ROW * len(lines) + 0.75)
        fig, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
        for y, line in enumerate(lines.itertuples(index=False)):
            those = points[(points[["slots", "top_k", "recipe"]] == list(line)).all(axis=1)].reset_index(drop=True)
            color = SERIES[0 if line.recipe == WHOLE else 1][0]
            for i, run in enumerate(those.to_dict("records")):
                there = not pd.isna(run["steps_to_90"])
                height = y + 0.16 * (i - (len(those) - 1) / 2)
                look: dict[str, Any] = {"color": color, "marker": "o", "linestyle": "none", "clip_on": False}
                look |= {"markersize": 3.2, "markerfacecolor": color if there else "white"}
                left.plot(run["steps_to_90"] if there else most * BEYOND, height, **look)
                right.plot(run["accuracy"], height, **look)
        _steps_axis(left, most)
        right.set_xlim(0, 1)
        right.set_xlabel("Final accuracy")
        left.set_yticks(range(len(labels)), labels)
        left.invert_yaxis()
        for ax in (left, right):
            ax.grid(**GRID)
    plt.close(fig)
    return fig


def _steps_axis(ax: Axes, most: int) -> None:
    ax.set_xlim(0, most * BEYOND)
    ax.axvline(most * (1 + BEYOND) / 2, color="#777777", linewidth=0.6)
    ax.set_xticks([0, most / 2, most, most * BEYOND], ["0", f"{most / 2:g}", f"{most:g}", "never"])
    ax.set_xlabel("Steps until 0.9 accuracy")
