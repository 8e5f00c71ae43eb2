"""The data every task produces: token sequences and, for the few positions that are scored, their answers."""

# N - examples, L - sequence length, P - scored positions per example

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

IGNORE_INDEX = -100  # the label of an unscored position, as in Zoology and torch's cross entropy


@dataclass(frozen=True, eq=False)
class Segment:
    """Examples of one setting, stored compactly.

    The model reads ``tokens[n]`` and is scored on predicting ``answers[n, j]`` from its output at
    ``positions[n, j]``. Labels are aligned with the inputs (Zoology's convention): the answer is stored at
    the position of the query itself, so nothing has to be shifted before the loss.

    Args:
        tokens: int32 ``[N, L]``, token ids.
        positions: int32 ``[N, P]``, the scored positions, strictly ascending in each row.
        answers: int32 ``[N, P]``, the token id expected at each of these positions.
        name: label of the setting, e.g. ``"L64-kv4"``.
        slices: the numbers that describe the setting, to group accuracy by: ``{"num_kv_pairs": 4, ...}``.

    Raises:
        ValueError: a tensor has another dtype or shape, or positions leave ``[0, L)`` or do not ascend.
    """

    tokens: Tensor
    positions: Tensor
    answers: Tensor
    name: str = ""
    slices: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what in ("tokens", "positions", "answers"):
            tensor: Tensor = getattr(self, what)
            if tensor.dtype != torch.int32 or tensor.ndim != 2:
                got = f"{tensor.dtype} {tuple(tensor.shape)}"
                raise ValueError(f"{what} must be int32 with 2 dimensions, got {got}")
        n, length = self.tokens.shape
        if self.positions.shape != self.answers.shape or len(self.positions) != n:
            raise ValueError(
                f"positions {tuple(self.positions.shape)} and answers {tuple(self.answers.shape)} "
                f"must have the same shape and one row for each of the {n} examples"
            )
        if self.positions.numel() and not (self.positions.min() >= 0 and self.positions.max() < length):
            raise ValueError(f"positions must lie in [0, {length})")
        if (self.positions[:, 1:] <= self.positions[:, :-1]).any():
            raise ValueError("positions must be strictly ascending in each row")

    def __len__(self) -> int:
        """The number of examples N."""
        return len(self.tokens)

    @property
    def inputs(self) -> Tensor:
        """int64 ``[N, L]``, the tokens as Zoology stores them. Built at each call."""
        return self.tokens.long()

    @property
    def labels(self) -> Tensor:
        """int64 ``[N, L]``, the answers as Zoology stores them, -100 where unscored. Built at each call."""
        dense = torch.full(self.tokens.shape, IGNORE_INDEX, dtype=torch.int64, device=self.tokens.device)
        return dense.scatter_(1, self.positions.long(), self.answers.long())

    def batch(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Examples ``start`` to ``stop``, the latter excluded and clipped to N.

        Returns:
            int64 inputs ``[B, L]``, positions ``[B, P]`` and answers ``[B, P]``.

        Raises:
            IndexError: the range holds no example.
        """
        if not 0 <= start < min(stop, len(self)):
            raise IndexError(f"no examples in [{start}, {stop}) of a segment of {len(self)}")
        rows = slice(start, stop)
        return self.tokens[rows].long(), self.positions[rows].long(), self.answers[rows].long()

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All examples in order, ``batch_size`` at a time; the last batch may be smaller.

        Raises:
            ValueError: ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return (self.batch(start, start + batch_size) for start in range(0, len(self), batch_size))
