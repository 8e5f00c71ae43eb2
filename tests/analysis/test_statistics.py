import math

import numpy as np
import pytest
from scipy import stats

from mqar_bench.analysis.statistics import compare, correlate, interval


def test_an_interval_holds_the_mean_and_is_the_same_every_time():
    values = [0.2, 0.5, 0.55, 0.6, 0.9]
    low, high = interval(values)
    assert min(values) < low < np.mean(values) < high < max(values) and interval(values) == (low, high)


def test_of_equal_values_it_is_the_value_and_of_one_there_is_none():
    assert interval([0.7, 0.7, 0.7]) == (0.7, 0.7)
    assert all(math.isnan(end) for end in interval([0.7]))


def test_its_coverage_is_what_the_docstring_says():
    """Of 400 samples of five normal numbers, how many intervals hold their mean."""
    draws = np.random.default_rng(1).normal(size=(400, 5))
    held = [low <= 0 <= high for low, high in map(interval, draws.tolist())]
    assert 0.78 < np.mean(held) < 0.9


@pytest.mark.parametrize(
    "ours, theirs, verdict",
    [
        ([0.9, 0.91, 0.92], [0.5, 0.52, 0.51], "above"),
        ([0.5, 0.52, 0.51], [0.9, 0.91, 0.92], "below"),
        ([0.9, 0.901, 0.902], [0.9, 0.902, 0.899], "equal"),
        ([0.95, 0.951, 0.952], [0.94, 0.941, 0.942], "equal"),  # told apart, but by less than the margin
        ([0.9, 0.1, 0.9], [0.5, 0.6, 0.4], "not told apart"),
        ([0.9, 0.9], [0.9, 0.9], "equal"),
        ([0.9, 0.9], [0.5, 0.5], "above"),
        ([0.9], [0.1, 0.2], "not told apart"),
    ],
)
def test_verdicts(ours, theirs, verdict):
    found = compare(ours, theirs, 0.02)
    assert found.verdict == verdict and found.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert len(ours) < 2 or found.low <= found.difference <= found.high


def test_welchs_interval_covers_and_equality_errs_as_often_as_it_says():
    draws = np.random.default_rng(2)
    pairs = [(draws.normal(0.0, 1.0, 5), draws.normal(1.0, 3.0, 5)) for _ in range(1000)]
    found = [compare(a.tolist(), b.tolist(), 1.0) for a, b in pairs]
    assert 0.93 < np.mean([f.low <= -1 <= f.high for f in found]) < 0.98
    at_the_margin = [
        compare(draws.normal(0, 0.3, 5).tolist(), draws.normal(1, 0.3, 5).tolist(), 1.0) for _ in range(1000)
    ]
    assert np.mean([f.verdict == "equal" for f in at_the_margin]) < 0.07


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "with ties"])
def test_a_rank_correlation_is_scipys_and_lies_within_its_interval(ties):
    x, y = np.random.default_rng(3).normal(size=(2, 12)) + np.arange(12) / 4
    x, y = (np.round(side) for side in (x, y)) if ties else (x, y)
    found = correlate(x.tolist(), y.tolist())
    assert found.rank == pytest.approx(stats.spearmanr(x, y).statistic)
    assert -1 <= found.low < found.rank < found.high <= 1 and found == correlate(x.tolist(), y.tolist())
    falling = correlate(x.tolist(), (-np.exp(y)).tolist())  # only the order counts
    assert falling == pytest.approx((-found.rank, -found.high, -found.low), abs=1e-3)


@pytest.mark.parametrize("pairs", [([1, 2, 3], [1, 2, 3]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([], [])])
def test_what_has_no_correlation_has_no_number(pairs):
    assert all(math.isnan(value) for value in correlate(*pairs))
