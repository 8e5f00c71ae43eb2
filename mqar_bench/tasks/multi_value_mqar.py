"""MQAR with values of several tokens: at a key, and at each token of its value but the last, the next one is asked for.

A context of keys, each with its value behind it, is followed by slots in some of which a key is queried, once each. All
of the value but its last token stands behind the query, as if it had been said right. With ``vocab_size=26``,
``input_seq_len=24``, ``num_kv_pairs=2``, ``num_value_tokens=3``, ``random_non_queries=False``::

              context (4 * num_kv_pairs)        slots, four positions each
              key  value       key  value     |  0               1               2               3
    position   0   1   2   3   4   5   6   7  |  8   9  10  11  12  13  14  15  16  17  18  19  20  21  22  23
    token      2  14  21  19  11  16  25  13  | 11  16  25   0   0   0   0   0   2  14  21   0   0   0   0   0
    label                                     | 16  25  13                      14  21  19

Keys are distinct and uniform on [1, vocab_size // 2). Tokens of values are uniform on [vocab_size // 2, vocab_size):
by default no two in an example are the same, so that each says by itself which one comes next, as a key does. With
``alphabet=n`` each is one of the first n of these, whatever the others are: what comes after it is then to be told from
the key and the place behind it. With one token a value and no alphabet this is MQAR.

Source: none; the layout is MQAR's (``multiquery_ar``). Values of several tokens are what retrieval in language asks for
(phone books, Jelassi et al. 2024, arXiv 2402.01032).
"""

# K - num_kv_pairs, V - num_value_tokens, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from mixers.checks import check_size
from mqar_bench.tasks.queries import QueryTask
from mqar_bench.tasks.sampling import Array, Rng, distinct


class MultiValueMQARConfig(QueryTask):
    """One setting of MQAR with values of several tokens.

    Args:
        num_kv_pairs: K, pairs per example.
        num_value_tokens: V, tokens of a value; K V positions per example are scored.
        alphabet: of so many different tokens, 1 to half of the vocabulary; without, all are different.
    """

    name: Literal["multi_value_mqar"] = "multi_value_mqar"
    num_kv_pairs: int = 4
    num_value_tokens: int = 2
    alphabet: int | None = None

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "num_value_tokens", "input_seq_len")
    need: ClassVar[str] = "2 * num_kv_pairs * (num_value_tokens + 1)"

    @property
    def num_answers(self) -> int:
        return self.num_kv_pairs * self.num_value_tokens

    @property
    def num_slots_asked(self) -> int:
        return self.num_kv_pairs

    @property
    def slot_width(self) -> int:
        return self.num_value_tokens + 1

    @property
    def label(self) -> str:
        return f"{super().label}-v{self.num_value_tokens}" + (f"-a{self.alphabet}" if self.alphabet else "")

    @property
    def context(self) -> int:
        return self.num_kv_pairs * (self.num_value_tokens + 1)

    def _check_own(self) -> None:
        check_size(1, num_value_tokens=self.num_value_tokens)
        if self.alphabet is not None and not 1 <= self.alphabet <= (most := self.vocab_size - self.vocab_size // 2):
            raise ValueError(f"alphabet must be 1 to {most}, half of vocab_size, got {self.alphabet}")

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, width, first = len(tokens), self.num_kv_pairs, self.num_value_tokens, self.vocab_size // 2
        keys = distinct(rng, rows, pairs, 1, first)
        if self.alphabet is None:
            values = distinct(rng, rows, pairs * width, first, self.vocab_size)
        else:
            values = rng.integers(first, first + self.alphabet, (rows, pairs * width), dtype=np.int32)
        values = values.reshape(rows, pairs, width)
        gaps = self._draw_gaps(rng, rows)
        self._fill(filler, tokens)
        said = keys, *np.moveaxis(values, 2, 0)
        self._write_pairs(tokens, 0, *said)
        last, asked = self._write_queries(tokens, gaps, np.broadcast_to(np.arange(pairs), gaps.shape), *said[:-1])
        positions, answers = last[..., None] + np.arange(1 - width, 1), np.take_along_axis(values, asked[..., None], 1)
        return positions.reshape(rows, -1), answers.reshape(rows, -1)
