"""Random inputs from seeded generators; torch's global one is never touched."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mixers.ramnet.address import product_log_softmax
from mqar_bench.perf.shape import Shape

#: Two log-scores closer than this may change places by rounding, and another slot would then be chosen.
NEAR_TIE = 1e-4


class MemoryInputs(NamedTuple):
    """What ``pdma`` takes first: w, r ``[B, T, H, K]`` float32, their slots (int32), and v ``[B, T, H, D]``."""

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


def draw_slots(generator: torch.Generator, *size: int, num_slots: int) -> Tensor:
    """int32 ``[..., K]``: K distinct slots each, in random order, spread over all M."""
    device, top_k = generator.device, size[-1]
    # Ascending draws from M - K + 1, moved apart by 0, 1, ..., K - 1, are distinct and below M.
    drawn = torch.randint(num_slots - top_k + 1, size, generator=generator, device=device)
    slots = drawn.sort(-1).values + torch.arange(top_k, device=device)
    order = torch.rand(size, generator=generator, device=device).argsort(-1)
    return slots.gather(-1, order).int()


def draw_memory(
    generator: torch.Generator, shape: Shape, num_slots: int, hot_writes: bool = False, hot_reads: bool = False
) -> MemoryInputs:
    """Inputs of ``pdma``, with addresses spread over so many slots or with the same K for every token."""
    size, device = (*shape.tokens, shape.top_k), generator.device
    w, r = torch.rand(2, *size, generator=generator, device=device).mul_(0.9).add_(0.1) / shape.top_k
    same = torch.arange(shape.top_k, device=device, dtype=torch.int32).expand(size).contiguous()
    w_idx, r_idx = (
        same if hot else draw_slots(generator, *size, num_slots=num_slots) for hot in (hot_writes, hot_reads)
    )
    v = draw_normal(generator, *shape.tokens, shape.width, dtype=shape.torch_dtype)
    return MemoryInputs(w.requires_grad_(), w_idx, r.requires_grad_(), r_idx, v.requires_grad_())


def draw_clear_logits(generator: torch.Generator, *tokens: int, shape: Shape) -> Tensor:
    """Logits ``[*tokens, U, d_p]``, float32, whose K best slots no rounding can exchange for another."""
    logits, top_k = draw_normal(generator, *tokens, shape.order, shape.sub_dim), shape.top_k
    while top_k < shape.slots:
        scores = product_log_softmax(logits.double()).sort(-1, descending=True).values
        near = scores[..., top_k - 1] - scores[..., top_k] < NEAR_TIE
        if not near.any():
            break
        logits[near] = draw_normal(generator, int(near.sum()), shape.order, shape.sub_dim)
    return logits
