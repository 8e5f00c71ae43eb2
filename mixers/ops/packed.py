"""Tokens sorted by where they are sent: each destination's own subsequence, in order of time, padded to the longest.

Rows move by index both ways, and the gradients move back the same way: no atomics, so the same bits every time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Packing:
    """Where each token of ``[B, T]`` stands when every one is sent to k of M destinations.

    The packed form is ``[M, B, length]``, length that of the longest subsequence (the host waits for it). A place
    beyond a subsequence's end holds the first token of its own sequence, and gives no gradient.

    Args:
        choice: int64 ``[B, T, k]``, the k different destinations of each token.
        destinations: M.
    """

    def __init__(self, choice: Tensor, destinations: int) -> None:
        B, T, k = choice.shape
        sent = choice.new_zeros(B, T, destinations).scatter_(2, choice, 1)
        rank = sent.cumsum(1) - 1  # place within the subsequence; counting in order of time keeps that order
        self.counts = sent.sum(1)  # [B, M]
        self.length = int(self.counts.max())
        sequence = torch.arange(B, device=choice.device)
        place = (choice * B + sequence[:, None, None]) * self.length + rank.gather(2, choice)
        first = (sequence * T * k)[:, None].expand(destinations, B, self.length)
        entry = first.flatten().scatter(0, place.flatten(), torch.arange(B * T * k, device=choice.device))
        #: place of each token's copies, ``[B T, k]``; and for each place, which copy it holds, ``[M B length]``
        self.place, self.entry = place.view(B * T, k), entry
        #: which places hold a token, ``[M, B, length]``
        self.filled = torch.arange(self.length, device=choice.device) < self.counts.t().unsqueeze(-1)

    def pack(self, x: Tensor) -> Tensor:
        """``[B, T, C] -> [M, B, length, C]``."""
        rows = _Move.apply(x.flatten(0, 1), self.entry // self.place.shape[1], self.place, None)
        return rows.view(*self.filled.shape, -1)

    def unpack(self, x: Tensor) -> Tensor:
        """``[M, B, length, C] -> [B, T, k, C]``: what became of each token's copies, in the order of ``choice``."""
        rows = _Move.apply(x.flatten(0, 2), self.place.flatten(), self.entry[:, None], self.filled.flatten())
        return rows.view(x.shape[1], -1, self.place.shape[1], x.shape[-1])


class _Move(torch.autograd.Function):
    """Rows by index; ``back`` says for each row of ``x`` where it went, ``used`` (None: all) whether anywhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, back: Tensor, used: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, used)
        return x.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        back, used = ctx.saved_tensors
        moved = gradient.index_select(0, back.flatten()).view(*back.shape, -1).sum(1)
        return moved if used is None else moved.masked_fill(~used[:, None], 0), None, None, None
