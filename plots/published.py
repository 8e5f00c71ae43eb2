"""Ours beside numbers that others have published, an experiment a row."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from plots.axes import GRID
from plots.select import select_points, summarise, tabulate
from plots.style import COLUMN, RC, SERIES

SWEEPS = ("published",)

#: Inches: a row, and what is above and below them.
ROW, REST = 0.24, 0.75


class Published(NamedTuple):
    """What others report: an accuracy, epochs until they stopped where they say so, of what, and where it stands."""

    accuracy: float
    epochs: int | None
    what: str
    source: str


_LOG_LINEAR = "Guo et al. 2025, arXiv 2506.04761, Table 6, as others transcribe it"
_NO_CONV = "Okpekpe and Orvieto 2025, arXiv 2508.19029, Table 2"

#: By the name of our run, ``RunConfig.mixer``.
THEIRS = {
    "basic example": Published(
        0.998,
        26,
        "Zoology's basic example: 0.24 to 0.30 until epoch 21, 0.97 at 23",
        "a run on a GPU, by a third party",
    ),
    "1 layer, Mamba2": Published(0.99, None, "1 layer of Mamba with its convolution, 64 pairs in 512 tokens", _NO_CONV),
    "1 layer, Mamba2 without convolution": Published(
        0.02, None, "1 layer of Mamba without it, where guessing gives 0.02", _NO_CONV
    ),
    "1 layer, attention": Published(0.02, None, "1 layer of attention, where guessing gives 0.02", _NO_CONV),
    "Mamba2, width 16": Published(0.469, None, "Mamba-2, 5 seeds, standard deviation 0.023", _LOG_LINEAR),
    "Mamba2, width 32": Published(0.751, None, "Mamba-2, 5 seeds, standard deviation 0.049", _LOG_LINEAR),
    "Mamba2, width 64": Published(0.896, None, "Mamba-2, 5 seeds, standard deviation 0.061", _LOG_LINEAR),
    "Gated DeltaNet, width 16": Published(0.384, None, "the same, 5 seeds, standard deviation 0.010", _LOG_LINEAR),
    "Gated DeltaNet, width 32": Published(0.790, None, "the same, 5 seeds, standard deviation 0.021", _LOG_LINEAR),
    "Gated DeltaNet, width 64": Published(0.99, None, "the same, at least this, 5 seeds", _LOG_LINEAR),
}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the figure: for each experiment the best learning rate, and what others report.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out. ``mixer`` names the experiment.

    Returns:
        columns experiment, published (their accuracy; missing where there is none), accuracy (ours), epochs (ours, of
        the longest seed), published_epochs, what, source, and the rest of ``summarise``.

    Raises:
        ValueError: there is no finished run, or an experiment has runs on different data.
    """
    rows = []
    for point in select_points(frame, ["mixer"], apart=True):
        name = point.at["mixer"]
        theirs = THEIRS.get(name)
        ours = summarise(point)
        rows.append(
            {
                "experiment": name,
                "published": theirs.accuracy if theirs else None,
                "accuracy": ours.pop("accuracy"),
                "epochs": point.chosen["epochs"].max(),
                "published_epochs": theirs.epochs if theirs else None,
                "what": theirs.what if theirs else "",
                "source": theirs.source if theirs else "",
            }
            | ours
        )
    known = list(THEIRS)
    rows.sort(key=lambda row: known.index(row["experiment"]) if row["experiment"] in known else len(known))
    types = {"published": "float64", "published_epochs": "Int64"}
    return tabulate(rows, frame, SWEEPS[0]).astype(types)


def figure(points: pd.DataFrame) -> Figure:
    """Draw the rows of ``table``: a full marker for ours, a hollow one for theirs, a line between them."""
    places = range(len(points))
    with plt.rc_context(RC):
        fig, ax = plt.subplots(figsize=(COLUMN[0], ROW * len(points) + REST), layout="constrained")
        ax.hlines(
            places, points["accuracy"], points["published"].fillna(points["accuracy"]), color="0.7", linewidth=0.8
        )
        color, marker = SERIES[0]
        spread = [points["accuracy"] - points["accuracy_low"], points["accuracy_high"] - points["accuracy"]]
        ax.errorbar(
            points["accuracy"], places, xerr=[part.clip(lower=0) for part in spread], linestyle="none", color=color,
            elinewidth=0.8,
        )  # fmt: skip
        ax.plot(points["accuracy"], places, linestyle="none", color=color, marker=marker, clip_on=False, label="ours")
        ax.plot(
            points["published"], places, linestyle="none", marker="s", color="black", markerfacecolor="none",
            markersize=7, clip_on=False, label="published",
        )  # fmt: skip
        ax.set_yticks(places, points["experiment"])
        ax.set_ylim(len(points) - 0.5, -0.5)
        ax.set_xlim(0, 1)
        ax.set_xlabel("MQAR accuracy")
        ax.grid(**GRID)
        fig.legend(loc="outside upper center", ncols=2, frameon=False)
    plt.close(fig)
    return fig
