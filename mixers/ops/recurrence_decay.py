"""Decay inside a chunk: no decay, one per head, or one per channel in two forms, behind the same questions.

With ``G_t`` the sum of w from the chunk's start to t, a write at s reaches a read at t multiplied by
``exp(G_t - G_s)``. The forms differ in what they dare to exponentiate; none clamps a difference, which would change the
pairs next to each other as well.

Shapes: G chunks of C tokens, rows ``[G, C, K]``, states ``[G, K, V]``. A read is late (a query) if it sees its own
token's write, early (a) if it sees the state before.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

#: Below, exp is exactly 0: the state is gone and takes no gradient. -inf stands for the same, but not in sums.
NOTHING = {torch.float32: -104.0, torch.float64: -746.0}


class NoDecay:
    """w = 0. Also the interface: subclasses override what decay changes."""

    enter: Tensor | None = None  # S' = enter S is what rows from from_state() read; None for 1
    leave: Tensor | None = None  # S_out = keep S' + leave (to_state(k)^T v)
    keep: Tensor | None = None

    def reads(self, x: Tensor, late: bool) -> Tensor:
        """x as ``scores`` takes its rows."""
        return x

    def writes(self, y: Tensor) -> Tensor:
        """y as ``scores`` takes its columns."""
        return y

    def scores(self, reads: Tensor, writes: Tensor, late: bool) -> Tensor:
        """``[G, C, C]``: x_t . y_s decayed from s to t, and 0 where t does not see s."""
        return torch.bmm(reads, writes.mT).tril_(0 if late else -1)  # in place: fresh pages are slow

    def from_state(self, reads: Tensor, late: bool) -> Tensor:
        """``reads`` as rows that multiply S'."""
        return reads

    def to_state(self, writes: Tensor) -> Tensor:
        """``writes`` as rows whose outer products with values are added to the state."""
        return writes


class ScalarDecay(NoDecay):
    """One w per token, ``[G, C, 1]``: the C x C differences, at most 0 once the future is masked."""

    def __init__(self, w: Tensor, dtype: torch.dtype) -> None:
        """w may be of a wider dtype than the rest: sums of strong decays cancel in the differences."""
        self.dtype = dtype
        self.late = w.cumsum(1)
        self.early = F.pad(self.late[:, :-1], (0, 0, 1, 0))
        self.keep = self.exp(self.late[:, -1:])
        self.decays: dict[bool, Tensor] = {}

    def exp(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).exp()

    def scores(self, reads: Tensor, writes: Tensor, late: bool) -> Tensor:
        if late not in self.decays:
            C = reads.shape[1]
            future = self.late.new_full((C, C), -torch.inf).triu_(1 if late else 0)
            differences = (self.late if late else self.early) + (-self.late).mT
            self.decays[late] = differences.add_(future).to(self.dtype).exp_()
        return torch.bmm(reads, writes.mT) * self.decays[late]

    def from_state(self, reads: Tensor, late: bool) -> Tensor:
        return reads * self.exp(self.late if late else self.early)

    def to_state(self, writes: Tensor) -> Tensor:
        return writes * self.exp(self.late[:, -1:] - self.late)


class FactoredDecay(NoDecay):
    """One w per channel, ``[G, C, K]``: ``exp(G_t - m) exp(m - G_s)``, m half of G's range, if both factors exist."""

    def __init__(self, w: Tensor) -> None:
        sums = w.cumsum(1)
        end = sums[:, -1:]
        middle = end.detach() / 2  # cancels in every product: no gradient
        self.late = (sums - middle).exp()
        self.write = (middle - sums).exp()
        self.enter = middle.exp().mT
        self.keep = self.leave = (end - middle).exp().mT
        self.start = (-middle).exp()

    @cached_property
    def early(self) -> Tensor:
        return torch.cat([self.start, self.late[:, :-1]], 1)

    def reads(self, x: Tensor, late: bool) -> Tensor:
        return x * (self.late if late else self.early)

    def writes(self, y: Tensor) -> Tensor:
        return y * self.write


class HalvedDecay(NoDecay):
    """One w per channel, ``[G, C, K]``, of any strength: a chunk is two halves, and so on down to blocks.

    From one half to the next, ``exp(G_t - G_m) exp(G_m - G_s)`` with m the boundary: no exponent above 0, and no
    difference either, since each is a sum of w over a stretch of its own.
    """

    def __init__(self, w: Tensor, block: int) -> None:
        """w finite; block: where halving ends, C over a power of 2; what is left must be fit for ``FactoredDecay``."""
        self.w, self.block = w, block
        self.within = NoDecay() if block == 1 else FactoredDecay(w.reshape(-1, block, w.shape[-1]))
        self.factors: dict[tuple[int, str], Tensor] = {}
        self.keep = w.sum(1).exp()[..., None]

    def factor(self, size: int, stretch: str) -> Tensor:
        """exp of the sums of w that a row in a block of this size has behind it (late, early) or before it."""
        if (size, stretch) not in self.factors:
            ones = self.w.new_ones(size, size)
            take = {"late": ones.tril(), "early": ones.tril(-1), "before": ones.triu(1)}[stretch]
            w = self.w.reshape(-1, size, self.w.shape[-1])
            if size < self.w.shape[1]:
                w = w.unflatten(0, (-1, 2))[:, int(stretch != "before")]  # the half it is asked for
            self.factors[size, stretch] = torch.bmm(take.expand(len(w), size, size), w).exp()
        return self.factors[size, stretch]

    def scores(self, reads: Tensor, writes: Tensor, late: bool) -> Tensor:
        G, C, K = reads.shape
        x, y = (rows.reshape(-1, self.block, K) for rows in (reads, writes))
        scores = self.within.scores(self.within.reads(x, late), self.within.writes(y), late)
        size = self.block
        while size < C:
            x, y = reads.reshape(-1, 2, size, K)[:, 1], writes.reshape(-1, 2, size, K)[:, 0]
            x, y = x * self.factor(size, "late" if late else "early"), y * self.factor(size, "before")
            scores = scores.view(-1, 2, size, size)
            first = F.pad(scores[:, 0], (0, size))
            second = torch.cat([torch.bmm(x, y.mT), scores[:, 1]], 2)
            scores = torch.cat([first, second], 1)
            size *= 2
        return scores

    def from_state(self, reads: Tensor, late: bool) -> Tensor:
        return reads * self.factor(reads.shape[1], "late" if late else "early")

    def to_state(self, writes: Tensor) -> Tensor:
        return writes * self.factor(writes.shape[1], "before")
