"""Batches with padding, taken apart so that a state never sees any.

A recurrent state has no way to skip a token, and a mask multiplied onto its inputs would still move positions, decay
and convolutions. So the rows of a batch that have the same number of real tokens are run together, on those tokens
alone, apart from the other rows: exact for every mixer and every place of the padding, at the price of as many smaller
batches as there are different numbers of real tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mqar_bench.basics.errors import UsageError


class Part(NamedTuple):
    """Rows of a batch that are run together.

    Args:
        source: the group of rows of the cache that they are from.
        rows: which rows of the batch; all of them, in order, where ``columns`` is None.
        columns: int64 ``[rows, n]``, the places of their n real tokens; None for all T of all rows.
    """

    source: int
    rows: list[int]
    columns: Tensor | None

    def take(self, x: Tensor) -> Tensor:
        """``[B, T, D]`` at the real tokens of these rows: ``[rows, n, D]``."""
        return x if self.columns is None else x[self._index(), self.columns]

    def put(self, y: Tensor, into: Tensor | None, batch: int, length: int) -> Tensor:
        """``[rows, n, D]`` back to its places in ``[batch, length, D]``: in ``into``, or zeros where there is none."""
        if self.columns is None:
            return y
        if into is None:
            into = y.new_zeros(batch, length, y.shape[-1])
        return into.index_put((self._index(), self.columns), y)

    def _index(self) -> Tensor:
        assert self.columns is not None
        return torch.tensor(self.rows, device=self.columns.device)[:, None]


def read_mask(mask: Tensor | None, batch: int, length: int, seen: int) -> Tensor | None:
    """Which of the tokens given are real, bool ``[batch, length]``; None if all are.

    Args:
        mask: ``[batch, length]``, or ``[batch, seen + length]`` as ``generate`` has it; 0 for padding.
        batch, length: of the tokens given.
        seen: tokens, padding included, that the cache has taken in.

    Raises:
        UsageError: a mask of another shape.
    """
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] not in (length, seen + length):
        wanted = f"[{batch}, {length}]" + (f" or [{batch}, {seen + length}]" if seen else "")
        raise UsageError(f"attention_mask must be {wanted}, 0 for padding: got {list(mask.shape)}")
    real = mask[:, mask.shape[1] - length :].bool()
    return None if bool(real.all()) else real


def split(real: Tensor | None, length: int, groups: Sequence[list[int]], causal: bool) -> list[Part]:
    """How a batch is run: its rows by group of the cache and number of real tokens.

    Args:
        real: as ``read_mask`` has it.
        length: T.
        groups: the rows of each group of the cache, together all rows.
        causal: padding after the last real token may be run, as nothing that counts comes after it.
    """
    if causal and real is not None and bool((real[:, 1:] <= real[:, :-1]).all()):
        real = None
    if real is None:
        if len(groups) == 1:
            return [Part(0, groups[0], None)]
        parts = [(i, rows, length) for i, rows in enumerate(groups)]
        real = torch.ones(sum(map(len, groups)), length, dtype=torch.bool)
    else:
        counts, parts = real.sum(1).tolist(), []
        for i, rows in enumerate(groups):
            for count in sorted({counts[row] for row in rows}):
                parts.append((i, [row for row in rows if counts[row] == count], count))
    return [Part(i, rows, real[rows].nonzero()[:, 1].view(len(rows), count)) for i, rows, count in parts]
