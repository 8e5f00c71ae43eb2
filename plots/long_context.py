"""Accuracy, reading speed and peak memory against context, of models read far beyond what they were trained on.

It is drawn from what `mqar-bench stream` has kept (``mqar_bench.analysis.stream_record``), and not from records alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mqar_bench.analysis.stream_record import StreamEvaluation
from plots.axes import GRID, accuracy_axis, size_axis
from plots.lines import legend_beside, series
from plots.streams import models, spread
from plots.style import PAGE, RC

#: Drawn from streaming evaluations of these sweeps.
STREAMED = ("long_context",)

#: Inches.
HEIGHT = 2.3
#: What is drawn beside accuracy: the column, a divisor, and the label of the axis.
COSTS = {"tokens_per_second": (1e3, "Reading (1000 tokens/s)"), "peak_bytes": (2**20, "Peak memory (MiB)")}
#: From a largest of so many times the smallest on, costs have a logarithmic axis.
WIDE = 10
COLUMNS = (
    "mixer", "stack", "variant", "state_bytes", "context", "status", "accuracy", "low", "high", "seeds",
    "tokens_per_second", "peak_bytes", "examples", "chance", "trained_length", "learning_rate", "device", "threads",
    "reason", "run_ids",
)  # fmt: skip


def table(evaluations: Iterable[StreamEvaluation]) -> pd.DataFrame:
    """The points of the figure: what each model answers at each context that is done, and where it has ended.

    A model (variant) is shown at the learning rate whose runs did best in training, by the mean over seeds; of equals
    the lower. Of a context that some seeds alone have read those count. Contexts read in part are left out.

    Args:
        evaluations: of the same task, seed, examples and device, a run each.

    Returns:
        columns mixer, stack (the mixers, in order), variant, state_bytes (of an example, after its last token), context
        (tokens), status (done or ended), accuracy (mean over seeds), low and high (bootstrap interval: of the mean of
        the seeds, with one seed over its examples), seeds (how many), tokens_per_second (the highest), peak_bytes
        (the highest), examples (of a seed), chance, trained_length, learning_rate, device, threads, reason (why it has
        ended) and run_ids. What a context has not is NaN.

    Raises:
        ValueError: no context is done, or they are of different tasks or devices.
    """
    rows = []
    for (mixer, variant), chosen in models(evaluations):
        for context in sorted({entry.context for each in chosen for entry in each.contexts}):
            if (row := _row(chosen, context)) is not None:
                rows.append({"mixer": mixer, "variant": variant} | row)
    if not any(row["status"] == "done" for row in rows):
        raise ValueError("nothing to draw: no context is read; `mqar-bench stream RUN` reads them")
    return pd.DataFrame(rows)[list(COLUMNS)]


def _row(evaluations: list[StreamEvaluation], context: int) -> dict[str, Any] | None:
    """A model at a context; None if no seed has done it, or ended there."""
    entries = [(each, each.at(context)) for each in evaluations]
    done = [(each, entry) for each, entry in entries if entry.status == "done"]
    ended = [(each, entry) for each, entry in entries if entry.status == "ended"]
    if not (chosen := done or ended):
        return None
    first, parts = chosen[0][0], [entry for _, entry in chosen]
    low, high = spread(parts) if done else (math.nan, math.nan)
    return {
        "stack": first.stack,
        "state_bytes": _most(part.state_bytes for part in parts),
        "context": context,
        "status": "done" if done else "ended",
        "accuracy": float(np.mean([part.accuracy for part in parts])) if done else math.nan,
        "low": low,
        "high": high,
        "seeds": len(parts),
        "tokens_per_second": _most(part.tokens_per_second for part in parts) if done else math.nan,
        "peak_bytes": _most(part.peak_bytes for part in parts) if done else math.nan,
        "examples": first.examples,
        "chance": first.chance,
        "trained_length": first.trained_length,
        "learning_rate": first.learning_rate,
        "device": first.provenance.device,
        "threads": first.provenance.threads,
        "reason": "" if done else parts[0].reason,
        "run_ids": " ".join(each.run_id for each, _ in chosen),
    }


def _most(values: Iterable[float | None]) -> float:
    return max((value for value in values if value is not None), default=math.nan)


def figure(points: pd.DataFrame) -> Figure:
    """Draw the table: accuracy with its interval, and beside it reading speed and peak memory.

    The upright line is the longest sequence of training, the level one a guess; a cross is the last context of a model
    that has ended there.
    """
    done = points[points["status"] == "done"]
    with plt.rc_context(RC):
        lines, common = series(points)
        fig, axes = plt.subplots(1, 3, figsize=(PAGE, HEIGHT), layout="constrained", width_ratios=(1.5, 1, 1))
        for line in lines:
            for _, model in line.of(done).groupby("variant"):
                model = model.sort_values("context")
                whole = points[points["variant"] == model["variant"].iloc[0]]
                ended = bool((whole["status"] == "ended").any())
                axes[0].fill_between(
                    model["context"], model["low"], model["high"], color=line.look["color"], alpha=0.12, linewidth=0
                )
                _draw(axes[0], model["context"], model["accuracy"], line.look, ended)
                for ax, (column, (unit, _)) in zip(axes[1:], COSTS.items(), strict=True):
                    _draw(ax, model["context"], model[column] / unit, line.look, ended)
        accuracy_axis(axes[0])
        axes[0].axhline(points["chance"].iloc[0], color="0.6", linewidth=0.6, linestyle=":")
        for ax, label in zip(axes, ("Accuracy", *(label for _, label in COSTS.values())), strict=True):
            for length in sorted(set(points["trained_length"])):
                ax.axvline(length, color="0.6", linewidth=0.6, zorder=0)
            size_axis(ax, done["context"])
            ax.set_xlabel("Context (tokens)")
            ax.set_ylabel(label)
        for ax, (column, (unit, _)) in zip(axes[1:], COSTS.items(), strict=True):
            _cost_axis(ax, done[column].min() / unit, done[column].max() / unit)
        legend_beside(fig, lines, common, _keys(points))
    plt.close(fig)
    return fig


def _cost_axis(ax: Axes, low: float, high: float) -> None:
    """From 0 on, on which what is flat is seen to be; in powers of ten where there are some."""
    if high > WIDE * low:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(0, 1.1 * high)
    ax.grid(**GRID)


def _keys(points: pd.DataFrame) -> list[Line2D]:
    """What the marks are that are no model's."""
    keys = [
        Line2D([], [], color="0.6", linewidth=0.6, label="trained length"),
        Line2D([], [], color="0.6", linewidth=0.6, linestyle=":", label="a guess"),
    ]
    if (points["status"] == "ended").any():
        keys.append(Line2D([], [], linestyle="none", marker="x", color="0.4", label="ended here"))
    return keys


def _draw(ax: Axes, x: pd.Series, y: pd.Series, look: dict[str, Any], ended: bool) -> None:
    ax.plot(x, y, markersize=3, clip_on=False, **{key: value for key, value in look.items() if key != "markersize"})
    if ended:
        cross = {"linestyle": "none", "marker": "x", "markersize": 8, "color": look["color"]}
        ax.plot(x.iloc[-1:], y.iloc[-1:], clip_on=False, **cross)
