"""What is before the first block and after the last one: from tokens to vectors, and from vectors to logits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Of most weights in Zoology's model.
INIT_STD = 0.02


def make_embeddings(count: int, width: int, kind: str = "default") -> nn.Embedding:
    """Embeddings at Zoology's start.

    Args:
        count: how many.
        width: of each.
        kind: ``default``, a standard deviation of 0.02; ``normal``, of 1; ``spherical``, random directions of length 1.
    """
    embeddings = nn.Embedding(count, width)
    nn.init.normal_(embeddings.weight, std=INIT_STD if kind == "default" else 1.0)
    if kind == "spherical":
        with torch.no_grad():
            embeddings.weight /= embeddings.weight.norm(dim=1, keepdim=True)
    return embeddings


class Pairs(nn.Module):
    """Tokens of the task ``stacked`` as Zoology's continuous inputs: two embeddings beside each other, projected.

    A token is ``key * (n + 1) + value`` of n keys and as many values, where 0 stands for none, whose embedding is 0.
    The first half of the ``2 n`` embeddings are the keys', the second the values'. An answer is the value whose
    embedding has the largest product with the projected output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_proj = nn.Linear(2 * width, width)
        self.output_proj = nn.Linear(width, width)

    def embed(self, tokens: Tensor, embeddings: Tensor) -> Tensor:
        """int64 ``[B, T]`` and ``[2 n, D]`` -> ``[B, T, D]``."""
        keys, values = (F.pad(half, (0, 0, 1, 0)) for half in embeddings.chunk(2))
        base = len(keys)
        return self.input_proj(torch.cat([F.embedding(tokens // base, keys), F.embedding(tokens % base, values)], -1))

    def answer(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """``[B, P, D]`` and ``[2 n, D]`` -> logits ``[B, P, n + 1]``; none (0) is no answer, its logit is -inf."""
        logits = F.linear(self.output_proj(hidden), embeddings.chunk(2)[1])
        return F.pad(logits, (1, 0), value=-math.inf)
