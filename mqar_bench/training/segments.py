"""A batch read in segments: one piece of its sequences after another, with the model's state carried between them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mqar_bench.config import SegmentsConfig
from mqar_bench.training.data import Batch
from mqar_bench.training.model import LanguageModel, ModelState


def read_batch(model: LanguageModel, batch: Batch, segments: SegmentsConfig) -> tuple[Tensor, Tensor | None]:
    """What a step is trained on: logits ``[B, P, vocab]`` at the supervised positions, and what the mixers add.

    Read whole, unless the config cuts sequences. The gradient then goes back through the states carried, all of them or
    ``detach_every`` segments at most; what the mixers add is the mean over segments, by their tokens.
    """
    if not segments.size:
        return model(batch.tokens, batch.positions), model.auxiliary_loss()
    state: ModelState | None = None
    read, added, length = [], [], batch.tokens.shape[1]
    for i, (piece, positions, asked) in enumerate(cut(batch, segments.size)):
        if state is not None and segments.detach_every is not None and i % segments.detach_every == 0:
            state = detach(state)
        logits, state = model.prefill(piece, state, positions)
        read.append(logits[asked])
        extra = model.auxiliary_loss()
        added += [] if extra is None else [extra * (piece.shape[1] / length)]
    return torch.cat(read)[order(batch.positions, segments.size)], torch.stack(added).sum() if added else None


def cut(batch: Batch, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The segments of a batch, the last of which may be shorter.

    Yields:
        tokens ``[B, size]``; places in them ``[B, p]`` at which logits are needed; and of these, bool ``[B, p]``, those
        that are supervised, as rows need not have equally many in a segment.
    """
    for start in range(0, batch.tokens.shape[1], size):
        here = (batch.positions >= start) & (batch.positions < start + size)
        some = here.any(0)
        piece = batch.tokens[:, start : start + size]
        yield piece, (batch.positions[:, some] - start).clamp(0, piece.shape[1] - 1), here[:, some]


def order(positions: Tensor, size: int) -> Tensor:
    """Where the logits of each position ``[B, P]`` are, among those of all segments one after another, row by row."""
    by_segment = (positions // size).flatten().argsort(stable=True)
    return by_segment.argsort().view(positions.shape)


def detach(state: ModelState) -> ModelState:
    """The same state, through which no gradient goes back."""
    layers = tuple({name: each.detach() for name, each in layer.items()} for layer in state.layers)
    return state._replace(layers=layers)
