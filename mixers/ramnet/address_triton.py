"""Product-softmax addresses on the GPU: one fused Triton kernel each way, nothing of size M.

As on the CPU, the K best sums over u are merged one sub-vector at a time. A candidate is one 64-bit key, its cost
(the largest possible sum less its own, never negative, so that its float bits order like an integer) above its
slot: the smallest keys are the best addresses, equal costs go to the lower slot. The running K best are kept
sorted; sub-vector u turns them into d_p sorted lists, one per digit, which are merged pairwise by bitonic
networks. The tile is ``[K, rows]`` with the rows on the lanes, so that a row's networks stay within a thread.

CAPE's shift is applied to the finished slots and undone by the backward, which is closed form (see
``address_cpu``).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mixers.ramnet.launch_triton import operator

#: Above every real key: a cost that is no number and a slot that does not exist.
_NOTHING = tl.constexpr(0x7FFFFFFFFFFFFFFF)


@triton.jit
def _exchange(x, apart: tl.constexpr, block: tl.constexpr):
    """Order all pairs of rows ``apart`` in x ``[K, N]``: ascending in even blocks of rows, descending in odd ones."""
    K: tl.constexpr = x.shape[0]
    N: tl.constexpr = x.shape[1]
    pairs = tl.reshape(x, (K // (2 * apart), 2, apart, N))
    side = tl.arange(0, 2)[None, :, None, None]
    group = tl.arange(0, K // (2 * apart))[:, None, None, None]
    descending = (group // (block // (2 * apart))) % 2
    low, high = tl.min(pairs, 1, keep_dims=True), tl.max(pairs, 1, keep_dims=True)
    return tl.reshape(tl.where(side == descending, low, high), (K, N))


@triton.jit
def _merge_bitonic(x, LOG_K: tl.constexpr):
    """Sort a bitonic sequence of rows, x ``[2 ** LOG_K, N]``, upwards."""
    for i in tl.static_range(LOG_K):
        x = _exchange(x, 1 << (LOG_K - 1 - i), 1 << LOG_K)
    return x


@triton.jit
def _sort(x, LOG_K: tl.constexpr):
    for stage in tl.static_range(1, LOG_K + 1):
        for i in tl.static_range(stage):
            x = _exchange(x, 1 << (stage - 1 - i), 1 << stage)
    return x


@triton.jit
def _reverse(x, LOG_K: tl.constexpr):
    """The rows of x ``[2 ** LOG_K, N]`` in opposite order (the sums cancel to moves)."""
    N: tl.constexpr = x.shape[1]
    for i in tl.static_range(LOG_K):
        pairs = tl.reshape(x, (1 << (LOG_K - 1 - i), 2, 1 << i, N))
        x = tl.reshape(tl.sum(pairs, 1, keep_dims=True) - pairs, (1 << LOG_K, N))
    return x


@triton.jit
def _key(cost, slot):
    return (cost.to(tl.int32, bitcast=True).to(tl.int64) << 32) | slot.to(tl.int64)


@triton.jit
def _cost(key):
    return (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _slot(key):
    return (key & 0xFFFFFFFF).to(tl.int32)


@triton.jit
def _extend(keys, cost, digit, P: tl.constexpr):
    """Append ``digit``, at ``cost`` ``[N]``, to all partial addresses ``[K, N]``."""
    longer = _key(_cost(keys) + cost[None, :], _slot(keys) * P + digit)
    return tl.where(keys == _NOTHING, keys, longer)


@triton.jit
def _digits(x, first, real, P: tl.constexpr, DIGITS: tl.constexpr, other):
    """Numbers first ... first + DIGITS - 1 of the P at each pointer of x ``[N]``: ``[DIGITS, N]``."""
    digit = first + tl.arange(0, DIGITS)[:, None]
    return tl.load(x[None, :] + digit, real[None, :] & (digit < P), other).to(tl.float32)


@triton.jit
def _largest(x, real, P: tl.constexpr, DIGITS: tl.constexpr):
    """Largest of the P numbers at each pointer of x ``[N]``."""
    top = tl.max(_digits(x, 0, real, P, DIGITS, float("-inf")), 0)
    for first in range(DIGITS, P, DIGITS):
        top = tl.maximum(top, tl.max(_digits(x, first, real, P, DIGITS, float("-inf")), 0))
    return tl.where(real, top, 0.0)


@triton.jit
def _log_norm(x, real, top, scale, P: tl.constexpr, DIGITS: tl.constexpr):
    """``log sum exp(scale (x_j - top))`` over the P numbers at each pointer of x ``[N]``."""
    norm = tl.zeros_like(top)
    for first in range(0, P, DIGITS):
        value = _digits(x, first, real, P, DIGITS, float("-inf"))
        norm += tl.sum(tl.exp((value - top[None, :]) * scale[None, :]), 0)
    return tl.log(tl.where(real, norm, 1.0))


@triton.jit
def select_slots(x, real, scale, U: tl.constexpr, P: tl.constexpr, DIGITS: tl.constexpr, LOG_K: tl.constexpr):
    """The ``2 ** LOG_K`` best addresses of the U sub-vectors at each pointer of x ``[N]``, times ``scale`` ``[N]``.

    Returns keys ``[2 ** LOG_K, N]``, best first, and the log-norms summed over u ``[N]``.
    """
    K: tl.constexpr = 1 << LOG_K
    digit = tl.arange(0, K)[:, None]
    top = _largest(x, real, P, DIGITS)
    norm = _log_norm(x, real, top, scale, P, DIGITS)
    best = tl.full((K, x.shape[0]), _NOTHING, tl.int64)
    for first in range(0, P, K):  # the first sub-vector: sort K digits at a time
        inside = first + digit < P
        value = tl.load(x[None, :] + first + digit, real[None, :] & inside, 0.0).to(tl.float32)
        keys = tl.where(inside, _key((top[None, :] - value) * scale[None, :], first + digit), _NOTHING)
        keys = _sort(keys, LOG_K)
        best = keys if P <= K else _merge_bitonic(tl.minimum(best, _reverse(keys, LOG_K)), LOG_K)
    for _ in range(1, U):
        x += P
        top = _largest(x, real, P, DIGITS)
        norm += _log_norm(x, real, top, scale, P, DIGITS)
        backwards = _reverse(best, LOG_K)
        best = _extend(best, (top - tl.load(x, real, 0.0).to(tl.float32)) * scale, 0, P)
        for j in range(1, P):
            cost = (top - tl.load(x + j, real, 0.0).to(tl.float32)) * scale
            # the lesser of an ascending and a descending list, row by row: the K smallest, in bitonic order
            best = _merge_bitonic(tl.minimum(best, _extend(backwards, cost, j, P)), LOG_K)
    return best, norm


@triton.jit
def read_keys(keys, norm):
    """Weights (float32) and slots (int32) of ``select_slots``' keys; those of empty keys mean nothing."""
    return tl.exp(-_cost(keys) - norm[None, :]), _slot(keys)


