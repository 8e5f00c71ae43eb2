"""Stacked recall: a key and its value share one position, so nothing need be moved to bind them. After Zoology.

An example lists its pairs, a token each, ``num_passes`` times and each time in a new order; then it asks for every key
once, one after another in random order, and the model must predict the value. A token is ``key * w + value``, where w
is the whole root of ``vocab_size``, keys and values lie in [1, w), and 0 stands for "none": a bare key is ``key * w``,
an answer ``value``. With ``vocab_size=100`` (so w is 10), ``num_kv_pairs=3``::

              pairs         queries
    position   0    1    2  |  3    4    5
    token     47   12   85  | 10   80   40
    label                   |  2    5    7

Here 47 binds key 4 to value 7, and 40 asks for key 4. Keys are distinct and uniform, and so are the values; there is no
filler, and ``input_seq_len`` follows from the pairs. A single layer of attention without a short
convolution can solve it, as it cannot MQAR.

Source: HazyResearch/zoology d88d6f5, ``data/stacked_mqar.py`` (``continuous_mqar``). Deviations:

- There an input is a vector, the fixed random embeddings of key and value beside each other, which a model of its own
  kind projects to its width and answers with an embedding: ``model.input_type`` continuous is that. By default it is a
  token like any other, with a learnt embedding, and so is the answer: models, loss and accuracy are those of all other
  tasks. The price is that the model must learn from the examples which of the (w - 1) ** 2 pairs have a key or a value
  in common.
- There keys and values are the halves of the vocabulary, 4,096 of 8,192 each; here there are w - 1 of each: 89 by
  default, 4,095 at most.
- ``per_sequence_mapping`` is always true. False is meant to keep the pairs the same in all examples, and there keeps
  only a permutation, of keys and values that are drawn anew.
"""

# K - num_kv_pairs, R - rows of one chunk

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from mqar_bench.tasks.sampling import Array, Rng, distinct
from mqar_bench.tasks.task import Task, check_counts, check_room


class StackedConfig(Task):
    """One setting of the stacked task. Its ``input_seq_len`` is ``(num_passes + 1) * num_kv_pairs``.

    Args:
        vocab_size: number of token ids, at least ``(num_kv_pairs + 1) ** 2``; at most 2**24.
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        num_kv_pairs: K, pairs per example, and so scored positions per example.
        num_passes: how often the pairs are listed.
    """

    name: Literal["stacked"] = "stacked"
    vocab_size: int = 8192
    num_examples: int = 1000
    num_kv_pairs: int = 8
    num_passes: int = 1

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "num_passes")

    @property
    def input_seq_len(self) -> int:
        """L, in tokens."""
        return (self.num_passes + 1) * self.num_kv_pairs

    @property
    def num_keys(self) -> int:
        """How many keys there are to draw from, and as many values."""
        return math.isqrt(self.vocab_size) - 1

    @property
    def label(self) -> str:
        return f"stacked-kv{self.num_kv_pairs}-x{self.num_passes}"

    @model_validator(mode="after")
    def _check(self) -> StackedConfig:
        check_counts(self, "vocab_size", "num_kv_pairs", "num_passes")
        check_room(self, "vocab_size", (self.num_kv_pairs + 1) ** 2, "num_kv_pairs", "(num_kv_pairs + 1) ** 2")
        return self

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, root = len(tokens), self.num_kv_pairs, math.isqrt(self.vocab_size)
        keys = distinct(rng, rows, pairs, 1, root)
        values = distinct(rng, rows, pairs, 1, root)
        for i in range(self.num_passes):
            order = distinct(rng, rows, pairs, 0, pairs)
            tokens[:, pairs * i : pairs * (i + 1)] = np.take_along_axis(keys * root + values, order, axis=1)
        order = distinct(rng, rows, pairs, 0, pairs)
        first = pairs * self.num_passes
        tokens[:, first:] = np.take_along_axis(keys * root, order, axis=1)
        return np.tile(first + np.arange(pairs), (rows, 1)), np.take_along_axis(values, order, axis=1)
