"""Which tokens of a text recall can tell: those that end a pair of tokens that the context has had before."""

from __future__ import annotations

import numpy as np

from mqar_bench.tasks.sampling import Array


def repeats(windows: Array, vocab_size: int, tokens: int = 2) -> Array:
    """Zoology's associative recall hits: whether a pair of neighbouring tokens was there before, in the same window.

    Args:
        windows: ``[N, L + 1]``, token ids below ``vocab_size``.
        vocab_size: at most 2^16.
        tokens: 2; or 3, for the longer repeats that a copy consists of.

    Returns:
        bool ``[N, L]``: whether the pair of tokens t and t + 1 equals one of tokens s and s + 1 with s < t. A model
        that has read up to token t can then find token t + 1 behind an earlier t.

    Source: Arora et al. 2023, arXiv 2312.04927, section 3.
    """
    return last_seen(windows, vocab_size, tokens) > 0


def last_seen(windows: Array, vocab_size: int, tokens: int = 2) -> Array:
    """How many tokens ago the same pair, or as many tokens, was there last; 0 where it was not. As ``repeats``.

    Returns:
        int64 ``[N, L]``.
    """
    grams = windows.astype(np.int64)
    for i in range(1, tokens):
        grams = grams[:, :-1] * vocab_size + windows[:, i:]
    order = np.argsort(grams, axis=1, kind="stable")  # equal ones stay in their order
    ordered = np.take_along_axis(grams, order, 1)
    ago = np.zeros_like(order)
    ago[:, 1:] = np.where(ordered[:, 1:] == ordered[:, :-1], np.diff(order, axis=1), 0)
    found = np.zeros((len(windows), windows.shape[1] - 1), dtype=np.int64)
    np.put_along_axis(found[:, tokens - 2 :], order, ago, 1)
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
