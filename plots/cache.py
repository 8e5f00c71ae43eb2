"""Hit rate of a cache of RAM-Net's slots against its size (the RAM-Net paper's Section 7, measured).

Of every head and sequence of the traces the accesses, token after token, its writes before its reads, go through an
empty cache of slots, by the policies of ``mqar_bench.analysis.caching``. The first access to a slot is left out of the
hit rate: the slot is known to be empty, so no cache could save a transfer. How many these are is a column of its own.

How much LRU gains from accesses being near in time, and not from some slots being hotter than others, is told by the
policy ``shuffled``: LRU again, with the tokens of the sequence in random order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from mqar_bench.analysis.caching import POLICIES, first_accesses, lru
from mqar_bench.analysis.trace import Trace
from plots.axes import GRID
from plots.style import PAGE, RC

Array = NDArray[Any]

#: Inches: the height of a row of panels.
ROW = 1.9

_LOOK = {
    "optimal": ("optimal (Belady)", "#000000", "s", "-"),
    "lru": ("LRU", "#0072B2", "o", "-"),
    "hottest": ("hottest slots, pinned", "#E69F00", "^", "--"),
    "shuffled": ("LRU, tokens shuffled", "#0072B2", "", ":"),
}
_COUNTED = {"all": "Writes and reads", "reads": "Reads alone"}


#: What heads must have in common to be averaged.
KIND = ["cape", "slots", "active"]


def table(traces: Iterable[Trace]) -> pd.DataFrame:
    """The points of the figure: hit rates, averaged over the heads of a kind and the sequences.

    The cache serves writes and reads alike. Of its hits all are counted, or those of reads alone; the optimal policy is
    the best for all.

    Args:
        traces: of any runs.

    Returns:
        columns cape, slots (M), active (slots that a token accesses, K + K'), counted (all or reads), policy, size
        (slots in the cache: M over powers of 2), fraction (of M), hit_rate (mean), hit_rate_min, hit_rate_max,
        first_accesses (the share of accesses that is left out), touched (the share of M accessed at all), heads,
        streams (pairs of head and sequence; those where every access is a first one are left out).

    Raises:
        ValueError: no slot is accessed twice.
    """
    rows = pd.DataFrame([row for trace in traces for row in _measure(trace)])
    if rows.empty:
        raise ValueError("nothing to draw: in these traces no slot is accessed twice")
    groups = rows.groupby([*KIND, "counted", "policy", "size", "fraction"], sort=True)
    return groups.agg(
        hit_rate=("hit_rate", "mean"),
        hit_rate_min=("hit_rate", "min"),
        hit_rate_max=("hit_rate", "max"),
        first_accesses=("first_accesses", "mean"),
        touched=("touched", "mean"),
        heads=("head", "nunique"),
        streams=("head", "size"),
    ).reset_index()


def cache_sizes(num_slots: int) -> Array:
    """M over powers of 2, rounded, smallest first."""
    return np.unique([max(1, round(num_slots / 2**j)) for j in range(num_slots.bit_length())])


def _measure(trace: Trace) -> Iterator[dict[str, Any]]:
    """A row for every stream, policy, size and what is counted."""
    for i, layer in trace.layers.items():
        sizes = cache_sizes(layer.num_slots)
        slots = np.concatenate([layer.w_idx, layer.r_idx], axis=-1)  # [B, T, H, K + K']
        batch, tokens, heads, active = slots.shape
        reads = np.tile(np.arange(active) >= layer.w_idx.shape[-1], tokens)
        for b, h in np.ndindex(batch, heads):
            stream = {
                "cape": bool(layer.cape[h]),
                "slots": layer.num_slots,
                "active": active,
                "head": (trace.config.run_id, i, h),
                "touched": len(np.unique(slots[b, :, h])) / layer.num_slots,
            }
            shuffle = np.random.default_rng((i, h, b)).permutation(tokens)
            for policy, hits, again in _simulate(slots[b, :, h], sizes, shuffle):
                for counted, kind in (("all", np.ones_like(reads)), ("reads", reads)):
                    if (again & kind).any():
                        row = stream | {"policy": policy, "counted": counted, "first_accesses": 1 - again[kind].mean()}
                        rates = hits[:, again & kind].mean(1)
                        yield from (
                            row | {"size": size, "fraction": size / layer.num_slots, "hit_rate": rate}
                            for size, rate in zip(sizes, rates, strict=True)
                        )


def _simulate(slots: Array, sizes: Array, shuffle: Array) -> Iterator[tuple[str, Array, Array]]:
    """For each policy, by size and access, what hits ``[S, N]``; and what is no first access ``[N]``.

    Args:
        slots: of each token ``[T, K + K']``.
        sizes: of the cache.
        shuffle: an order of the tokens.
    """
    numbers = np.unique(slots, return_inverse=True)[1].reshape(slots.shape)  # small ones, however many slots there are
    orders = {name: (simulate, numbers.ravel()) for name, simulate in POLICIES.items()}
    for policy, (simulate, accesses) in (orders | {"shuffled": (lru, numbers[shuffle].ravel())}).items():
        yield policy, simulate(accesses, sizes), ~first_accesses(accesses)


def figure(points: pd.DataFrame) -> Figure:
    """Draw the table: a row of panels for each kind of head, all accesses on the left and reads on the right.

    Bands reach from the lowest to the highest of the streams; the upright line is what one token accesses.
    """
    kinds = points[KIND].drop_duplicates().sort_values(KIND, ascending=[False, True, True])
    with plt.rc_context(RC):
        fig, axes = plt.subplots(
            len(kinds), 2, figsize=(PAGE, ROW * len(kinds) + 0.4), sharey=True, squeeze=False, layout="constrained"
        )
        for row, (cape, slots, active) in zip(axes, kinds.itertuples(index=False), strict=True):
            of_kind = points[(points["cape"] == cape) & (points["slots"] == slots) & (points["active"] == active)]
            for ax, (counted, title) in zip(row, _COUNTED.items(), strict=True):
                _panel(ax, of_kind[of_kind["counted"] == counted])
                ax.axvline(active / slots, color="#777777", linewidth=0.6, label="slots of one token")
                ax.set_title(f"{title}, {'with' if cape else 'no'} CAPE, M = {slots}")
            row[0].set_ylabel("Hit rate")
        for ax in axes[-1]:
            ax.set_xlabel("Size of the cache (fraction of the M slots)")
        fig.legend(
            *axes[0, 0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=len(_LOOK) + 1,
            frameon=False,
            columnspacing=1.2,
        )
    plt.close(fig)
    return fig


def _panel(ax: Axes, points: pd.DataFrame) -> None:
    for policy, (label, color, marker, line) in _LOOK.items():
        curve = points[points["policy"] == policy].sort_values("size")
        ax.fill_between(curve["fraction"], curve["hit_rate_min"], curve["hit_rate_max"], color=color, alpha=0.12, lw=0)
        ax.plot(curve["fraction"], curve["hit_rate"], line, color=color, marker=marker, label=label, clip_on=False)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(LogLocator(base=4 if points["size"].nunique() > 5 else 2))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"1/{1 / x:g}" if x < 1 else f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(0, 1)
    ax.grid(**GRID)
