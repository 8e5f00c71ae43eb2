"""MQAR at a distance: the pairs, then filler of any length, then the queries.

An example begins with key-value pairs and ends with the queries, one for each key in random order, every other token;
what is between them is filler. With ``vocab_size=18``, ``input_seq_len=14``, ``num_kv_pairs=2``, ``filler="spare"``::

              pairs                | filler                  | queries, two positions each
              key  val  key  val   |                         | key       key
    position   0    1    2    3    |  4   5   6   7   8   9  | 10   11   12   13
    token      2   13    4   11    |  0   0   0   0   0   0  |  4    0    2    0
    label                          |                         | 11        13

The first ``vocab_size - num_spare`` tokens are MQAR's: keys are distinct and uniform on the first half of them without
0, values on the second. Spare words are 0 and the ``num_spare`` tokens above, neither keys nor values. The filler, also
the token after each query, is one of three kinds:

- ``spare``: uniform on the spare words. A model can tell it from pairs; keeping a state over it is all that is asked.
- ``other``: uniform on all tokens but the keys of the example. It looks like pairs of other keys, that overwrite.
- ``any``: uniform on all tokens, as in MQAR. The keys come again, each every ``vocab_size`` tokens on average, before
  tokens that are not their values; the pairs at the beginning count.

Who knows the task but has not read the context is right once in the number of values (``chance``); who has kept the
values but not which key each is for, once in ``num_kv_pairs``.

Source: ours, after ``multiquery_ar``. Deviations: queries come in the last ``num_kv_pairs`` slots, in uniform order,
instead of early; MQAR's kind of filler, ``any``, has to be asked for; the vocabulary need not exceed the length.
"""

# K - num_kv_pairs, R - rows of one chunk, L - input_seq_len

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from mixers.checks import check_size
from mqar_bench.tasks.sampling import Array, Rng, distinct, skip
from mqar_bench.tasks.stream import Plan, StreamTask, below
from mqar_bench.tasks.task import MAX_VOCAB, check_counts, check_room


class DistantMQARConfig(StreamTask):
    """One setting of MQAR at a distance; its stream may be of any length.

    Args:
        vocab_size: number of token ids, spare words included; at most 2**24.
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        input_seq_len: L, in tokens; at least ``4 * num_kv_pairs``; at most 2**20.
        num_kv_pairs: K, pairs per example, and so scored positions per example.
        filler: spare: words that are neither keys nor values; other: all but the example's keys; any: all tokens.
        num_spare: tokens, the last of the vocabulary, that are spare words like 0.
    """

    name: Literal["distant_mqar"] = "distant_mqar"
    vocab_size: int = 8192
    num_examples: int = 1000
    input_seq_len: int = 64
    num_kv_pairs: int = 8
    filler: Literal["spare", "other", "any"] = "other"
    num_spare: int = 0

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "input_seq_len", "num_spare")

    @property
    def label(self) -> str:
        spare = f"-s{self.num_spare}" if self.num_spare else ""
        return f"distant-L{self.input_seq_len}-kv{self.num_kv_pairs}-{self.filler}{spare}"

    @property
    def chance(self) -> float:
        return 1 / (self._recalled - self._recalled // 2)

    @property
    def least_length(self) -> int:
        return 4 * self.num_kv_pairs

    @property
    def num_stored(self) -> int:
        return 2 * self.num_kv_pairs

    @property
    def _recalled(self) -> int:
        """Tokens that are no spare words, and 0."""
        return self.vocab_size - self.num_spare

    @model_validator(mode="after")
    def _check(self) -> DistantMQARConfig:
        check_counts(self, "vocab_size", "input_seq_len", "num_kv_pairs")
        check_size(0, MAX_VOCAB, num_spare=self.num_spare)
        check_room(self, "input_seq_len", self.least_length, "num_kv_pairs", "4 * num_kv_pairs")
        needed = 2 * self.num_kv_pairs + 2 + self.num_spare
        check_room(self, "vocab_size", needed, "num_kv_pairs", "2 * num_kv_pairs + 2 + num_spare")
        return self

    def _plan(self, rng: Rng, rows: int) -> Plan:
        pairs, recalled, length = self.num_kv_pairs, self._recalled, self.input_seq_len
        keys = distinct(rng, rows, pairs, 1, recalled // 2)
        values = distinct(rng, rows, pairs, recalled // 2, recalled)
        order = distinct(rng, rows, pairs, 0, pairs)
        listed = np.stack([keys, values], -1).reshape(rows, 2 * pairs)
        asked = length - 2 * pairs + 2 * np.arange(pairs)
        return Plan(
            places=np.tile(np.concatenate([np.arange(2 * pairs), asked]), (rows, 1)),
            tokens=np.concatenate([listed, np.take_along_axis(keys, order, axis=1)], axis=1),
            positions=np.tile(asked, (rows, 1)),
            answers=np.take_along_axis(values, order, axis=1),
            without=keys if self.filler == "other" else None,
        )

    def _filler(self, numbers: Array, plan: Plan) -> Array:
        if plan.without is not None:
            return skip(below(numbers, self.vocab_size - self.num_kv_pairs), plan.without, self.vocab_size)
        if self.filler == "any":
            return below(numbers, self.vocab_size).astype(np.int32)
        drawn = below(numbers, self.num_spare + 1).astype(np.int32)
        drawn[drawn > 0] += self._recalled - 1
        return drawn
