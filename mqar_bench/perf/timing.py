"""Medians of repeated calls, on a CPU or a GPU; among them a copy, the yardstick for bytes that must move."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from mqar_bench.perf.inputs import make_generator
from mqar_bench.perf.record import Timing

MIN_REPEATS = 3
WARM_UP = 2

#: Overwritten before every timed call on a GPU: larger than any second-level cache there is.
FLUSH_BYTES = 2**28

#: Bytes copied at a time: many times what the caches hold.
COPY_BYTES = {"cuda": 2**30, "cpu": 2**28}


def measure(
    call: Callable[[], object], device: torch.device, repeats: int, seconds: float, flush: bool = True, parts: int = 1
) -> Timing:
    """Time ``call`` after two calls to warm up, the first of which may compile.

    On a GPU the time is that between two events around the call; with ``flush`` the second-level cache is
    overwritten before each, which also gives the processor a head start, so that the time to launch a few kernels
    does not count. On a CPU it is the wall clock's, with the caches as the last call left them.

    Args:
        repeats: timed calls, at most.
        seconds: stop sooner, once the timed calls have taken this long, but not before three of them.
        parts: equal parts that a call does; the time is that of one.
    """
    on_gpu = device.type == "cuda"
    for _ in range(WARM_UP):
        started = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize(device)
        once = time.perf_counter() - started
    count = max(MIN_REPEATS, min(repeats, int(seconds / max(once, 1e-9))))
    if on_gpu:
        return summarize(_cuda_times(call, device, count, flush), parts)
    return summarize(timeit.repeat(call, timer=time.perf_counter, repeat=count, number=1), parts)


def summarize(seconds: Sequence[float], parts: int = 1) -> Timing:
    """``Timing`` of single measurements, in seconds, of which there must be one; each of so many equal parts."""
    low, median, high = (float(x) / parts for x in np.percentile(seconds, (20, 50, 80)))
    return Timing(median=median, low=low, high=high, repeats=len(seconds))


def copy_bandwidth(device: torch.device, seconds: float = 0.5, size: int | None = None) -> float:
    """Bytes read and written a second by ``copy_`` of one large tensor to another, the median.

    Args:
        seconds: time to measure for.
        size: bytes copied; default 1 GiB on a GPU, 256 MiB on a CPU (with torch's threads).
    """
    elements = (COPY_BYTES[device.type] if size is None else size) // 4
    source = torch.rand(elements, generator=make_generator(device, 0), device=device)
    target = torch.empty_like(source)
    return 2 * 4 * elements / measure(lambda: target.copy_(source), device, 50, seconds).median


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


def _cuda_times(call: Callable[[], object], device: torch.device, count: int, flush: bool) -> list[float]:
    buffer = flush_buffer(device)
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    for start, end in pairs:
        if flush:
            buffer.zero_()
        start.record()
        call()
        end.record()
    torch.cuda.synchronize(device)
    return [start.elapsed_time(end) / 1e3 for start, end in pairs]  # milliseconds to seconds
