"""What a cache of memory slots would hit, by policy, over the accesses of one head to its slots.

A cache of C slots is filled by demand. A policy takes the slots accessed one after another, int64 ``[N]``, and sizes
of the cache, int64 ``[S]``, each at least 1, and says of every access whether it hits, bool ``[S, N]``. A first access
to a slot is never a hit: a slot not written yet is known to be empty, so there is nothing to fetch.

| policy | what it keeps |
|---|---|
| ``lru`` | the slots accessed last |
| ``hottest`` | always the same slots: those accessed most in this very sequence |
| ``optimal`` | the slots needed again soonest (Belady's MIN): nothing hits more, and it takes knowing the future |

``hottest`` and ``optimal`` need not keep what they have just fetched, which makes ``optimal`` a bound on both others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def lru(slots: Array, sizes: Array) -> Array:
    """Least recently used: an access hits where at most C slots have been accessed since the last one to its own.

    That count, the stack distance (Mattson et al. 1970), gives all sizes at once.
    """
    distances = np.zeros(len(slots), np.int64)
    _stack_distances(slots, distances)
    return (distances > 0) & (distances <= sizes[:, None])


def hottest(slots: Array, sizes: Array) -> Array:
    """A static choice with hindsight: the C slots accessed most; of equals the ones with lower numbers."""
    order = np.argsort(-np.bincount(slots), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return (rank[slots] < sizes[:, None]) & ~first_accesses(slots)


def optimal(slots: Array, sizes: Array) -> Array:
    """Belady's MIN: of the slots in the cache and the one just fetched, drop the one that is needed last."""
    hits = np.zeros((len(sizes), len(slots)), bool)
    next_use = np.empty(len(slots), np.int64)
    _next_use(slots, next_use)
    for size, row in zip(sizes, hits, strict=True):
        _optimal(slots, next_use, size, row)
    return hits


POLICIES: dict[str, Callable[[Array, Array], Array]] = {"lru": lru, "optimal": optimal, "hottest": hottest}


def first_accesses(slots: Array) -> Array:
    """Which accesses are the first to their slot, bool ``[N]``."""
    first = np.zeros(len(slots), bool)
    first[np.unique(slots, return_index=True)[1]] = True
    return first


@numba.njit(cache=True)
def _stack_distances(slots, distances):
    """How many slots, its own included, were accessed since the last access to the same slot; 0 for the first."""
    n = slots.size
    tree = np.zeros(n + 1, np.int64)  # Fenwick's: sums over time of 1 at the last access to each slot so far
    last = np.full(slots.max() + 1, -1)
    touched = 0
    for t in range(n):
        before = last[slots[t]]
        if before < 0:
            touched += 1
        else:
            older = 0  # slots whose last access was not after this one's
            i = before + 1
            while i > 0:
                older += tree[i]
                i -= i & -i
            distances[t] = touched - older + 1
            i = before + 1
            while i <= n:
                tree[i] -= 1
                i += i & -i
        i = t + 1
        while i <= n:
            tree[i] += 1
            i += i & -i
        last[slots[t]] = t


@numba.njit(cache=True)
def _next_use(slots, next_use):
    """When each slot is accessed again; N for never."""
    upcoming = np.full(slots.max() + 1, slots.size)
    for t in range(slots.size - 1, -1, -1):
        next_use[t] = upcoming[slots[t]]
        upcoming[slots[t]] = t


@numba.njit(cache=True)
def _optimal(slots, next_use, size, hits):
    cached = np.zeros(slots.max() + 1, np.bool_)
    count = 0
    # By next use, the furthest on top. What is in the cache has its next use ahead, so while the cache is not empty
    # the top is in it; entries whose time has come lie below and are never met.
    heap = [(0, 0)]
    heap.pop()
    for t in range(slots.size):
        slot, again = slots[t], next_use[t]
        if cached[slot]:
            hits[t] = True
            cached[slot] = False
            count -= 1
        if again == slots.size:
            continue
        if count == size:
            if -heap[0][0] <= again:
                continue
            out = heapq.heappop(heap)[1]
            cached[out] = False
            count -= 1
        heapq.heappush(heap, (-again, slot))
        cached[slot] = True
        count += 1