@triton.jit
def _shift(position_ptr, cape_ptr, n, real, T, H, stride_b, stride_t, M: tl.constexpr):
    """How far CAPE moves the slots of rows n ``[N]`` (rows run over B, T, H): t mod M in its heads, else 0."""
    b, t, h = n // (T * H), (n // H) % T, n % H
    position = tl.load(position_ptr + b * stride_b + t * stride_t, real, 0)
    return tl.where(tl.load(cape_ptr + h, real, 0) != 0, position % M, 0).to(tl.int32)


@triton.jit(do_not_specialize=["N", "K", "T", "H"])
def decode_address_kernel(
    logits, weights, slots, position, cape, N, K, T, H, stride_b, stride_t,
    U: tl.constexpr, P: tl.constexpr, M: tl.constexpr, DIGITS: tl.constexpr, LOG_K: tl.constexpr, BLOCK: tl.constexpr,
    CAPE: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = n < N
    keys, norm = select_slots(logits + n * (U * P), real, tl.full((BLOCK,), 1.0, tl.float32), U, P, DIGITS, LOG_K)
    w, slot = read_keys(keys, norm)
    if CAPE:
        slot -= _shift(position, cape, n, real, T, H, stride_b, stride_t, M)[None, :]
        slot = tl.where(slot < 0, slot + M, slot)
    k = tl.arange(0, 1 << LOG_K)[:, None]
    keep = real[None, :] & (k < K)
    tl.store(weights + n[None, :] * K + k, w, keep)
    tl.store(slots + n[None, :] * K + k, slot, keep)


@triton.jit(do_not_specialize=["N", "K", "T", "H"])
def decode_address_backward_kernel(
    logits, weights, slots, dweights, dlogits, position, cape, N, K, T, H, stride_b, stride_t,
    U: tl.constexpr, P: tl.constexpr, M: tl.constexpr, DIGITS: tl.constexpr, LOG_K: tl.constexpr, BLOCK: tl.constexpr,
    CAPE: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = n < N
    k = tl.arange(0, 1 << LOG_K)[:, None]
    keep = real[None, :] & (k < K)
    g = tl.load(dweights + n[None, :] * K + k, keep, 0.0) * tl.load(weights + n[None, :] * K + k, keep, 0.0)
    slot = tl.load(slots + n[None, :] * K + k, keep, 0)
    if CAPE:
        slot += _shift(position, cape, n, real, T, H, stride_b, stride_t, M)[None, :]
        slot = tl.where(slot >= M, slot - M, slot)
    mass = tl.sum(g, 0)
    one = tl.full((BLOCK,), 1.0, tl.float32)
    base = n * (U * P) + U * P
    for _ in range(U):  # from the least significant digit
        base -= P
        x = logits + base
        top = _largest(x, real, P, DIGITS)
        norm = top + _log_norm(x, real, top, one, P, DIGITS)
        for first in range(0, P, DIGITS):
            digit = first + tl.arange(0, DIGITS)
            inside = real[None, :] & (digit < P)[:, None]
            chosen = tl.sum(tl.where((slot % P)[:, None, :] == digit[None, :, None], g[:, None, :], 0.0), 0)
            p = tl.exp(tl.load(x[None, :] + digit[:, None], inside, 0.0).to(tl.float32) - norm[None, :])
            gradient = chosen - p * mass[None, :]
            place = dlogits + base[None, :] + digit[:, None]
            tl.store(place, gradient.to(dlogits.dtype.element_ty), inside)
        slot = slot // P


def _tile(sub_dim: int, top_k: int, forward: bool) -> dict[str, int]:
    """Tile of the kernels: rows on the lanes, and as many keys in a thread as its registers hold."""
    log_k = (top_k - 1).bit_length()
    rows = max(1, min(128, (1024 if forward and log_k < 6 else 512) >> log_k))
    digits = min(16 if forward or log_k < 6 else 8, triton.next_power_of_2(sub_dim))
    return {"DIGITS": digits, "LOG_K": log_k, "BLOCK": rows, "num_warps": max(1, rows // 32) if log_k <= 10 else 4}


def _places(position: Tensor | None, cape: Tensor | None, lead: torch.Size) -> tuple:
    """The kernels' arguments for CAPE: pointers, T, H and the strides of ``position`` over batch and time."""
    if position is None or cape is None:
        return None, None, 1, 1, 0, 0
    B, T, H = lead
    position = position.expand(B, T)
    return position, cape, T, H, *position.stride()


@operator("mixers::ramnet_decode_address")
def decode_address_triton(
    logits: Tensor, top_k: int, position: Tensor | None, cape: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Exact Top-K addresses, CAPE included; see ``mixers.ramnet.decode_address``."""
    *lead, U, P = logits.shape
    logits = logits.contiguous()
    w = logits.new_empty(*lead, top_k, dtype=torch.float32)
    slots = logits.new_empty(*lead, top_k, dtype=torch.int32)
    position, cape, T, H, stride_b, stride_t = _places(position, cape, torch.Size(lead))
    N, tile = w.numel() // top_k, _tile(P, top_k, forward=True)
    if N:
        decode_address_kernel[(triton.cdiv(N, tile["BLOCK"]),)](
            logits, w, slots, position, cape, N, top_k, T, H, stride_b, stride_t,
            U=U, P=P, M=P**U, CAPE=cape is not None, **tile,
        )  # fmt: skip
    return w, slots


@decode_address_triton.register_fake
def _(logits, top_k, position, cape):
    lead = logits.shape[:-2]
    return (
        logits.new_empty(*lead, top_k, dtype=torch.float32),
        logits.new_empty(*lead, top_k, dtype=torch.int32),
    )


@operator("mixers::ramnet_decode_address_backward")
def _decode_address_backward(
    logits: Tensor, w: Tensor, slots: Tensor, dw: Tensor, position: Tensor | None, cape: Tensor | None
) -> Tensor:
    *lead, U, P = logits.shape
    top_k = w.shape[-1]
    logits, dw = logits.contiguous(), dw.to(torch.float32).contiguous()
    dlogits = torch.empty_like(logits)
    position, cape, T, H, stride_b, stride_t = _places(position, cape, torch.Size(lead))
    N, tile = w.numel() // top_k, _tile(P, top_k, forward=False)
    if N:
        decode_address_backward_kernel[(triton.cdiv(N, tile["BLOCK"]),)](
            logits, w, slots, dw, dlogits, position, cape, N, top_k, T, H, stride_b, stride_t,
            U=U, P=P, M=P**U, CAPE=cape is not None, **tile,
        )  # fmt: skip
    return dlogits


@_decode_address_backward.register_fake
def _(logits, w, slots, dw, position, cape):
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _keep(ctx, inputs, output):
    logits, _, position, cape = inputs
    ctx.save_for_backward(logits, *output, position, cape)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, dw, _dslots):
    logits, w, slots, position, cape = ctx.saved_tensors
    return _decode_address_backward(logits, w, slots, dw, position, cape), None, None, None


decode_address_triton.register_autograd(_backward, setup_context=_keep)
