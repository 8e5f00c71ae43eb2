"""What filler has overwritten of the slots in which RAM-Nets store, and their accuracy, against context.

It is drawn from what `mqar-bench stream` has kept, which follows the slots (``mqar_bench.analysis.overwriting``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mqar_bench.analysis.statistics import interval
from mqar_bench.analysis.stream_record import HeadSlots, StreamEvaluation
from plots.axes import accuracy_axis, size_axis
from plots.streams import models
from plots.style import PAGE, RC, SERIES, SMALL

#: Drawn from streaming evaluations of these sweeps.
STREAMED = ("long_context_slots",)

#: Inches.
HEIGHT = 2.4
#: What makes a model, and how the legend writes it.
DESIGN = {"num_slots": "$M$ = {}", "top_k": "$K$ = {}", "gamma": "$\\gamma$ = {:g}", "cape": "{}"}
#: Lines by how long the sequences of training were, the longest first.
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
COLUMNS = (
    "mixer", "stack", "variant", *DESIGN, "layer", "trained_length", "context", "overwritten", "overwritten_low",
    "overwritten_high", "overwritten_seeds", "accuracy", "seeds", "examples", "learning_rate", "run_ids",
)  # fmt: skip


def table(evaluations: Iterable[StreamEvaluation]) -> pd.DataFrame:
    """The points of the figure, of every RAM-Net layer at each context that is done, heads with CAPE apart.

    A model is shown at the learning rate that did best in training (``plots.streams.models``).

    Args:
        evaluations: of the same task, seed, examples and device, a run each.

    Returns:
        columns mixer, stack, variant, num_slots (M), top_k (K), gamma, cape (whether the heads have it), layer,
        trained_length, context, overwritten (the share of what was stored, mean over heads, examples and seeds),
        overwritten_low and overwritten_high (bootstrap interval: over seeds, with one seed over examples),
        overwritten_seeds (of each seed, as text), accuracy (of the whole model), seeds, examples (of a seed),
        learning_rate and run_ids.

    Raises:
        ValueError: no context of a model with RAM-Net is done, or they are of different tasks or devices.
    """
    rows = []
    for (mixer, variant), chosen in models(evaluations):
        first = chosen[0]
        for context in sorted({entry.context for each in chosen for entry in each.contexts}):
            done = [(each, each.at(context)) for each in chosen if each.at(context).status == "done"]
            parts: dict[tuple, list[list[HeadSlots]]] = {}
            for _, entry in done:
                of_seed: dict[tuple, list[HeadSlots]] = {}
                for head in entry.slots:
                    of_seed.setdefault(_part(head), []).append(head)
                for part, heads in of_seed.items():
                    parts.setdefault(part, []).append(heads)
            for part, seeds in parts.items():
                rows.append(
                    {"mixer": mixer, "stack": first.stack, "variant": variant, "context": context}
                    | dict(zip((*DESIGN, "layer"), part, strict=True))
                    | _overwritten(seeds)
                    | {
                        "trained_length": first.trained_length,
                        "accuracy": float(np.mean([entry.accuracy for _, entry in done])),
                        "seeds": len(seeds),
                        "examples": first.examples,
                        "learning_rate": first.learning_rate,
                        "run_ids": " ".join(each.run_id for each, _ in done),
                    }
                )
    if not rows:
        raise ValueError("nothing to draw: no context of a RAM-Net is read; `mqar-bench stream RUN` reads them")
    return pd.DataFrame(rows)[list(COLUMNS)]


def _part(head: HeadSlots) -> tuple:
    """Of a model, the values of ``DESIGN``, and the layer: heads of one part have a line together."""
    return head.num_slots, head.top_k, head.gamma, head.cape, head.layer


def _overwritten(seeds: list[list[HeadSlots]]) -> dict[str, Any]:
    """The mean over the heads of each seed and over seeds."""
    examples = [np.mean([head.overwritten for head in heads], axis=0) for heads in seeds]
    means = [float(of_seed.mean()) for of_seed in examples]
    low, high = interval(means if len(means) > 1 else examples[0].tolist())
    return {
        "overwritten": float(np.mean(means)),
        "overwritten_low": low,
        "overwritten_high": high,
        "overwritten_seeds": " ".join(f"{mean:.6g}" for mean in means),
    }


def figure(points: pd.DataFrame) -> Figure:
    """Draw the table: what is overwritten, with its interval, and beside it accuracy.

    A colour a model; dashed are those that were trained on shorter sequences.
    """
    designs = points[[*DESIGN, "layer"]].drop_duplicates().sort_values([*DESIGN, "layer"])
    lengths = sorted(set(points["trained_length"]), reverse=True)
    common = {name: Counter(points[name]).most_common(1)[0][0] for name in DESIGN}
    order = sorted(designs.to_dict("records"), key=lambda row: sum(row[name] != common[name] for name in DESIGN))
    several = designs["layer"].nunique() > 1
    with plt.rc_context(RC):
        fig, axes = plt.subplots(1, 2, figsize=(PAGE, HEIGHT), layout="constrained", sharex=True)
        handles = []
        for i, row in enumerate(order):
            color, marker = SERIES[i % len(SERIES)]
            look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3, "clip_on": False}
            same = (points[list(row)] == pd.Series(row)).all(axis=1)
            for _, line in points[same].groupby("variant"):
                line = line.sort_values("context")
                dashes = DASHES[min(lengths.index(line["trained_length"].iloc[0]), len(DASHES) - 1)]
                axes[0].fill_between(
                    line["context"], line["overwritten_low"], line["overwritten_high"], color=color, alpha=0.12,
                    linewidth=0,
                )  # fmt: skip
                for ax, column in zip(axes, ("overwritten", "accuracy"), strict=True):
                    ax.plot(line["context"], line[column], linestyle=dashes, **look)
            label = _label(row, common) + (f", layer {row['layer']}" if several else "")
            handles.append(Line2D([], [], label=label, **look))
        for length, dashes in zip(lengths, DASHES, strict=False):
            handles.append(Line2D([], [], color="0.4", linestyle=dashes, label=f"trained on {length:,}"))
        for ax, label in zip(axes, ("Share overwritten", "Accuracy"), strict=True):
            accuracy_axis(ax)
            size_axis(ax, points["context"])
            ax.set_xlabel("Context (tokens)")
            ax.set_ylabel(label)
        fig.legend(handles=handles, loc="outside right center", frameon=False, fontsize=SMALL, handlelength=1.8)
    plt.close(fig)
    return fig


def _label(row: dict[Any, Any], common: dict[str, Any]) -> str:
    """What a model has that most have not; of the one that has nothing such, all."""
    other = [name for name in DESIGN if row[name] != common[name]] or list(DESIGN)
    return ", ".join(DESIGN[name].format(_words(name, row[name])) for name in other)


def _words(name: str, value: Any) -> Any:
    return ("CAPE" if value else "no CAPE") if name == "cape" else value
