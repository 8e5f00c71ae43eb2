"""How fast this device copies: the yardstick for bytes that must move."""

from __future__ import annotations

import torch

from mqar_bench.perf.inputs import make_generator
from mqar_bench.perf.timing import measure

#: Bytes copied at a time: many times what the caches hold.
COPY_BYTES = {"cuda": 2**30, "cpu": 2**28}


def copy_bandwidth(device: torch.device, seconds: float = 0.5, size: int | None = None) -> float:
    """Bytes read and written a second by ``copy_`` of one large tensor to another, the median.

    Args:
        seconds: time to measure for.
        size: bytes copied; default 1 GiB on a GPU, 256 MiB on a CPU (with torch's threads).
    """
    elements = (COPY_BYTES[device.type] if size is None else size) // 4
    source = torch.rand(elements, generator=make_generator(device, 0), device=device)
    target = torch.empty_like(source)
    timing = measure(lambda: target.copy_(source), device, repeats=50, seconds=seconds)
    return 2 * 4 * elements / timing.median
