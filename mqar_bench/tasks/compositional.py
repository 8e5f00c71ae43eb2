"""Compositional recall: a key is two tokens, neither of which says the value. After Zoology's ``compositional_mqar``.

With ``num_kv_pairs`` = g * g, an example has g first halves and g second halves of keys; each of their g * g
combinations is bound to a value of its own. The context lists them in random order, three tokens each; then every key
is queried once, and the model must predict its value at the second half. With ``vocab_size=31``, ``input_seq_len=27``,
``num_kv_pairs=4``, ``random_non_queries=False``::

              context (3 * num_kv_pairs)                         slots, three positions each
              1st 2nd val 1st 2nd val 1st 2nd val 1st 2nd val |  0           1           ...
    position   0   1   2   3   4   5   6   7   8   9  10  11  | 12  13  14  15  16  17  ...
    token      9  11  25   3  17  29   9  17  22   3  11  20  |  3  11   0   9  11   0  ...
    label                                                     |     20          25

First halves are distinct and uniform on [1, v), second halves on [v, 2 v), values on [2 v, vocab_size), where v is
vocab_size // 3. Slots follow MQAR's law, but are three positions wide.

Source: HazyResearch/zoology d88d6f5, ``data/compositional_mqar.py``; the distribution is that of its generator.
Deviation: ``input_seq_len`` may be odd, which there is refused for no reason that the layout gives; what is left
behind the last whole slot is never used.
"""

# K - num_kv_pairs, g - its root, R - rows of one chunk

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np

from mqar_bench.tasks.queries import QueryTask
from mqar_bench.tasks.sampling import Array, Rng, distinct


class CompositionalConfig(QueryTask):
    """One setting of the compositional task; fields are Zoology's, with its defaults.

    Args:
        num_kv_pairs: K, pairs per example, and so scored positions per example; a square, six positions each.
    """

    name: Literal["compositional"] = "compositional"
    num_kv_pairs: int = 4

    need: ClassVar[str] = "6 * num_kv_pairs"

    @property
    def slot_width(self) -> int:
        return 3

    @property
    def context(self) -> int:
        return 3 * self.num_kv_pairs

    def _check_own(self) -> None:
        root = math.isqrt(self.num_kv_pairs)
        if root * root != self.num_kv_pairs:
            squares = f"{root * root} or {(root + 1) ** 2}"
            raise ValueError(f"num_kv_pairs must be a square such as {squares}, got {self.num_kv_pairs}")

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, third = len(tokens), self.num_kv_pairs, self.vocab_size // 3
        root = math.isqrt(pairs)
        first = distinct(rng, rows, root, 1, third)
        second = distinct(rng, rows, root, third, 2 * third)
        values = distinct(rng, rows, pairs, 2 * third, self.vocab_size)
        cells = distinct(rng, rows, pairs, 0, pairs)  # of the grid, in the order of the context
        gaps = self._draw_gaps(rng, rows)
        keys = (np.take_along_axis(first, cells // root, axis=1), np.take_along_axis(second, cells % root, axis=1))
        self._fill(filler, tokens)
        self._write_pairs(tokens, 0, *keys, values)
        return self._write_queries(tokens, gaps, values, *keys)
