"""Run a compiled kernel over independent rows, in as many threads as torch may use.

The kernels release the GIL, so plain threads do: they sleep when idle and, unlike a second OpenMP pool, never
spin against torch's own threads (on two cores that made a training step ten times slower).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

#: Fast-math flags of all kernels: sums may be reordered (so they vectorise), NaN and inf keep their meaning.
FAST = {"reassoc", "contract", "arcp", "nsz"}


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="mixers")


def over_rows(kernel: Callable[..., None], rows: int, *arrays) -> None:
    """Call ``kernel(lo, hi, *arrays)`` on ranges that cover ``rows``. Results do not depend on the split."""
    threads = min(torch.get_num_threads(), rows)
    if threads <= 1:
        kernel(0, rows, *arrays)
        return
    bounds = [rows * i // threads for i in range(threads + 1)]
    jobs = [_pool(threads).submit(kernel, lo, hi, *arrays) for lo, hi in zip(bounds, bounds[1:], strict=False)]
    for job in jobs:
        job.result()
