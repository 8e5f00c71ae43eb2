"""The sparse delta memory on the CPU: compiled, sparse, parallel over (batch, head); equal to its definition.

A row is one head of one sequence. Working memory is the state of a row, its gradient, and what the backward keeps, per
thread. The backward replays a row and keeps the lines that each write found, then walks it in reverse and puts them
back: no decay is ever divided by, so any strength is right. Where that is more than ``KEPT`` bytes, it is done in
blocks of tokens, with the states between them at hand, as long as makes both take the same room.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from mixers.ops.lanes import LANES
from mixers.ops.rows import flat, over_rows
from mixers.sparse_delta_memory.memory_rows import backward_rows, forward_rows

#: Bytes of kept lines for which a row is one block.
KEPT = 2**20


def _block(T: int, N: int, W: int, line: int) -> int:
    """Tokens in a block, whose writes keep W lines a token of ``line`` bytes each; states have N lines."""
    return max(1, min(T, max(KEPT // (W * line), math.isqrt(T * N // W))))


class _SparseDelta(torch.autograd.Function):
    """All of one dtype; v and S have lines that are multiples of ``LANES``. a ``[B, T, H, W]`` or ``[B, T, H]``."""

    @staticmethod
    def forward(
        ctx: Any,
        k: Tensor,
        k_idx: Tensor,
        q: Tensor,
        q_idx: Tensor,
        v: Tensor,
        beta: Tensor,
        a: Tensor,
        S: Tensor | None,
        N: int,
        final: bool,
    ) -> tuple[Tensor, Tensor | None]:
        B, T, H, width = v.shape
        W, R = k.shape[-1], q.shape[-1]
        o = v.new_empty(v.shape)
        S_out = v.new_empty(B, H, N, width) if final else None
        sizes = T, H, N, W, R, width
        arrays = [flat(x, v) for x in (k, k_idx, q, q_idx, v, beta, a, S)]
        over_rows(forward_rows, B * H, *sizes, a.dim() == 4, *arrays, flat(o, v), flat(S_out, v))
        ctx.save_for_backward(k, k_idx, q, q_idx, v, beta, a, S)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        return o, S_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor | None, dS_out: Tensor | None) -> tuple[Tensor | None, ...]:
        k, k_idx, q, q_idx, v, beta, a, S = ctx.saved_tensors
        T, H, N, W, R, width = ctx.sizes
        do = torch.zeros_like(v) if do is None else do
        dk, dq, dv, dbeta, da = (x.new_empty(x.shape) for x in (k, q, v, beta, a))
        dS = v.new_empty(len(v), H, N, width) if ctx.needs_input_grad[7] else None
        arrays = [flat(x, v) for x in (k, k_idx, q, q_idx, v, beta, a, S, do, dS_out)]
        grads = [flat(x, v) for x in (dk, dq, dv, dbeta, da, dS)]
        block = _block(T, N, W, width * v.element_size())
        over_rows(backward_rows, len(v) * H, *ctx.sizes, block, a.dim() == 4, *arrays, *grads)
        if dS is not None and len(S) == 1:
            dS = dS.sum(0, keepdim=True)
        return dk, None, dq, None, dv, dbeta, da, dS, None, None


def sparse_delta_cpu(
    k: Tensor,
    k_idx: Tensor,
    q: Tensor,
    q_idx: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    num_slots: int,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """See ``sparse_delta``; float32 or float64 on the CPU, all alike. Not differentiable twice."""
    D = v.shape[-1]
    S = initial_state
    if D % LANES:  # autograd sees to the gradients of what is added and cut off
        v = pad(v, (0, -D % LANES))
        S = None if S is None else pad(S, (0, -D % LANES))
    o, S = _SparseDelta.apply(k, k_idx, q, q_idx, v, beta, g.exp(), S, num_slots, output_final_state)
    if D % LANES:
        o, S = o[..., :D], None if S is None else S[..., :D].contiguous()
    return o, S
