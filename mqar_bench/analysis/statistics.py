"""What a handful of seeds allow to be said: an interval of a mean, and whether two means are told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

#: Of an interval, and of a test for equality the share of errors.
LEVEL, ERRORS = 0.95, 0.05


class Comparison(NamedTuple):
    """The difference of two means, its interval at ``LEVEL`` (NaN of a single seed), and what follows from it."""

    difference: float
    low: float
    high: float
    verdict: Literal["above", "below", "equal", "not told apart"]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """A bootstrap interval of the mean (percentiles of the means of resampled values), at ``LEVEL``.

    The same values give the same interval. With five of them it covers less than it says, about 0.85: read it beside
    the values themselves.

    Returns:
        low and high; NaN of a single value.
    """
    if len(values) < 2:
        return math.nan, math.nan
    if min(values) == max(values):
        return values[0], values[0]
    found = stats.bootstrap(
        (np.asarray(values),), np.mean, confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def compare(ours: Sequence[float], theirs: Sequence[float], margin: float) -> Comparison:
    """Whether the mean of ours is above or below theirs, or equal to it but for ``margin``, or neither can be said.

    Equal if two one-sided tests say that the difference is within the margin (Schuirmann 1987: its interval at 1 - 2
    ``ERRORS`` lies between -margin and margin); else above or below if its interval at ``LEVEL`` leaves out 0.
    Intervals are Welch's, of unequal variances.

    Args:
        ours, theirs: a value a seed; with fewer than two on a side nothing is told apart.
        margin: above 0.
    """
    difference = float(np.mean(ours) - np.mean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return Comparison(difference, math.nan, math.nan, "not told apart")
    low, high = _welch(ours, theirs, difference, LEVEL)
    inner_low, inner_high = _welch(ours, theirs, difference, 1 - 2 * ERRORS)
    if -margin < inner_low and inner_high < margin:
        return Comparison(difference, low, high, "equal")
    verdict: Literal["above", "below", "not told apart"] = (
        "above" if low > 0 else "below" if high < 0 else "not told apart"
    )
    return Comparison(difference, low, high, verdict)


class Correlation(NamedTuple):
    """Spearman's rank correlation, and its interval at ``LEVEL``; NaN where it cannot be had."""

    rank: float
    low: float
    high: float


def correlate(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Spearman's rank correlation of pairs, equal values sharing the mean of their ranks.

    The interval is a bootstrap's over the pairs (percentiles of 9,999 resamplings, those left out in which all of a
    side are equal), which of few pairs covers less than it says. The same values give the same interval.

    Args:
        x, y: of the same length. Of fewer than four pairs, or if all of a side are equal, all is NaN.
    """
    pairs = np.array([x, y], dtype=float)
    count = pairs.shape[1]
    whole = float(_rank_correlations(pairs[:, None])[0]) if count >= 4 else math.nan
    if math.isnan(whole):
        return Correlation(math.nan, math.nan, math.nan)
    found = _rank_correlations(pairs[:, np.random.default_rng(0).integers(0, count, (9999, count))])
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(whole, float(low), float(high))


def _rank_correlations(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[2, N, n]``: N samples of n pairs -> ``[N]``; NaN where a side has no spread."""
    ranks = stats.rankdata(pairs, axis=-1)
    ranks -= ranks.mean(-1, keepdims=True)
    square = (ranks**2).sum(-1).prod(0)
    return np.divide(ranks.prod(0).sum(-1), np.sqrt(square), out=np.full(square.shape, np.nan), where=square > 0)


def _welch(ours: Sequence[float], theirs: Sequence[float], difference: float, level: float) -> tuple[float, float]:
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (ours, theirs)]
    variance = sum(parts)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / sum(part**2 / (len(s) - 1) for part, s in zip(parts, (ours, theirs), strict=True))
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return difference - reach, difference + reach
