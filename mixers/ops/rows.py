"""What compiled kernels share: to run over independent rows, in as many threads as torch may use.

The kernels release the GIL, so plain threads do: they sleep when idle and, unlike a second OpenMP pool, never
spin against torch's own threads (on two cores that made a training step ten times slower).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

#: Fast-math flags of kernels: sums may be reordered (so they vectorise), NaN and inf keep their meaning.
FAST = {"reassoc", "contract", "arcp", "nsz"}
#: No sums in another order: for code that says itself in which, and for ``lanes.exponential``, which needs its own.
ORDERED = {"contract", "nsz"}


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


def flat(x: Tensor | None, like: Tensor) -> np.ndarray:
    """All numbers of a tensor in a row, as a kernel takes them; of None, none.

    Without gaps: a slice of one number a token is a row with gaps already.
    """
    return (like.new_empty(0) if x is None else x.detach()).reshape(-1).contiguous().numpy()


def can_compile(*tensors: Tensor | None) -> bool:
    """Whether a compiled kernel may take the place of PyTorch: on the CPU, in float32, with numbers to work on.

    Not in float64, which only checks use: it would be compiled for them alone. Nor under ``torch.compile``, whose graph
    it would break.
    """
    if torch.compiler.is_compiling():
        return False
    given = [x for x in tensors if x is not None]
    fits = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in given)
    return fits and given[0].numel() > 0 and find_spec("numba") is not None
