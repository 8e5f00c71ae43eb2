"""Medians of repeated calls, on a CPU or a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from mqar_bench.config import Frozen

MIN_REPEATS = 3
WARM_UP = 2

#: Overwritten before every timed call on a GPU: larger than any second-level cache there is.
FLUSH_BYTES = 2**28


class Timing(Frozen):
    """Seconds of one call: the median, and as its spread the 20th and the 80th percentile."""

    median: float
    low: float
    high: float
    repeats: int

    def divided(self, calls: int) -> Timing:
        """The time of one of ``calls`` equal parts."""
        parts = (self.median / calls, self.low / calls, self.high / calls)
        return Timing(median=parts[0], low=parts[1], high=parts[2], repeats=self.repeats)


def summarize(seconds: list[float]) -> Timing:
    """``Timing`` of single measurements, in seconds; there must be one."""
    low, median, high = (float(x) for x in np.percentile(seconds, (20, 50, 80)))
    return Timing(median=median, low=low, high=high, repeats=len(seconds))


def measure(
    call: Callable[[], object], device: torch.device, repeats: int, seconds: float, flush: bool = True
) -> Timing:
    """Time ``call`` after two calls to warm up, the first of which may compile.

    On a GPU the time is that between two events around the call; with ``flush`` the second-level cache is
    overwritten before each, which also gives the processor a head start, so that the time to launch a few kernels
    does not count. On a CPU it is the wall clock's, with the caches as the last call left them.

    Args:
        repeats: timed calls, at most.
        seconds: stop sooner, once the timed calls have taken this long, but not before three of them.
    """
    for _ in range(WARM_UP):
        started = time.perf_counter()
        call()
        _wait(device)
        once = time.perf_counter() - started
    count = max(MIN_REPEATS, min(repeats, int(seconds / max(once, 1e-9))))
    return summarize(_cuda_times(call, device, count, flush) if device.type == "cuda" else _cpu_times(call, count))


def capture(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """``call`` as a CUDA graph, to be replayed: its kernels without the time to launch them one by one.

    The inputs of the replays are the tensors that ``call`` used, with what is in them then.
    """
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):  # kernels compile, and libraries take their workspaces, before the capture
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


@cache
def flush_buffer(device: torch.device) -> Tensor:
    """What is overwritten to empty the GPU's second-level cache."""
    return torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device)


def _cpu_times(call: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def _cuda_times(call: Callable[[], object], device: torch.device, count: int, flush: bool) -> list[float]:
    buffer = flush_buffer(device)
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    for start, end in pairs:
        if flush:
            buffer.zero_()
        start.record()
        call()
        end.record()
    _wait(device)
    return [start.elapsed_time(end) / 1e3 for start, end in pairs]  # milliseconds to seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
