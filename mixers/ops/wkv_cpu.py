"""RWKV-4's average on the CPU, compiled: token after token, parallel over sequences.

The backward replays a sequence, then walks it in reverse with the states before all of its tokens at hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixers.ops.rows import flat, over_rows
from mixers.ops.wkv_rows import backward_rows, forward_rows


class _WKV(torch.autograd.Function):
    """All of one dtype. The last state's largest exponent takes no gradient: p and q take all there is."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
        k = given[0]
        batch, T, C = k.shape
        y, states = k.new_empty(batch, T, C), tuple(k.new_empty(batch, C) for _ in range(3))
        over_rows(forward_rows, batch, T, C, *(flat(each, k) for each in (*given, y, *states)))
        ctx.save_for_backward(*given)
        ctx.mark_non_differentiable(states[2])
        return y, *states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dp: Tensor, dq: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        given = ctx.saved_tensors
        k, _, w, u, *states = given
        batch, T, C = k.shape
        dk, dv = k.new_empty(batch, T, C), k.new_empty(batch, T, C)
        dw, du, *to_states = (k.new_empty(batch, C) for _ in range(2 + len(states)))
        arrays = (flat(each, k) for each in (*given, dy, dp, dq, dk, dv, dw, du, *to_states))
        over_rows(backward_rows, batch, T, C, *arrays)
        return dk, dv, dw.sum(0), du.sum(0), *to_states


def wkv_cpu(k: Tensor, v: Tensor, w: Tensor, u: Tensor, p: Tensor, q: Tensor, o: Tensor) -> tuple[Tensor, ...]:
    """See ``wkv``; float32 or float64 on the CPU, all alike. Not differentiable twice."""
    return _WKV.apply(k, v, w, u, p, q, o)
