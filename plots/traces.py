"""Slots that a RAM-Net writes and reads, token by token (RAM-Net paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mqar_bench.analysis.trace import Trace
from plots.style import PAGE, RC

#: Inches: the height of a row of panels, and about what a panel has inside its axes.
ROW, PANEL = 2.0, (3.0, 1.5)
COLUMNS = 2


#: A panel with more points than this has them as pixels in the PDF; the text around stays text.
MOST_POINTS = 2000

#: Writes are bars that lie, reads bars that stand, drawn over them; Okabe and Ito's red and green are told apart with
#: any colour vision.
_COLORS = {"write": "#D55E00", "read": "#009E73"}

#: Half a bar's length in inches is a token's width, within these bounds; of its thickness, points.
SHORTEST, LONGEST, THICKNESS = 0.012, 0.03, 0.65

#: Opacity of a weight of 0; that of 1 is 1, and between them it goes with the square root, so that little shows.
FAINTEST = 0.06


def table(traces: Sequence[Trace]) -> pd.DataFrame:
    """Every access in the figure: those of the first sequence, in the heads that the trace says are shown.

    Args:
        traces: one trace.

    Returns:
        columns layer, head, cape, slots (M), token, access (write or read), slot, weight.

    Raises:
        ValueError: several traces.
    """
    if len(traces) != 1:
        raise ValueError(f"the figure traces shows one trace, got {len(traces)}")
    (trace,) = traces
    parts = []
    for i, h in trace.shown:
        layer = trace.layers[i]
        for access, w, idx in (("write", layer.w, layer.w_idx), ("read", layer.r, layer.r_idx)):
            weights, slots = w[0, :, h], idx[0, :, h]
            columns = {
                "token": np.repeat(np.arange(len(slots)), slots.shape[1]),
                "access": access,
                "slot": slots.ravel().astype(np.int64),
                "weight": weights.ravel(),
            }
            of_head = {"layer": i, "head": h, "cape": bool(layer.cape[h]), "slots": layer.num_slots}
            parts.append(pd.DataFrame(of_head | columns))
    return pd.concat(parts, ignore_index=True)


def figure(points: pd.DataFrame) -> Figure:
    """Draw the table: a panel for each head, slot against token; the opacity of a point goes with its weight."""
    heads = points[["layer", "head"]].drop_duplicates()
    columns = min(COLUMNS, len(heads))
    rows = -(-len(heads) // columns)
    with plt.rc_context(RC):
        fig, axes = plt.subplots(
            rows, columns, figsize=(PAGE, ROW * rows + 0.4), sharex=True, squeeze=False, layout="constrained"
        )
        for n, (ax, (layer, head)) in enumerate(zip(axes.flat, heads.itertuples(index=False), strict=False)):
            _panel(ax, points[(points["layer"] == layer) & (points["head"] == head)], ascii_lowercase[n : n + 1])
        for ax in axes.flat[len(heads) :]:
            ax.set_axis_off()
        for ax in axes[:, 0]:
            ax.set_ylabel("Slot")
        for ax in axes.flat[max(0, len(heads) - columns) : len(heads)]:
            ax.set_xlabel("Token")
            ax.tick_params(labelbottom=True)
        marks = [
            Line2D(
                [], [], color=color, marker=marker, linestyle="none", markersize=6, markeredgewidth=1.5, label=access
            )
            for (access, color), marker in zip(_COLORS.items(), "_|", strict=True)
        ]
        fig.legend(handles=marks, loc="outside upper center", ncols=2, frameon=False)
    plt.close(fig)
    return fig


def _panel(ax: Axes, points: pd.DataFrame, letter: str) -> None:
    first, tokens = points.iloc[0], points["token"].max() + 1
    # heavy ones over light ones of their kind
    points = points.sort_values(["access", "weight"], ascending=[False, True], kind="stable")
    x, y, lies = points["token"], points["slot"], points["access"] == "write"
    half = np.clip(PANEL[0] / tokens, SHORTEST, LONGEST)
    half_x, half_y = lies * half / PANEL[0] * tokens, ~lies * half / PANEL[1] * first["slots"]
    colors = np.where(lies.to_numpy()[:, None], to_rgba(_COLORS["write"]), to_rgba(_COLORS["read"]))
    colors[:, 3] = FAINTEST + (1 - FAINTEST) * np.sqrt(points["weight"].clip(0, 1))
    ends = [np.stack([x - half_x, y - half_y], -1), np.stack([x + half_x, y + half_y], -1)]
    bars = LineCollection(list(np.stack(ends, 1)), colors=colors, linewidths=THICKNESS, rasterized=len(x) > MOST_POINTS)
    ax.add_collection(bars, autolim=False)
    ax.set_xlim(-0.5, tokens - 0.5)
    ax.set_ylim(-0.5, first["slots"])
    ax.set_yticks(np.linspace(0, first["slots"], 5).round())  # at sub_dim 4 the first digit of a slot
    cape = "with" if first["cape"] else "no"
    ax.set_title(f"({letter}) layer {first['layer']}, head {first['head']}, {cape} CAPE")
