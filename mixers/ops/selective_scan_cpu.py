"""The selective scan on the CPU, compiled: token after token, parallel over sequences.

The forward keeps the state between blocks of tokens, from which the backward replays a block at a time. A block is as
long as what it needs stays in the cache, or the square root of the length if that is more.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixers.ops.lanes import LANES
from mixers.ops.rows import flat, over_rows
from mixers.ops.selective_scan_rows import backward_rows, forward_rows

#: Bytes of what a block needs for as many channels as are computed at once.
CACHE = 2**17


class _SelectiveScan(torch.autograd.Function):
    """All of one dtype; A and states transposed, ``[N, D]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        batch, T, D = x.shape
        N = len(A)
        block = min(T, max(math.isqrt(T - 1) + 1, CACHE // (4 * N * LANES * x.element_size())))
        y, h_out = x.new_empty(batch, T, D), x.new_empty(batch, N, D)
        width = -(-D // LANES) * LANES
        kept = x.new_empty(batch, (T - 1) // block, N, width) if any(ctx.needs_input_grad) else None
        arrays = (flat(each, x) for each in (x, dt, A, B, C, h, y, h_out, kept))
        over_rows(forward_rows, batch, T, D, N, block, *arrays)
        ctx.save_for_backward(x, dt, B, C, A, h, kept)
        ctx.block = block
        ctx.set_materialize_grads(False)
        return y, h_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dh_out: Tensor | None) -> tuple[Tensor, ...]:
        x, dt, B, C, A, h, kept = ctx.saved_tensors
        batch, T, D = x.shape
        N = len(A)
        dx, ddt, dB, dC, dh = (each.new_empty(each.shape) for each in (x, dt, B, C, h))
        dA = x.new_empty(batch, N, D)
        given = (x, dt, A, B, C, h, kept, dy, dh_out)
        arrays = (flat(each, x) for each in (*given, dx, ddt, dA, dB, dC, dh))
        over_rows(backward_rows, batch, T, D, N, ctx.block, *arrays)
        return dx, ddt, dB, dC, dA.sum(0), dh


def selective_scan_cpu(
    x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``selective_scan``; float32 or float64 on the CPU, all alike. Not differentiable twice."""
    y, h = _SelectiveScan.apply(x, dt, B, C, A.t(), initial_state.transpose(1, 2))
    return y, h.transpose(1, 2)
