"""Which slots were read and written, recorded without changing the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn


class Access(NamedTuple):
    """Every write and read of one forward pass, weights and slots, ``[B, T, H, K]`` each."""

    w: Tensor
    w_idx: Tensor
    r: Tensor
    r_idx: Tensor


@contextmanager
def record_access(model: nn.Module) -> Iterator[dict[str, list[Access]]]:
    """Record the accesses of all RAM-Net mixers in ``model``.

        with record_access(model) as traces:
            model(tokens)
        traces["layers.1.sequence_mixer"][0].w_idx   # [B, T, H, K]

    Yields:
        for each mixer's name, one ``Access`` for each forward pass (or decoding step).
    """
    recorded = {name: module for name, module in model.named_modules() if hasattr(module, "trace")}
    traces: dict[str, list[Access]] = {name: [] for name in recorded}
    for name, module in recorded.items():
        module.trace = traces[name]
    try:
        yield traces
    finally:
        for module in recorded.values():
            module.trace = None
