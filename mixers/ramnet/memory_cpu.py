"""PDMA on the CPU: compiled, sparse, parallel over (batch, head); defined as equal to ``pdma_reference``.

A row is one head of one sequence. Working memory is one M x D state per thread plus the row's K slots per
token; nothing of size T x M exists. The backward replays the writes of a row to recover the states before
each write, then walks the row in reverse.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from mixers.ramnet.memory import MemoryState
from mixers.ramnet.rows import FAST, over_rows


@numba.njit(nogil=True, cache=True, fastmath=FAST, inline="always")
def _decay(w, gamma):
    if gamma == 1:
        return 1 - w
    if gamma == 0:
        return w * 0 + 1
    return max(1 - w, w * 0) ** gamma  # rounding may put a weight just above 1


@numba.njit(nogil=True, cache=True, fastmath=FAST, inline="always")
def _decay_slope(w, gamma, eps):
    """d/dw of ``(eps + (1 - eps)(1 - w)) ** gamma``; eps 0 gives the exact derivative."""
    if gamma == 1:
        return w * 0 - (1 - eps)
    if gamma == 0:
        return w * 0
    return -gamma * (1 - eps) * (eps + (1 - eps) * (1 - w)) ** (gamma - 1)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _begin(b, h, given, S_in, z_in, S, z):
    if given:
        S[:] = S_in[b, h]
        z[:] = z_in[b, h]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _wipe(b, h, slots, S, z, z_value):
    """Reset the slots a row has touched, so that a row costs its events and not M."""
    for t in range(slots.shape[1]):
        for k in range(slots.shape[3]):
            slot = slots[b, t, h, k]
            line = S[slot]
            for d in range(line.shape[0]):
                line[d] = 0
            z[slot] = z_value


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _forward_rows(lo, hi, w, w_idx, r, r_idx, v, M, gamma, eps, S_in, z_in, o, S_out, z_out):
    T, H, K = w.shape[1:]
    R, D = r.shape[3], v.shape[3]
    given, wanted = S_in.size > 0, S_out.size > 0
    one = w.dtype.type(1)
    gamma, eps, start = w.dtype.type(gamma), w.dtype.type(eps), w.dtype.type(1 / M)
    S, z = np.zeros((M, D), w.dtype), np.full(M, start)
    for row in range(lo, hi):
        b, h = row // H, row % H
        _begin(b, h, given, S_in, z_in, S, z)
        for t in range(T):
            x = v[b, t, h]
            for k in range(K):
                weight, slot = w[b, t, h, k], w_idx[b, t, h, k]
                a = _decay(weight, gamma)
                line = S[slot]
                for d in range(D):
                    line[d] = a * line[d] + weight * x[d]
                z[slot] = a * z[slot] + weight
            y = o[b, t, h]
            for d in range(D):
                y[d] = 0
            for k in range(R):
                slot = r_idx[b, t, h, k]
                c = r[b, t, h, k] * (one / (z[slot] + eps))
                line = S[slot]
                for d in range(D):
                    y[d] += c * line[d]
        if wanted:
            S_out[b, h] = S
            z_out[b, h] = z
        if not given:
            _wipe(b, h, w_idx, S, z, start)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _backward_rows(
    lo,
    hi,
    w,
    w_idx,
    r,
    r_idx,
    v,
    M,
    gamma,
    eps,
    slope_eps,
    S_in,
    z_in,
    do,
    dS_out,
    dz_out,
    dw,
    dr,
    dv,
    dS_in,
    dz_in,
):
    T, H, K = w.shape[1:]
    R, D = r.shape[3], v.shape[3]
    given, chained = S_in.size > 0, dS_out.size > 0
    one, zero = w.dtype.type(1), w.dtype.type(0)
    gamma, eps, slope_eps = w.dtype.type(gamma), w.dtype.type(eps), w.dtype.type(slope_eps)
    start = w.dtype.type(1 / M)
    S, z = np.zeros((M, D), w.dtype), np.full(M, start)
    dS, dz = np.zeros((M, D), w.dtype), np.zeros(M, w.dtype)
    S_before, z_before = np.empty((T, K, D), w.dtype), np.empty((T, K), w.dtype)
    to_S, to_z = np.empty((T, R), w.dtype), np.empty((T, R), w.dtype)
    for row in range(lo, hi):
        b, h = row // H, row % H
        _begin(b, h, given, S_in, z_in, S, z)
        for t in range(T):
            x, g = v[b, t, h], do[b, t, h]
            for k in range(K):
                weight, slot = w[b, t, h, k], w_idx[b, t, h, k]
                a = _decay(weight, gamma)
                line, before = S[slot], S_before[t, k]
                for d in range(D):
                    before[d] = line[d]
                    line[d] = a * line[d] + weight * x[d]
                z_before[t, k] = z[slot]
                z[slot] = a * z[slot] + weight
            for k in range(R):
                slot = r_idx[b, t, h, k]
                line = S[slot]
                dot = zero
                for d in range(D):
                    dot += g[d] * line[d]
                inverse = one / (z[slot] + eps)
                dr[b, t, h, k] = dot * inverse
                to_S[t, k] = r[b, t, h, k] * inverse
                to_z[t, k] = -to_S[t, k] * dot * inverse
        _begin(b, h, chained, dS_out, dz_out, dS, dz)
        for t in range(T - 1, -1, -1):
            x, g, dx = v[b, t, h], do[b, t, h], dv[b, t, h]
            for k in range(R):
                slot, c = r_idx[b, t, h, k], to_S[t, k]
                line = dS[slot]
                for d in range(D):
                    line[d] += c * g[d]
                dz[slot] += to_z[t, k]
            for d in range(D):
                dx[d] = 0
            for k in range(K):
                weight, slot = w[b, t, h, k], w_idx[b, t, h, k]
                a = _decay(weight, gamma)
                line, before = dS[slot], S_before[t, k]
                direct, da = dz[slot], dz[slot] * z_before[t, k]
                for d in range(D):
                    direct += line[d] * x[d]
                    da += line[d] * before[d]
                    dx[d] += weight * line[d]
                    line[d] *= a
                dz[slot] *= a
                dw[b, t, h, k] = direct + da * _decay_slope(weight, gamma, slope_eps)
        if given:
            dS_in[b, h] = dS
            dz_in[b, h] = dz
        else:
            _wipe(b, h, w_idx, S, z, start)
        if not chained:
            _wipe(b, h, w_idx, dS, dz, zero)
            _wipe(b, h, r_idx, dS, dz, zero)


def _arrays(*tensors: Tensor):
    return [t.detach().contiguous().numpy() for t in tensors]


class _PDMA(torch.autograd.Function):
    """S and z may be empty (the memory then starts blank), and are returned empty unless ``keep``."""

    @staticmethod
    def forward(ctx, w, w_idx, r, r_idx, v, S, z, num_slots, gamma, eps, slope_eps, keep):
        B, _, H, D = v.shape
        o = torch.empty_like(v, memory_format=torch.contiguous_format)
        S_out = v.new_empty((B, H, num_slots, D) if keep else (0, 0, 0, 0))
        z_out = v.new_empty((B, H, num_slots) if keep else (0, 0, 0))
        over_rows(
            _forward_rows,
            B * H,
            *_arrays(w, w_idx, r, r_idx, v),
            num_slots,
            gamma,
            eps,
            *_arrays(S, z),
            *(t.numpy() for t in (o, S_out, z_out)),
        )
        ctx.save_for_backward(w, w_idx, r, r_idx, v, S, z)
        ctx.scalars = num_slots, gamma, eps, slope_eps
        ctx.set_materialize_grads(False)
        return o, S_out, z_out

    @staticmethod
    def backward(ctx, do, dS_out, dz_out):
        w, w_idx, r, r_idx, v, S, z = ctx.saved_tensors
        B, _, H, D = v.shape
        M = ctx.scalars[0]
        do = torch.zeros_like(v) if do is None else do
        if dS_out is None and dz_out is None:
            dS_out, dz_out = v.new_empty(0, 0, 0, 0), v.new_empty(0, 0, 0)
        dS_out = v.new_zeros(B, H, M, D) if dS_out is None else dS_out
        dz_out = v.new_zeros(B, H, M) if dz_out is None else dz_out
        grads = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (w, r, v, S, z)]
        over_rows(
            _backward_rows,
            B * H,
            *_arrays(w, w_idx, r, r_idx, v),
            *ctx.scalars,
            *_arrays(S, z, do, dS_out, dz_out),
            *(t.numpy() for t in grads),
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
    o, S, z = _PDMA.apply(
        w, w_idx, r, r_idx, v, S, z, num_slots, float(gamma), float(eps), slope_eps, output_final_state
    )
    return o, (S, z) if output_final_state else None
