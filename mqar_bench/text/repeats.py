"""Which tokens of a text recall can tell: those that end a pair of tokens that the context has had before."""

from __future__ import annotations

import numpy as np

from mqar_bench.tasks.sampling import Array


def repeats(windows: Array, vocab_size: int) -> Array:
    """Zoology's associative recall hits: whether a pair of neighbouring tokens was there before, in the same window.

    Args:
        windows: ``[N, L + 1]``, token ids below ``vocab_size``.

    Returns:
        bool ``[N, L]``: whether the pair of tokens t and t + 1 equals one of tokens s and s + 1 with s < t. A model
        that has read up to token t can then find token t + 1 behind an earlier t.

    Source: Arora et al. 2023, arXiv 2312.04927, section 3.
    """
    pairs = as_pairs(windows, vocab_size)
    order = np.argsort(pairs, axis=1, kind="stable")  # equal ones stay in their order
    ordered = np.take_along_axis(pairs, order, 1)
    again = np.zeros(pairs.shape, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    found = np.empty_like(again)
    np.put_along_axis(found, order, again, 1)
    return found


def as_pairs(windows: Array, vocab_size: int) -> Array:
    """int64 ``[N, L]``: of ``[N, L + 1]`` tokens every pair of neighbours as one number."""
    wide = windows.astype(np.int64)
    return wide[:, :-1] * vocab_size + wide[:, 1:]


def how_often(pairs: Array, known: tuple[Array, Array]) -> Array:
    """How often each pair is in a text, of whose ``known`` pairs there are the numbers, ascending, and the counts."""
    numbers, counts = known
    place = np.minimum(np.searchsorted(numbers, pairs), len(numbers) - 1)
    return np.where(numbers[place] == pairs, counts[place], 0)
