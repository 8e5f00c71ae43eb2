import math

import pytest

from mqar_bench.records.capacity import find_capacity, recalled_pairs


@pytest.mark.parametrize(
    "curve, pairs, censored",
    [
        ({8: 1.0, 16: 0.95, 32: 0.85, 64: 0.2}, 16 * math.sqrt(2), ""),
        ({8: 1.0, 16: 0.9, 32: 0.1}, 16, ""),
        ({8: 1.0, 16: 0.95}, 16, "above"),
        ({8: 0.5, 16: 0.2}, 8, "below"),
        ({8: 0.8, 16: 0.95, 32: 0.85}, 16 * math.sqrt(2), ""),  # the largest at which it still is
        ({32: 0.0, 8: 1.0}, 8 * 4**0.1, ""),
    ],
)
def test_where_accuracy_falls_below_nine_tenths(curve, pairs, censored):
    found = find_capacity(curve)
    assert found.pairs == pytest.approx(pairs) and found.censored == censored


def test_it_takes_two_numbers_of_pairs():
    assert find_capacity({}) is find_capacity({8: 0.9}) is None


def test_recalled_pairs_are_those_not_guessed():
    assert recalled_pairs({8: 1.0, 16: 0.5}) == pytest.approx(8)
    assert recalled_pairs({16: 1 / 16, 64: 1 / 64}) == pytest.approx(0)
    assert recalled_pairs({16: 0.0}) == 0 and recalled_pairs({1: 1.0}) is None
