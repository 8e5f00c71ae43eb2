"""PDMA on the CPU: compiled, sparse, parallel over (batch, head); defined as equal to ``pdma_reference``.

A row is one head of one sequence. Working memory is two M x D states and a few numbers per token and slot, per
thread. The backward replays the writes of a row, then walks it in reverse. What the decay of a write needs, the
product <dS_t, S_{t-1}> of its slot, it has without keeping any S: with p = <dS, S>, a read adds r_t dr_t to p, and a
write S_t = a S_{t-1} + w v leaves p - w <dS_t, v> = a <dS_t, S_{t-1}>. Only where a is below a half, of which a
division would lose digits, is S_{t-1} kept: for gamma 1, once a token at most, as the weights of a token add up to
at most 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from mixers.ops.lanes import LANES
from mixers.ops.rows import over_rows
from mixers.ramnet.memory import MemoryState
from mixers.ramnet.memory_rows import backward_rows, forward_rows


def _arrays(*tensors: Tensor):
    return [t.detach().contiguous().numpy() for t in tensors]


def _tokens(*tensors: Tensor):
    """``[B, T, H, n]`` as ``[B T H, n]``, slots as unsigned numbers."""
    unsigned = {torch.int32: np.uint32, torch.int64: np.uint64}
    arrays = [
        (a.reshape(-1, a.shape[-1]), unsigned.get(t.dtype)) for a, t in zip(_arrays(*tensors), tensors, strict=True)
    ]
    return [array if dtype is None else array.view(dtype) for array, dtype in arrays]


class _PDMA(torch.autograd.Function):
    """S and z may be empty (the memory then starts blank), and are returned empty unless ``keep``. v and S have
    lines that are multiples of ``LANES``."""

    @staticmethod
    def forward(ctx, w, w_idx, r, r_idx, v, S, z, num_slots, gamma, eps, slope_eps, keep):
        B, T, H, D = v.shape
        o = torch.empty_like(v, memory_format=torch.contiguous_format)
        S_out = v.new_empty((B, H, num_slots, D) if keep else (0, 0, 0, 0))
        z_out = v.new_empty((B, H, num_slots) if keep else (0, 0, 0))
        over_rows(
            forward_rows,
            B * H,
            T,
            H,
            *_tokens(w, w_idx, r, r_idx, v),
            num_slots,
            gamma,
            eps,
            *_arrays(S, z),
            *_tokens(o),
            *_arrays(S_out, z_out),
        )
        ctx.save_for_backward(w, w_idx, r, r_idx, v, S, z)
        ctx.scalars = num_slots, gamma, eps, slope_eps
        ctx.set_materialize_grads(False)
        return o, S_out, z_out

    @staticmethod
    def backward(ctx, do, dS_out, dz_out):
        w, w_idx, r, r_idx, v, S, z = ctx.saved_tensors
        B, T, H, D = v.shape
        M = ctx.scalars[0]
        do = torch.zeros_like(v) if do is None else do
        if dS_out is None and dz_out is None:
            dS_out, dz_out = v.new_empty(0, 0, 0, 0), v.new_empty(0, 0, 0)
        dS_out = v.new_zeros(B, H, M, D) if dS_out is None else dS_out
        dz_out = v.new_zeros(B, H, M) if dz_out is None else dz_out
        grads = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (w, r, v, S, z)]
        over_rows(
            backward_rows,
            B * H,
            T,
            H,
            *_tokens(w, w_idx, r, r_idx, v),
            *ctx.scalars,
            *_arrays(S, z),
            *_tokens(do),
            *_arrays(dS_out, dz_out),
            *_tokens(*grads[:3]),
            *_arrays(*grads[3:]),
        )
        dw, dr, dv, dS, dz = grads
        return dw, None, dr, None, dv, dS, dz, None, None, None, None, None


def pdma_cpu(
    w: Tensor,
    w_idx: Tensor,
    r: Tensor,
    r_idx: Tensor,
    v: Tensor,
    num_slots: int,
    gamma: float,
    eps: float,
    initial_state: MemoryState | None,
    output_final_state: bool,
    proxy_gradient: bool,
) -> tuple[Tensor, MemoryState | None]:
    """Sparse PDMA, float32 or float64 on the CPU. See ``pdma`` for shapes."""
    blank = (v.new_empty(0, 0, 0, 0), v.new_empty(0, 0, 0))
    S, z = blank if initial_state is None else initial_state
    slope_eps = eps if proxy_gradient else 0.0
    D = v.shape[-1]
    if D % LANES:  # autograd sees to the gradients of what is added and cut off
        v = pad(v, (0, -D % LANES))
        S = S if initial_state is None else pad(S, (0, -D % LANES))
    o, S, z = _PDMA.apply(
        w, w_idx, r, r_idx, v, S, z, num_slots, float(gamma), float(eps), slope_eps, output_final_state
    )
    if D % LANES:
        o, S = o[..., :D].contiguous(), S[..., :D].contiguous()
    return o, (S, z) if output_final_state else None
