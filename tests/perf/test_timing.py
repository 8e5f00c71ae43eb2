import time

import pytest
import torch

from mqar_bench.perf.record import Timing
from mqar_bench.perf.timing import MIN_REPEATS, WARM_UP, copy_bandwidth, measure, summarize

CPU = torch.device("cpu")


def test_median_and_percentiles():
    timing = summarize([5.0, 1.0, 2.0, 3.0, 4.0, 100.0])
    assert timing == Timing(median=3.5, low=2.0, high=5.0, repeats=6)
    assert summarize([2.0]) == Timing(median=2.0, low=2.0, high=2.0, repeats=1)


def test_the_time_of_a_part():
    assert summarize([4.0, 8.0, 12.0], parts=4) == Timing(median=2, low=1.4, high=2.6, repeats=3)


@pytest.mark.parametrize("repeats, seconds, expected", [(7, 1e9, 7), (100, 0, MIN_REPEATS)])
def test_calls_are_bounded_by_number_and_time(repeats, seconds, expected):
    calls = []
    timing = measure(lambda: calls.append(1), CPU, repeats, seconds)
    assert timing.repeats == expected
    assert len(calls) == expected + WARM_UP


@pytest.fixture
def clock(monkeypatch):
    """Time passes only where a test says so: a real clock would time whatever else the machine does, too."""

    class Clock:
        now = 0.0

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_time_is_of_the_call(clock):
    timing = measure(lambda: clock.sleep(0.25), CPU, 5, 2.0)
    assert (timing.low, timing.median, timing.high) == (0.25, 0.25, 0.25)


def test_the_first_calls_are_not_timed(clock):
    pauses = iter([8.0] * WARM_UP)
    timing = measure(lambda: clock.sleep(next(pauses, 0.25)), CPU, 5, 100.0)
    assert (timing.low, timing.high) == (0.25, 0.25)


def test_copy_bandwidth_is_of_this_world():
    assert 1e8 < copy_bandwidth(CPU, 0.05, size=2**24) < 1e13
