"""One decoding token of RAM-Net in one Triton launch: addresses, K slots written, K' slots read.

A program does one head of one sequence. The write is folded into the read: a slot that is read is fetched as it was,
and what the token writes to it is added, so that nothing waits for the state to be stored.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mixers.ramnet.address_triton import read_keys, select_slots
from mixers.ramnet.launch_triton import operator
from mixers.ramnet.memory_kernels import decay, decay_case


@triton.jit
def _column(x, index: tl.constexpr):
    """Column ``index`` of x ``[K, 2]``: ``[K]``."""
    return tl.sum(tl.where(tl.arange(0, 2)[None, :] == index, x, tl.zeros_like(x)), 1)


@triton.jit(do_not_specialize=["H", "K", "R"])
def step_kernel(
    q, k, v, S, z, o, alpha_q, alpha_k, position, cape, H, K, R, gamma, eps,
    U: tl.constexpr, P: tl.constexpr, M: tl.constexpr, DIGITS: tl.constexpr, LOG_K: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, GAMMA: tl.constexpr, SCALED: tl.constexpr, CAPE: tl.constexpr,
    NORMALIZE: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)
    h = tl.program_id(0) % H
    side = tl.arange(0, 2)  # the key and the query are two rows of one address tile
    scale = tl.full((2,), 1.0, tl.float32)
    if SCALED:
        scale = tl.exp(tl.where(side == 0, tl.load(alpha_k + h), tl.load(alpha_q + h)).to(tl.float32))
    start = tl.where(side == 0, k + n * (U * P), q + n * (U * P))
    keys, norm = select_slots(start, side < 2, scale, U, P, DIGITS, LOG_K)
    weights, slots = read_keys(keys, norm)
    if CAPE:
        t = tl.load(position + n)
        slots -= tl.where(tl.load(cape + h) != 0, t % M, 0).to(tl.int32)
        slots = tl.where(slots < 0, slots + M, slots)
        tl.store(position + n, t + 1)
    w, r = _column(weights, 0), _column(weights, 1)
    w_slot, r_slot = _column(slots, 0), _column(slots, 1)
    j, d = tl.arange(0, 1 << LOG_K), tl.arange(0, BLOCK_D)
    write, read = j < K, j < R
    if NORMALIZE:
        r /= tl.sum(tl.where(read, r, 0.0), 0)
    inside = (d < D)[None, :]
    w_place, r_place = n * M + tl.where(write, w_slot, 0), n * M + tl.where(read, r_slot, 0)
    written = tl.load(S + w_place[:, None] * D + d[None, :], write[:, None] & inside, 0.0)
    written_z = tl.load(z + w_place, write, 0.0)
    fetched = tl.load(S + r_place[:, None] * D + d[None, :], read[:, None] & inside, 0.0)
    fetched_z = tl.load(z + r_place, read, 0.0)
    value = tl.load(v + n * D + d, d < D, 0.0).to(tl.float32)
    a = decay(w, gamma, GAMMA)
    # at most one of the writes goes to the slot of a read
    same = (r_slot[:, None] == w_slot[None, :]) & read[:, None] & write[None, :]
    a_read = tl.where(tl.max(same.to(tl.int32), 1) > 0, tl.sum(tl.where(same, a[None, :], 0.0), 1), 1.0)
    w_read = tl.sum(tl.where(same, w[None, :], 0.0), 1)
    c = tl.where(read, r / (a_read * fetched_z + w_read + eps), 0.0)
    out = tl.sum(c[:, None] * (a_read[:, None] * fetched + w_read[:, None] * value[None, :]), 0)
    tl.store(o + n * D + d, out.to(o.dtype.element_ty), d < D)
    tl.debug_barrier()  # every thread has fetched before any stores
    tl.store(
        S + w_place[:, None] * D + d[None, :],
        a[:, None] * written + w[:, None] * value[None, :],
        write[:, None] & inside,
    )
    tl.store(z + w_place, a * written_z + w, write)


@operator("mixers::ramnet_step", mutates_args=("S", "z", "position"))
def step_triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    top_k: int,
    read_top_k: int,
    gamma: float,
    eps: float,
    alpha_q: Tensor | None,
    alpha_k: Tensor | None,
    position: Tensor | None,
    cape: Tensor | None,
    normalize_reads: bool = False,
) -> Tensor:
    """One token on the GPU, in one launch; see ``mixers.ramnet.ramnet_step``."""
    B, H, U, P = q.shape
    D = v.shape[-1]
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    o = torch.empty_like(v)
    log_k = (max(top_k, read_top_k) - 1).bit_length()
    block_d = triton.next_power_of_2(D)
    step_kernel[(B * H,)](
        q, k, v, S, z, o, alpha_q, alpha_k, position, cape, H, top_k, read_top_k, gamma, eps,
        U=U, P=P, M=P**U, DIGITS=min(16, triton.next_power_of_2(P)), LOG_K=log_k, D=D, BLOCK_D=block_d,
        GAMMA=decay_case(gamma), SCALED=alpha_q is not None, CAPE=cape is not None, NORMALIZE=normalize_reads,
        num_warps=min(8, max(1, (block_d << log_k) // 1024)),
    )  # fmt: skip
    return o


@step_triton.register_fake
def _(q, k, v, S, z, top_k, read_top_k, gamma, eps, alpha_q, alpha_k, position, cape, normalize_reads=False):
    return torch.empty_like(v, memory_format=torch.contiguous_format)
