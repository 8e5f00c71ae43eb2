"""The recurrence on the CPU, compiled: token after token with the state in cache, parallel over (batch, head).

A row is one head of one sequence. No decay is ever divided by or summed, so any strength is right. The forward keeps
the state between blocks of tokens; the backward replays a block, then walks it in reverse with the state before every
token at hand. A block is as long as its states stay in the cache, or the square root of the length if that is more.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixers.ops.lanes import LANES
from mixers.ops.recurrence_rows import DELTA, PLAIN, RANK_ONE, backward_rows, forward_rows
from mixers.ops.rows import flat, over_rows

#: Bytes of the states of a block.
CACHE = 2**17


class _Recurrence(torch.autograd.Function):
    """All of one dtype; a and b as ``term`` says."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        w: Tensor | None,
        a: Tensor | None,
        b: Tensor | None,
        S: Tensor | None,
        term: int,
        scale: float,
        final: bool,
        remember: bool,
    ) -> tuple[Tensor, Tensor | None]:
        B, T, H, K = q.shape
        V = v.shape[-1]
        size = -(-K // LANES) * LANES * V
        block = min(T, max(math.isqrt(T - 1) + 1, CACHE // (size * q.element_size())))
        sizes = T, H, K, V, block, term, scale
        o, S_out = q.new_empty(B, T, H, V), q.new_empty(B, H, K, V) if final else None
        kept = q.new_empty(B * H, (T - 1) // block, size) if remember else None
        w_width = 0 if w is None else 1 if w.dim() == 3 else K
        q_, k_, v_, w_, a_, b_ = (flat(x, q) for x in (q, k, v, w, a, b))
        arrays = q_, k_, v_, w_, w_width, a_, b_, flat(S, q)
        over_rows(forward_rows, B * H, *sizes, *arrays, *(flat(x, q) for x in (o, S_out, kept)))
        ctx.save_for_backward(q, k, v, w, a, b, S, kept)
        ctx.sizes, ctx.w_width = sizes, w_width
        ctx.set_materialize_grads(False)
        return o, S_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor | None, dS_out: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, v, w, a, b, S, kept = ctx.saved_tensors
        do = torch.zeros_like(v) if do is None else do
        grads = [None if x is None else x.new_empty(x.shape) for x in (q, k, v, w, a, b, S)]
        dq, dk, dv, dw, da, db, dS = (flat(x, q) for x in grads)
        q_, k_, v_, w_, a_, b_, S_, kept_, do_, dS_out_ = (flat(x, q) for x in (q, k, v, w, a, b, S, kept, do, dS_out))
        arrays = q_, k_, v_, w_, ctx.w_width, a_, b_, S_, kept_, do_, dS_out_
        rows = q.shape[0] * q.shape[2]
        over_rows(backward_rows, rows, *ctx.sizes, *arrays, dq, dk, dv, dw, da, db, dS)
        return *grads, None, None, None, None


def _run(
    tensors: tuple[Tensor | None, ...], state: Tensor | None, term: int, scale: float, final: bool
) -> tuple[Tensor, Tensor | None]:
    needed = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (*tensors, state))
    return _Recurrence.apply(*tensors, state, term, float(scale), final, needed)


def recurrence_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
    scale: float,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """See ``recurrence``; float32 or float64 on the CPU, all alike. Not differentiable twice."""
    term = PLAIN if a is None else RANK_ONE
    return _run((q, k, v, w, a, b), initial_state, term, scale, output_final_state)


def gated_delta_rule_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    scale: float,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """See ``gated_delta_rule``; float32 or float64 on the CPU, all alike. Not differentiable twice."""
    return _run((q, k, v, g, beta, None), initial_state, DELTA, scale, output_final_state)
