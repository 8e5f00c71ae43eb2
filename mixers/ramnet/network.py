"""Sorting networks for the K largest of sums: which two places to compare, one pair after another.

A network does the same for every row, so rows can lie side by side in vectors. What it selects from is small already:
of the sums of two descending lists, number c of the one and number i of the other can be among the K largest only if
``(c + 1)(i + 1) <= K``. Comparisons that no result depends on are left out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Pairs = list[tuple[int, int]]


def merge(a: list[int], b: list[int], pairs: Pairs) -> list[int]:
    """Append to ``pairs`` what merges the descending runs at places ``a`` and ``b``; the places of the result in order.

    Batcher's odd-even merge, for runs of any lengths.
    """
    if not a or not b:
        return a or b
    if len(a) == len(b) == 1:
        pairs.append((a[0], b[0]))
        return [a[0], b[0]]
    even, odd = merge(a[::2], b[::2], pairs), merge(a[1::2], b[1::2], pairs)
    places = [even[0]]
    for i, place in enumerate(odd):
        if i + 1 < len(even):
            pairs.append((place, even[i + 1]))
            places += [place, even[i + 1]]
        else:
            places.append(place)
    return places + even[len(odd) + 1 :]


def sort(places: list[int], keep: int, pairs: Pairs) -> list[int]:
    """Append what sorts ``places``, largest first; the places of the ``keep`` largest."""
    if len(places) == 1:
        return places
    half = len(places) // 2
    return merge(sort(places[:half], keep, pairs), sort(places[half:], keep, pairs), pairs)[:keep]


def needed(pairs: Pairs, results: list[int]) -> Pairs:
    """The pairs that the numbers at places ``results`` depend on."""
    live, kept = set(results), []
    for pair in reversed(pairs):
        if pair[0] in live or pair[1] in live:
            live.update(pair)
            kept.append(pair)
    return kept[::-1]


@lru_cache(64)
def top_sums(first: int, second: int, keep: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The ``keep`` largest sums of descending lists of so many numbers.

    Returns:
        sums to begin with, ``[C, 2]``: numbers c and i of the lists, place by place; pairs of places ``[N, 2]``, the
        larger to the first; the places of the results in order.
    """
    sums: list[tuple[int, int]] = []
    runs = []
    for i in range(min(second, keep)):
        length = min(first, keep // (i + 1))
        runs.append(list(range(len(sums), len(sums) + length)))
        sums += [(c, i) for c in range(length)]
    pairs: Pairs = []
    while len(runs) > 1:  # the two shortest first
        runs.sort(key=len, reverse=True)
        runs.append(merge(runs.pop(), runs.pop(), pairs)[:keep])
    return _arrays(sums, pairs, runs[0][:keep])


@lru_cache(64)
def top_numbers(count: int, keep: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The ``keep`` largest of ``count`` numbers, as ``top_sums`` has it."""
    pairs: Pairs = []
    results = sort(list(range(count)), keep, pairs)[:keep]
    return _arrays([(0, i) for i in range(count)], pairs, results)


def _arrays(sums: list[tuple[int, int]], pairs: Pairs, results: list[int]):
    pairs = needed(pairs, results)
    return (
        np.array(sums, np.int32).reshape(-1, 2),
        np.array(pairs, np.int32).reshape(-1, 2),
        np.array(results, np.int32),
    )
