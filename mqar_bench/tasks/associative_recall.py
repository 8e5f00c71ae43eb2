"""Associative recall with few queries, by default one: of the keys of a context, some are asked for. After Zoology.

A context of key-value pairs is followed by ``num_queries`` queries, each of another key, anywhere behind it; at a query
the model must predict the value that the key was bound to. With ``vocab_size=18``, ``input_seq_len=12``,
``num_kv_pairs=3``, ``num_queries=1``, ``random_non_queries=False``::

              context (2 * num_kv_pairs)     slots, one position each
              key  val  key  val  key  val |  0   1   2   3   4   5
    position   0    1    2    3    4    5  |  6   7   8   9  10  11
    token      2   13    4   11    7   10  |  0   0   4   0   0   0
    label                                  |         11

Keys, values and filler have MQAR's laws. Which keys are asked for is a uniform choice of them, in uniform order, and
where a uniform choice of the positions behind the context: ``power_a`` is 1 unless it is given.

MQAR asks for every key. The associative recall of H3 (Fu et al. 2023, arXiv 2212.14052) has one query, too, at the end.

Source: ``associative_recall`` in ``data/associative_recall.py`` of HazyResearch/zoology, December 2023 to February 2024
(a2dc81f to f83671a). Deviations:

- There labels lie one position before their queries, where no model can know which key will come, in all commits but
  9676843. Here they lie at the queries, as the example in its docstring has it.
- There the last of ``input_seq_len`` positions is cut off once all is drawn, and a query that fell on it with it. Here
  the examples have ``input_seq_len`` tokens, which may be odd, and all their queries.
- ``power_a`` is not Zoology's: below 1, queries come early as in MQAR.
"""

# K - num_kv_pairs, Q - num_queries, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from mixers.checks import check_size
from mqar_bench.tasks.queries import QueryTask
from mqar_bench.tasks.sampling import Array, Rng, distinct


class AssociativeRecallConfig(QueryTask):
    """One setting of associative recall with few queries.

    Args:
        num_kv_pairs: K, pairs per example.
        num_queries: Q, keys that are asked for, and so scored positions per example; at most ``num_kv_pairs``.
        power_a: exponent of the law of the positions, above 0; 1 is uniform, smaller puts the queries earlier.
    """

    name: Literal["associative_recall"] = "associative_recall"
    power_a: float = 1.0
    num_queries: int = 1

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "num_queries", "input_seq_len")
    need: ClassVar[str] = "2 * num_kv_pairs + num_queries"

    @property
    def num_answers(self) -> int:
        return self.num_queries

    @property
    def label(self) -> str:
        return f"{super().label}-q{self.num_queries}"

    @property
    def slot_width(self) -> int:
        return 1

    @property
    def context(self) -> int:
        return 2 * self.num_kv_pairs

    def _check_own(self) -> None:
        check_size(1, num_queries=self.num_queries)
        if self.num_queries > self.num_kv_pairs:
            raise ValueError(
                f"num_queries={self.num_queries} is more than there are keys: num_kv_pairs is {self.num_kv_pairs}"
            )

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, vocab = len(tokens), self.num_kv_pairs, self.vocab_size
        keys = distinct(rng, rows, pairs, 1, vocab // 2)
        values = distinct(rng, rows, pairs, vocab // 2, vocab)
        asked = distinct(rng, rows, self.num_queries, 0, pairs)  # places in the context
        gaps = self._draw_gaps(rng, rows)
        self._fill(filler, tokens)
        self._write_pairs(tokens, 0, keys, values)
        answers = np.take_along_axis(values, asked, axis=1)
        return self._write_queries(tokens, gaps, answers, np.take_along_axis(keys, asked, axis=1))
