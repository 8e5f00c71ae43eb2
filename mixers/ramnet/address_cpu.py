"""Product-softmax addresses on the CPU: merge one sub-vector at a time, never look at M slots.

The K best of the sums over u can only be built from the K best partial sums, so keeping ``min(K, seen)`` of them
while merging one sub-vector after the other is exact. ``LANES`` rows go side by side, each in a lane of its own,
through sorting networks (``mixers.ramnet.network``). The gradient is closed form; with p_u the sub-softmax and
i_u(k) the digit of address k,

    dlogit_u[j] = sum_k dw_k w_k (1[i_u(k) = j] - p_u[j]).
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import torch
from torch import Tensor

from mixers.ops.lanes import LANES, exchange, exponential, larger, load, madd, spread, store, where_equal
from mixers.ops.rows import ORDERED, over_rows
from mixers.ramnet.network import top_numbers, top_sums

# the order of the partial sums decides between equals
compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=ORDERED)


@compiled
def _run(pairs, first, last, keys, slots):
    for n in range(first, last):
        exchange(keys, slots, np.intp(pairs[n, 0]) * LANES, np.intp(pairs[n, 1]) * LANES)


@compiled
def _log_softmax(x, at, P, p, p_at, norm):
    """Of P lines of ``x`` from ``at`` on, in place; the softmax to ``p``."""
    one = x.dtype.type(1)
    top = load(x, at)
    for j in range(1, P):
        top = larger(top, load(x, at + j * LANES))
    sums = spread(x.dtype.type(0))
    for j in range(P):
        e = exponential(load(x, at + j * LANES) - top)
        store(p, p_at + j * LANES, e)
        sums = sums + e
    store(norm, 0, sums)
    for i in range(LANES):
        norm[LANES + i] = one / norm[i]
        norm[i] = np.log(norm[i])
    shift, inverse = top + load(norm, 0), load(norm, LANES)
    for j in range(P):
        store(x, at + j * LANES, load(x, at + j * LANES) - shift)
        store(p, p_at + j * LANES, load(p, p_at + j * LANES) * inverse)


@compiled
def _decode_blocks(lo, hi, P, logits, w, slots, p, bounds, sums, pairs, results):
    """Blocks of ``LANES`` rows: logits [N, U P]; w and slots [N, K]; p [blocks, U P LANES]."""
    N, U, K = logits.shape[0], logits.shape[1] // P, w.shape[1]
    room = 1
    for level in range(bounds.shape[0] - 1):
        room = max(room, bounds[level + 1, 0] - bounds[level, 0])
    x = np.empty(U * P * LANES, logits.dtype)
    norm = np.empty(2 * LANES, logits.dtype)
    key, slot = np.empty(room * LANES, logits.dtype), np.empty(room * LANES, np.int32)
    best, digit = np.empty(P * LANES, logits.dtype), np.empty(P * LANES, np.int32)
    total, prefix = np.empty(K * LANES, logits.dtype), np.empty(K * LANES, np.int32)
    base = spread(np.int32(P))
    width, kept = U * P, bounds[1, 2]
    for block in range(lo, hi):
        rows = min(LANES, N - block * LANES)
        for i in range(LANES):
            n = block * LANES + min(i, rows - 1)
            for j in range(width):
                x[j * LANES + i] = logits[n, j]
        for u in range(U):
            _log_softmax(x, u * P * LANES, P, p, (block * U + u) * P * LANES, norm)
            for j in range(P):
                store(key, j * LANES, load(x, (u * P + j) * LANES))
                store(slot, j * LANES, spread(np.int32(j)))
            _run(pairs, 0, bounds[1, 1], key, slot)
            for j in range(kept):
                at = np.intp(results[j]) * LANES
                store(best, j * LANES, load(key, at))
                store(digit, j * LANES, load(slot, at))
            if u == 0:
                for j in range(0, kept * LANES, LANES):
                    store(total, j, load(best, j))
                    store(prefix, j, load(digit, j))
                continue
            for n in range(bounds[u, 0], bounds[u + 1, 0]):
                c, d, at = np.intp(sums[n, 0]) * LANES, np.intp(sums[n, 1]) * LANES, (n - bounds[u, 0]) * LANES
                store(key, at, load(total, c) + load(best, d))
                store(slot, at, load(prefix, c) * base + load(digit, d))
            _run(pairs, bounds[u, 1], bounds[u + 1, 1], key, slot)
            for k in range(bounds[u + 1, 2] - bounds[u, 2]):
                at = np.intp(results[bounds[u, 2] + k]) * LANES
                store(total, k * LANES, load(key, at))
                store(prefix, k * LANES, load(slot, at))
        for k in range(K):
            store(total, k * LANES, exponential(load(total, k * LANES)))
        for i in range(rows):
            for k in range(K):
                w[block * LANES + i, k] = total[k * LANES + i]
                slots[block * LANES + i, k] = prefix[k * LANES + i]


@compiled
def _decode_blocks_backward(lo, hi, w, slots, p, dw, P, shift, dlogits):
    """dlogits [N, U P]; ``shift`` is log2 P if P is a small power of 2, else -1."""
    N, width = dlogits.shape
    K, U = w.shape[1], width // P
    zero = w.dtype.type(0)
    g, rest = np.empty(K * LANES, w.dtype), np.empty(K * LANES, np.int32)
    digit, d_x = np.empty(K * LANES, np.int32), np.empty(width * LANES, w.dtype)
    for block in range(lo, hi):
        rows = min(LANES, N - block * LANES)
        for i in range(LANES):
            n = block * LANES + min(i, rows - 1)
            for k in range(K):
                g[k * LANES + i] = w[n, k] * dw[n, k]
                rest[k * LANES + i] = slots[n, k]
        mass = spread(zero)
        for k in range(K):
            mass = mass + load(g, k * LANES)
        for u in range(U - 1, -1, -1):
            if shift >= 0:
                for k in range(K * LANES):
                    digit[k] = rest[k] & (P - 1)
                    rest[k] >>= shift
                for j in range(u * P, u * P + P):
                    even, odd, here = spread(zero), spread(zero), spread(np.int32(j - u * P))
                    for k in range(0, (K - 1) * LANES, 2 * LANES):
                        even = even + where_equal(load(digit, k), here, load(g, k))
                        odd = odd + where_equal(load(digit, k + LANES), here, load(g, k + LANES))
                    if K % 2:
                        even = even + where_equal(load(digit, (K - 1) * LANES), here, load(g, (K - 1) * LANES))
                    store(d_x, j * LANES, even + odd)
            else:
                for j in range(u * P * LANES, (u + 1) * P * LANES):
                    d_x[j] = zero
                for k in range(K):
                    for i in range(LANES):
                        quotient = rest[k * LANES + i] // P
                        j = rest[k * LANES + i] - quotient * P
                        d_x[(u * P + j) * LANES + i] += g[k * LANES + i]
                        rest[k * LANES + i] = quotient
        minus = spread(zero) - mass
        for j in range(width):
            store(d_x, j * LANES, madd(load(p, (block * width + j) * LANES), minus, load(d_x, j * LANES)))
        for i in range(rows):
            for j in range(width):
                dlogits[block * LANES + i, j] = d_x[j * LANES + i]


@lru_cache(64)  # K changes while training shrinks it
def _networks(order: int, sub_dim: int, top_k: int):
    """The selection of each level one after another, and where each begins in the three arrays."""
    parts = [top_numbers(sub_dim, min(top_k, sub_dim))]
    for _ in range(1, order):
        parts.append(top_sums(len(parts[-1][2]), len(parts[0][2]), top_k))
    bounds = np.zeros((order + 1, 3), np.int64)
    np.cumsum([[len(array) for array in part] for part in parts], axis=0, out=bounds[1:])
    return bounds, *(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


class _DecodeAddress(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, top_k: int):
        lead, (order, sub_dim) = logits.shape[:-2], logits.shape[-2:]
        flat = logits.detach().reshape(-1, order * sub_dim).contiguous()
        blocks = -(-len(flat) // LANES)
        w = flat.new_empty(len(flat), top_k)
        slots = torch.empty(len(flat), top_k, dtype=torch.int32)
        p = flat.new_empty(blocks, order * sub_dim * LANES)
        arrays = (t.numpy() for t in (flat, w, slots, p))
        over_rows(_decode_blocks, blocks, sub_dim, *arrays, *_networks(order, sub_dim, top_k))
        ctx.save_for_backward(w, slots, p)
        ctx.shape = logits.shape
        slots = slots.view(*lead, top_k)
        ctx.mark_non_differentiable(slots)
        return w.view(*lead, top_k), slots

    @staticmethod
    def backward(ctx, dw: Tensor, _dslots):
        w, slots, p = ctx.saved_tensors
        order, sub_dim = ctx.shape[-2:]
        dlogits = w.new_empty(len(w), order * sub_dim)
        shift = sub_dim.bit_length() - 1 if sub_dim <= 16 and sub_dim & (sub_dim - 1) == 0 else -1
        arrays = (t.numpy() for t in (w, slots, p, dw.reshape(w.shape).contiguous()))
        over_rows(_decode_blocks_backward, len(p), *arrays, sub_dim, shift, dlogits.numpy())
        return dlogits.view(ctx.shape), None


def decode_address_cpu(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Exact Top-K addresses; same contract as ``decode_address_reference``, float32 or float64 on the CPU.

    Cost per token follows ``U K log K`` and the networks that sort d_p numbers, and does not depend on M.
    """
    return _DecodeAddress.apply(logits, top_k)
