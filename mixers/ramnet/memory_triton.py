"""PDMA on the GPU: sort the accesses by slot once, then scan. See ``memory_kernels`` for how.

Cost follows the T (K + K') accesses of a row and does not depend on M, except where a state is given or asked for.
Kept for the backward: the sorted order (12 or 16 bytes per access) and the state that enters each chunk.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from mixers.ramnet import memory_kernels as kernels
from mixers.ramnet.launch_triton import operator
from mixers.ramnet.memory import MemoryState

#: Accesses per chunk. Longer: fewer values read twice; shorter: more programs.
CHUNK = 256

#: Most memory for the weighted states before they are summed over a token's slots; rows are done in groups to fit.
SCRATCH_BYTES = 1 << 30


class _Plan(NamedTuple):
    """Sizes of one call, and how they are cut into tiles."""

    B: int
    T: int
    H: int
    D: int
    K: int
    R: int
    M: int

    @property
    def rows(self) -> int:
        return self.B * self.H

    @property
    def number(self) -> int:
        """Accesses of a row."""
        return self.T * (self.K + self.R)

    @property
    def chunks(self) -> int:
        return triton.cdiv(self.number, CHUNK)

    @property
    def length(self) -> int:
        """L: a row's accesses, filled up to whole chunks."""
        return self.chunks * CHUNK

    @property
    def block_d(self) -> int:
        return triton.next_power_of_2(self.D)

    @property
    def log_rows(self) -> int:
        return 5 if self.block_d <= 32 else 4

    @property
    def tile(self) -> dict[str, int | bool]:
        wide = self.B * self.T * self.H * max(self.K, self.R, 1) * self.D >= 2**31 or self.rows * self.M >= 2**31
        return {
            "LOG_ROWS": self.log_rows, "CHUNK": CHUNK, "D": self.D, "BLOCK_D": self.block_d, "WIDE": wide,
            "num_warps": max(1, self.block_d // 64),
        }  # fmt: skip

    def groups(self, slots: int, element_size: int) -> list[tuple[int, int]]:
        """Ranges of sequences whose ``[B, T, H, slots, D]`` elements fit in the scratch memory."""
        each = max(1, SCRATCH_BYTES // (self.T * self.H * slots * self.D * element_size))
        return [(b, min(b + each, self.B)) for b in range(0, self.B, each)]


def _plan(v: Tensor, K: int, R: int, M: int) -> _Plan:
    B, T, H, D = v.shape
    return _Plan(B, T, H, D, K, R, M)


def _key_dtype(plan: _Plan) -> torch.dtype:
    return torch.int32 if plan.rows * plan.M < 2**31 else torch.int64


def _sorted(plan: _Plan, w: Tensor, w_idx: Tensor, r: Tensor, r_idx: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keys in sorted order, and in that order tokens, codes and weights ``[rows, L]``."""
    sizes = plan.T, plan.H, plan.K, plan.R
    keys = w.new_empty(plan.rows * plan.number, dtype=_key_dtype(plan))
    kernels.number_slots_kernel[(plan.rows * triton.cdiv(plan.number, 1024),)](
        keys, w_idx, r_idx, plan.M, *sizes, BLOCK=1024
    )
    keys, order = keys.sort(stable=True)
    tokens, codes, weights = _arranged(plan, w)
    kernels.arrange_kernel[(plan.rows * triton.cdiv(plan.length, 1024),)](
        keys, order, w, r, tokens, codes, weights, plan.length, *sizes, BLOCK=1024
    )
    return keys, tokens, codes, weights


def _arranged(plan: _Plan, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shape = plan.rows, plan.length
    tokens, codes = like.new_empty(shape, dtype=torch.int32), like.new_empty(shape, dtype=torch.int32)
    return tokens, codes, like.new_empty(shape, dtype=torch.float32)


def _carries(plan: _Plan, effect: Tensor, effect_z: Tensor, passed: Tensor, up: bool) -> tuple[Tensor, Tensor]:
    carry, carry_z = torch.empty_like(effect), torch.empty_like(effect_z)
    block_d = min(32, plan.block_d)
    kernels.carries_kernel[(plan.rows, triton.cdiv(plan.D, block_d))](
        effect, effect_z, passed, carry, carry_z, plan.chunks,
        UP=up, LOG_ROWS=5, D=plan.D, BLOCK_D=block_d, num_warps=1,
    )  # fmt: skip
    return carry, carry_z


def _sum_slots(plan: _Plan, parts: Tensor, out: Tensor, slots: int) -> None:
    block_d = min(64, plan.block_d)
    block, tokens = max(1, 1024 // block_d), out.numel() // plan.D
    kernels.sum_slots_kernel[(triton.cdiv(tokens, block), triton.cdiv(plan.D, block_d))](
        parts, out, tokens, slots, BLOCK=block, D=plan.D, BLOCK_D=block_d, num_warps=4
    )


@operator("mixers::ramnet_pdma")
def _pdma(
    w: Tensor,
    w_idx: Tensor,
    r: Tensor,
    r_idx: Tensor,
    v: Tensor,
    S: Tensor | None,
    z: Tensor | None,
    num_slots: int,
    gamma: float,
    eps: float,
    slope_eps: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan = _plan(v, w.shape[-1], r.shape[-1], num_slots)
    w, w_idx, r, r_idx, v = (t.contiguous() for t in (w, w_idx, r, r_idx, v))
    S, z = (t if t is None else t.contiguous() for t in (S, z))
    accesses = _sorted(plan, w, w_idx, r, r_idx)
    o, S_out, z_out, carry, carry_z = _outputs(plan, v, S, z, keep)
    effect, effect_z, passed = torch.empty_like(carry), torch.empty_like(carry_z), torch.empty_like(carry_z)
    case = {"GAMMA": kernels.decay_case(gamma), "GIVEN": S is not None}
    kernels.tails_kernel[(plan.rows * plan.chunks,)](
        *accesses, v, S, z, effect, effect_z, passed,
        gamma, plan.length, plan.number, plan.M, 1, **case, **plan.tile,
    )  # fmt: skip
    carry, carry_z = _carries(plan, effect, effect_z, passed, up=False)
    for b, end in plan.groups(plan.R, v.element_size()):
        reads = v.new_empty(end - b, plan.T, plan.H, plan.R, plan.D)
        kernels.scan_reads_kernel[(reads.shape[0] * plan.H * plan.chunks,)](
            *accesses, v, S, z, carry, carry_z, reads, S_out, z_out, gamma, eps, plan.length, plan.number, plan.M,
            plan.R, b * plan.H, b * plan.T * plan.H, 1, KEEP=keep, **case, **plan.tile,
        )  # fmt: skip
        _sum_slots(plan, reads, o[b:end], plan.R)
    return o, S_out, z_out, *accesses, carry, carry_z


def _outputs(
    plan: _Plan, v: Tensor, S: Tensor | None, z: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """o, the final state (as the initial one, or empty if not kept), and room for the chunks' entering states."""
    o = torch.empty_like(v, memory_format=torch.contiguous_format)
    room = partial(torch.empty, dtype=torch.float32, device=v.device)
    if not keep:
        S_out, z_out = room(0), room(0)
    elif S is None or z is None:
        S_out = room(plan.B, plan.H, plan.M, plan.D).zero_()
        z_out = room(plan.B, plan.H, plan.M).fill_(1 / plan.M)
    else:
        S_out, z_out = S.to(torch.float32, copy=True), z.to(torch.float32, copy=True)
    return o, S_out, z_out, room(plan.rows, plan.chunks, plan.D), room(plan.rows, plan.chunks)


@_pdma.register_fake
def _(w, w_idx, r, r_idx, v, S, z, num_slots, gamma, eps, slope_eps, keep):
    plan = _plan(v, w.shape[-1], r.shape[-1], num_slots)
    o, S_out, z_out, carry, carry_z = _outputs(plan, v, S, z, keep)
    keys = w.new_empty(plan.rows * plan.number, dtype=_key_dtype(plan))
    return o, S_out, z_out, keys, *_arranged(plan, w), carry, carry_z


@operator("mixers::ramnet_pdma_backward")
def _pdma_backward(
    do: Tensor,
    dS_out: Tensor | None,
    dz_out: Tensor | None,
    v: Tensor,
    S: Tensor | None,
    z: Tensor | None,
    keys: Tensor,
    tokens: Tensor,
    codes: Tensor,
    weights: Tensor,
    carry: Tensor,
    carry_z: Tensor,
    K: int,
    R: int,
    num_slots: int,
    gamma: float,
    eps: float,
    slope_eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan = _plan(v, K, R, num_slots)
    do, v = do.contiguous(), v.contiguous()
    dS_out, dz_out, S, z = (t if t is None else t.contiguous() for t in (dS_out, dz_out, S, z))
    dw, dr, dv, dS, dz = _gradients(plan, v, S, dS_out, dz_out)
    accesses = keys, tokens, codes, weights
    dz_reads = torch.empty_like(weights)
    tiles = plan.length >> plan.log_rows
    tile_x, tile_z = carry.new_empty(plan.rows, tiles, plan.D), carry.new_empty(plan.rows, tiles)
    effect, effect_z, passed = torch.empty_like(carry), torch.empty_like(carry_z), torch.empty_like(carry_z)
    case = {"GAMMA": kernels.decay_case(gamma), "GIVEN": S is not None, "CHAINED": dS_out is not None}
    kernels.read_gradients_kernel[(plan.rows * plan.chunks,)](
        *accesses, v, S, z, carry, carry_z, do, dS_out, dz_out,
        dr, dz_reads, tile_x, tile_z, effect, effect_z, passed,
        gamma, eps, plan.length, plan.number, plan.M, plan.R, 1, **case, **plan.tile,
    )  # fmt: skip
    right, right_z = _carries(plan, effect, effect_z, passed, up=True)
    for b, end in plan.groups(K, v.element_size()):
        writes = v.new_empty(end - b, plan.T, plan.H, K, plan.D)
        kernels.write_gradients_kernel[(writes.shape[0] * plan.H * plan.chunks,)](
            *accesses, v, S, z, tile_x, tile_z, right, right_z, do, dS_out, dz_out, dz_reads, dw, writes, dS, dz,
            gamma, eps, slope_eps, plan.length, plan.number, plan.M,
            K, b * plan.H, b * plan.T * plan.H, 1, **case, **plan.tile,
        )  # fmt: skip
        _sum_slots(plan, writes, dv[b:end], K)
    return dw, dr, dv, dS, dz


def _gradients(
    plan: _Plan, v: Tensor, S: Tensor | None, dS_out: Tensor | None, dz_out: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dw, dr, dv, dS and dz (the last two empty if no state was given), slots without accesses already filled in."""
    room = partial(torch.empty, dtype=torch.float32, device=v.device)
    dw, dr = room(plan.B, plan.T, plan.H, plan.K), room(plan.B, plan.T, plan.H, plan.R)
    dv = torch.empty_like(v, memory_format=torch.contiguous_format)
    if S is None:
        return dw, dr, dv, room(0), room(0)
    if dS_out is None or dz_out is None:
        return dw, dr, dv, room(S.shape).zero_(), room(S.shape[:-1]).zero_()
    return dw, dr, dv, dS_out.to(torch.float32, copy=True), dz_out.to(torch.float32, copy=True)


@_pdma_backward.register_fake
def _(
    do, dS_out, dz_out, v, S, z, keys, tokens, codes, weights, carry, carry_z, K, R, num_slots, gamma, eps, slope_eps
):
    return _gradients(_plan(v, K, R, num_slots), v, S, dS_out, dz_out)


def _keep(ctx, inputs, output):
    w, _, r, _, v, S, z, num_slots, gamma, eps, slope_eps, keep = inputs
    _, _, _, *arranged = output
    ctx.save_for_backward(v, S, z, *arranged)
    ctx.scalars = w.shape[-1], r.shape[-1], num_slots, gamma, eps, slope_eps
    ctx.keep, ctx.dtypes = keep, (w.dtype, r.dtype)
    ctx.mark_non_differentiable(*arranged)


def _backward(ctx, do, dS_out, dz_out, *_unused):
    v, S, z, *arranged = ctx.saved_tensors
    if not ctx.keep:
        dS_out = dz_out = None
    dw, dr, dv, dS, dz = _pdma_backward(do, dS_out, dz_out, v, S, z, *arranged, *ctx.scalars)
    if S is None:
        dS = dz = None
    dw, dr = dw.to(ctx.dtypes[0]), dr.to(ctx.dtypes[1])
    return dw, None, dr, None, dv, dS, dz, None, None, None, None, None


_pdma.register_autograd(_backward, setup_context=_keep)


def pdma_triton(
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
    """Sparse PDMA on the GPU: values float32, bfloat16 or float16, states float32. See ``pdma`` for shapes."""
    S, z = (None, None) if initial_state is None else initial_state
    slope_eps = eps if proxy_gradient else 0.0
    o, S_out, z_out, *_ = _pdma(
        w.float(), w_idx, r.float(), r_idx, v, S, z,
        num_slots, float(gamma), float(eps), slope_eps, output_final_state,
    )  # fmt: skip
    return o, (S_out, z_out) if output_final_state else None
