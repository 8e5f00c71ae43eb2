"""Random inputs from seeded generators; torch's global one is never touched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mixers.ramnet import decode_address
from mixers.ramnet.address import product_log_softmax

#: Two log-scores closer than this may change places by rounding, and another slot would then be chosen.
NEAR_TIE = 1e-4


@dataclass(frozen=True)
class MemoryInputs:
    """What ``pdma`` takes: w, r ``[B, T, H, K]`` float32, their slots, and v ``[B, T, H, D]``."""

    w: Tensor
    w_idx: Tensor
    r: Tensor
    r_idx: Tensor
    v: Tensor

    @property
    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is differentiated: w, r and v."""
        return self.w, self.r, self.v

    def to(self, dtype: torch.dtype) -> MemoryInputs:
        """A detached copy with all numbers in ``dtype``."""
        w, r, v = (t.detach().to(dtype).requires_grad_() for t in self.leaves)
        return MemoryInputs(w, self.w_idx, r, self.r_idx, v)


def make_generator(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def draw_normal(generator: torch.Generator, *size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(size, generator=generator, device=generator.device, dtype=dtype)


def draw_slots(generator: torch.Generator, *tokens: int, top_k: int, num_slots: int) -> Tensor:
    """``[*tokens, K]``: K distinct slots each, in random order, spread over all M; of the type that addresses have."""
    device = generator.device
    # Ascending draws from M - K + 1, moved apart by 0, 1, ..., K - 1, are distinct and below M.
    drawn = torch.randint(num_slots - top_k + 1, (*tokens, top_k), generator=generator, device=device)
    slots = drawn.sort(-1).values + torch.arange(top_k, device=device)
    order = torch.rand(slots.shape, generator=generator, device=device).argsort(-1)
    return slots.gather(-1, order).to(slot_dtype())


def slot_dtype() -> torch.dtype:
    """The integers that ``decode_address`` gives slots in."""
    return decode_address(torch.zeros(1, 1, 2), 1, "reference")[1].dtype


def draw_memory(
    generator: torch.Generator,
    batch: int,
    length: int,
    heads: int,
    width: int,
    top_k: int,
    num_slots: int,
    dtype: torch.dtype,
    hot_writes: bool = False,
    hot_reads: bool = False,
) -> MemoryInputs:
    """Inputs of ``pdma``, with uniform addresses or with the same K slots for every token."""
    tokens, device = (batch, length, heads), generator.device
    weights = torch.rand(2, *tokens, top_k, generator=generator, device=device).mul_(0.9).add_(0.1) / top_k
    slots = []
    for hot in (hot_writes, hot_reads):
        if hot:
            same = torch.arange(top_k, device=device, dtype=slot_dtype())
            slots.append(same.expand(*tokens, top_k).contiguous())
        else:
            slots.append(draw_slots(generator, *tokens, top_k=top_k, num_slots=num_slots))
    v = draw_normal(generator, *tokens, width, dtype=dtype)
    w, r = weights.unbind()
    return MemoryInputs(
        w.contiguous().requires_grad_(), slots[0], r.contiguous().requires_grad_(), slots[1], v.requires_grad_()
    )


def draw_clear_logits(generator: torch.Generator, *tokens: int, order: int, sub_dim: int, top_k: int) -> Tensor:
    """Logits ``[*tokens, U, d_p]``, float32, whose K best slots no rounding can exchange for another."""
    logits = draw_normal(generator, *tokens, order, sub_dim)
    if top_k == sub_dim**order:
        return logits
    while True:
        scores = product_log_softmax(logits.double()).sort(-1, descending=True).values
        near = scores[..., top_k - 1] - scores[..., top_k] < NEAR_TIE
        if not near.any():
            return logits
        logits[near] = draw_normal(generator, int(near.sum()), order, sub_dim)
