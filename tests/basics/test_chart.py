import pytest

from mqar_bench.basics.chart import draw_bars


def test_bars_rise_by_eighths_of_a_character():
    assert draw_bars(range(1, 10), range(9), 8, 9, 1) == [" ▁▂▃▄▅▆▇█"]
    assert draw_bars([1, 2, 3], [0.25, 0.5, 1.0], 1, 3, 2) == ["  █", "▄██"]


@pytest.mark.parametrize("width, line", [(4, "▄▄▄█"), (8, "▄▄▄▄▄▄██"), (2, "▄▄"), (1, "▄")])
def test_the_width_is_shared_by_where_values_end(width, line):
    assert draw_bars([30, 40], [0.5, 1.0], 1, width, 1) == [line]


def test_more_values_than_columns_are_sampled():
    assert draw_bars(range(1, 101), [i / 100 for i in range(1, 101)], 1, 4, 1) == ["▁▃▅▇"]


def test_little_is_more_than_nothing():
    assert draw_bars([1, 2, 3], [0.0, 1e-6, 1.0], 1, 3, 2) == ["  █", " ▁█"]
