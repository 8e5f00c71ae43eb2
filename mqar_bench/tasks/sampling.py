"""Random draws for many examples at once: distinct integers, slots by a power law, filler."""

# R - rows (examples), K - draws per row, S - slots, L - sequence length

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator


def distinct(rng: Rng, rows: int, k: int, low: int, high: int) -> Array:
    """int32 ``[rows, k]``, each row uniform over the ordered choices of k distinct integers in [low, high).

    Draws independently, then redraws every entry that repeats an earlier one of its row until none does. That
    is exactly uniform: renaming the integers by any permutation changes neither the law of the draws nor
    which places get redrawn, so all choices, being renamings of each other, are equally likely. The rows left
    to redraw die out quickly where k is at most three quarters of the integers; beyond that all of them are shuffled.
    """
    if k > 1 and 4 * k > 3 * (high - low):
        everything = np.tile(np.arange(low, high, dtype=np.int32), (rows, 1))
        return rng.permuted(everything, axis=1, out=everything)[:, :k]
    draws = rng.integers(low, high, size=(rows, k), dtype=np.int32)
    bits = k.bit_length()
    todo = np.arange(rows)
    while todo.size:
        # Sorting (value, place) puts repeats next to each other with the first place in front.
        packed = np.sort((draws[todo].astype(np.int64) << bits) | np.arange(k), axis=1)
        values = packed >> bits
        row, column = np.nonzero(values[:, 1:] == values[:, :-1])
        places = packed[row, column + 1] & ((1 << bits) - 1)
        draws[todo[row], places] = rng.integers(low, high, size=row.size, dtype=np.int32)
        todo = todo[np.unique(row)]
    return draws


def slot_probabilities(slots: int, power_a: float) -> Array:
    """float64 ``[S]``, proportional to (i + 1) ** (power_a - 1): the law of the first slot that is drawn.

    Not finite, or 0 somewhere, where ``power_a`` leaves the floating point range.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # configs refuse what overflows
        weights = power_a * np.arange(1, slots + 1) ** (power_a - 1)
        probabilities: Array = weights / weights.sum()
    return probabilities


def successive(rng: Rng, rows: int, k: int, probabilities: Array) -> Array:
    """int64 ``[rows, k]``: k slots per row, drawn one after another by ``probabilities`` among those left.

    This is the law of Zoology's ``np.random.choice(slots, size=k, replace=False, p=p)``, order included. That
    function draws k independent slots, keeps the distinct ones in order of first appearance, and repeats for
    the missing ones with the found slots' probabilities set to 0. Its draws are those of one infinite
    independent sequence from p with draws of already found slots left out, so wherever its rounds end the
    result is the first k distinct members of that sequence in order of appearance: after each, the next is
    slot i with probability p_i / (1 - p of those found).

    Here each slot has an alarm clock that rings after an exponential time of rate p_i, and the first k to
    ring are taken in order. Exponentials have no memory: the next is slot i with that same probability.
    """
    rings = rng.standard_exponential((rows, len(probabilities)))
    rings /= probabilities
    return np.argsort(rings, axis=1)[:, :k]


def fill(rng: Rng, tokens: Array, vocab: int, without: Array | None = None) -> None:
    """Fill ``tokens`` ``[R, L]``, in place, with tokens uniform on [0, vocab).

    Args:
        without: ``[R, K]``, distinct tokens; a row gets none of its own, and all others equally often.
    """
    if without is None:
        tokens[:] = rng.integers(0, vocab, size=tokens.shape, dtype=np.int32)
        return
    k = without.shape[1]
    tokens[:] = skip(rng.integers(0, vocab - k, size=tokens.shape, dtype=np.int32), without, vocab)


def skip(ranks: Array, without: Array, vocab: int) -> Array:
    """int32 ``[R, L]``: the tokens in [0, vocab) that have these ranks among those left in their row.

    Args:
        ranks: ``[R, L]``, in [0, vocab - K).
        without: ``[R, K]``, distinct tokens that are left out of a row.
    """
    # Below the j-th excluded token there are excluded[j] - j of those left.
    rows, k = without.shape
    offsets = vocab * np.arange(rows, dtype=np.int64)[:, None]  # one search in all rows at a time
    edges = np.sort(without, axis=1) - np.arange(k) + offsets
    passed = np.searchsorted(edges.ravel(), ranks + offsets, side="right") - k * np.arange(rows)[:, None]
    tokens: Array = np.add(ranks, passed).astype(np.int32)
    return tokens


def is_latest(keys: Array) -> Array:
    """Whether each of the keys ``[R, K]`` comes no more in its row."""
    bits = keys.shape[1].bit_length()
    # Sorting (key, place) puts equal keys next to each other with the last place behind.
    packed = np.sort((keys.astype(np.int64) << bits) | np.arange(keys.shape[1]), axis=1)
    last = np.ones(keys.shape, dtype=bool)
    last[:, :-1] = packed[:, :-1] >> bits != packed[:, 1:] >> bits
    latest = np.empty(keys.shape, dtype=bool)
    np.put_along_axis(latest, packed & ((1 << bits) - 1), last, axis=1)
    return latest


def choose(rng: Rng, among: Array) -> Array:
    """``[R]``: one of the places of each row of ``among`` ``[R, K]`` that are true, all equally likely."""
    ranks = rng.integers(0, among.sum(axis=1))
    chosen: Array = (among & (np.cumsum(among, axis=1) == ranks[:, None] + 1)).argmax(axis=1)
    return chosen
