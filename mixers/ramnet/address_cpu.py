"""Product-softmax addresses on the CPU: merge one sub-vector at a time, never look at M slots.

The K best of the sums over u can only be built from the K best partial sums, so keeping ``min(K, seen)`` of
them while merging one sub-vector after the other is exact. The gradient is closed form; with p_u the
sub-softmax and i_u(k) the digit of address k,

    dlogit_u[j] = sum_k dw_k w_k (1[i_u(k) = j] - p_u[j]).
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from mixers.ramnet.rows import FAST, over_rows


@numba.njit(nogil=True, cache=True, fastmath=FAST, inline="always")
def _log_norm(x):
    """``log sum exp``, so that ``exp(x - _log_norm(x))`` is the softmax."""
    top = x[0]
    for j in range(1, x.size):
        top = max(top, x[j])
    norm = top - top
    for j in range(x.size):
        norm += np.exp(x[j] - top)
    return top + np.log(norm)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _decode_rows(lo, hi, logits, w, slots):  # logits [N, U, P], w and slots [N, K]
    U, P = logits.shape[1], logits.shape[2]
    K = w.shape[1]
    keep = min(K, P)
    best = np.empty(keep, logits.dtype)  # the sub-vector's largest log-probabilities, descending
    digit = np.empty(keep, np.int64)
    pointer = np.empty(keep, np.int64)
    total, new_total = np.empty(K, logits.dtype), np.empty(K, logits.dtype)
    prefix, new_prefix = np.empty(K, np.int64), np.empty(K, np.int64)
    for n in range(lo, hi):
        total[0], prefix[0], count = 0, 0, 1
        for u in range(U):
            x = logits[n, u]
            shift = _log_norm(x)
            kept = 0
            for j in range(P):  # insertion keeps equal values in digit order
                value = x[j] - shift
                if kept == keep and not value > best[kept - 1]:
                    continue
                if kept < keep:
                    kept += 1
                i = kept - 1
                while i > 0 and value > best[i - 1]:
                    best[i], digit[i] = best[i - 1], digit[i - 1]
                    i -= 1
                best[i], digit[i] = value, j
            # pop the largest of total[c] + best[i] again and again; row i opens when row i - 1 was used
            for i in range(kept):
                pointer[i] = 0
            new_count = min(K, count * kept)
            for k in range(new_count):
                chosen, value, slot = -1, total[0], np.int64(0)
                for i in range(kept):
                    c = pointer[i]
                    if c < count:
                        candidate = total[c] + best[i]
                        candidate_slot = prefix[c] * P + digit[i]
                        if chosen < 0 or candidate > value or (candidate == value and candidate_slot < slot):
                            chosen, value, slot = i, candidate, candidate_slot
                    if c == 0:
                        break
                pointer[chosen] += 1
                new_total[k], new_prefix[k] = value, slot
            total, new_total = new_total, total
            prefix, new_prefix = new_prefix, prefix
            count = new_count
        for k in range(K):
            w[n, k] = np.exp(total[k])
            slots[n, k] = prefix[k]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _decode_rows_backward(lo, hi, logits, w, slots, dw, dlogits):
    U, P = logits.shape[1], logits.shape[2]
    K = w.shape[1]
    for n in range(lo, hi):
        mass = logits.dtype.type(0)
        for u in range(U):
            for j in range(P):
                dlogits[n, u, j] = 0
        for k in range(K):
            g = dw[n, k] * w[n, k]
            mass += g
            rest = np.int64(slots[n, k])
            for u in range(U - 1, -1, -1):
                dlogits[n, u, rest % P] += g
                rest //= P
        for u in range(U):
            x = logits[n, u]
            shift = _log_norm(x)
            for j in range(P):
                dlogits[n, u, j] -= np.exp(x[j] - shift) * mass


class _DecodeAddress(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, top_k: int):
        lead = logits.shape[:-2]
        flat = logits.detach().reshape(-1, *logits.shape[-2:]).contiguous()
        w = flat.new_empty(flat.shape[0], top_k)
        slots = torch.empty(flat.shape[0], top_k, dtype=torch.int32)
        over_rows(_decode_rows, flat.shape[0], flat.numpy(), w.numpy(), slots.numpy())
        ctx.save_for_backward(flat, w, slots)
        ctx.lead = lead
        slots = slots.view(*lead, top_k)
        ctx.mark_non_differentiable(slots)
        return w.view(*lead, top_k), slots

    @staticmethod
    def backward(ctx, dw: Tensor, _dslots):
        flat, w, slots = ctx.saved_tensors
        dlogits = torch.empty_like(flat)
        dw = dw.reshape(w.shape).contiguous()
        over_rows(
            _decode_rows_backward,
            flat.shape[0],
            flat.numpy(),
            w.numpy(),
            slots.numpy(),
            dw.numpy(),
            dlogits.numpy(),
        )
        return dlogits.view(*ctx.lead, *flat.shape[-2:]), None


def decode_address_cpu(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Exact Top-K addresses; same contract as ``decode_address_reference``, float32 or float64 on the CPU.

    Cost per token is ``O(U (d_p log K + K min(K, d_p)))`` and does not depend on M.
    """
    return _DecodeAddress.apply(logits, top_k)
