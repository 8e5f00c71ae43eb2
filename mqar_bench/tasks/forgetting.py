"""Forgetting: MQAR in which some keys are bound anew, and the latest value counts. After Zoology's ``forgetting_mqar``.

A context of key-value pairs is followed by updates, pairs that bind a key of the context to another value; then every
key is queried once, as in MQAR, and the answer is the last value it was bound to. With ``vocab_size=24``,
``input_seq_len=18``, ``num_kv_pairs=3``, ``num_updates=2``, ``random_non_queries=False``::

              pairs                       updates           slots, two positions each
              key  val  key  val  key  val| key  val  key  val|  0       1       2       3
    position   0    1    2    3    4    5 |  6    7    8    9 | 10  11  12  13  14  15  16  17
    token      2   15    7   20    5   12 |  5   22    2   17 |  2   0   7   0   5   0   0   0
    label                                 |                   | 17      20      22

Keys are distinct and uniform on [1, vocab_size // 2); those that are updated are a uniform choice of them, in uniform
order. Values are distinct and uniform on [vocab_size // 2, vocab_size). Slots are MQAR's.

Source: HazyResearch/zoology d88d6f5, ``data/forgetting_mqar.py``; "rewrite" in ``associative_retrieval`` is a relative.
Deviations:

- There a new value is kept from equalling the old value of another key than the one it is for, so that an update can
  repeat the value it replaces, and a query be answered right from a forgotten pair. Here all values of an example, old
  and new, are distinct: an answer says which pair was read.
- Filler tokens are uniform on the tokens that are no key of the example, and not on all: filler cannot look like yet
  another update. So the latest value is right wherever in the sequence one looks for it.
- ``num_updates`` is at least 1; 0 is MQAR. An odd ``input_seq_len`` is not refused: its last position is never used.
"""

# K - num_kv_pairs, U - num_updates, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from mixers.checks import check_size
from mqar_bench.tasks.queries import QueryTask
from mqar_bench.tasks.sampling import Array, Rng, distinct


class ForgettingConfig(QueryTask):
    """One setting of the forgetting task; fields are Zoology's, with its defaults.

    Args:
        num_updates: U, keys that are bound a second time, at most ``num_kv_pairs``; each takes two positions.
    """

    name: Literal["forgetting"] = "forgetting"
    num_updates: int = 4

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "num_updates", "input_seq_len")
    need: ClassVar[str] = "4 * num_kv_pairs + 2 * num_updates"

    @property
    def label(self) -> str:
        return f"{super().label}-u{self.num_updates}"

    @property
    def context(self) -> int:
        return 2 * (self.num_kv_pairs + self.num_updates)

    def _check_own(self) -> None:
        check_size(1, num_updates=self.num_updates)
        if self.num_updates > self.num_kv_pairs:
            raise ValueError(
                f"num_updates={self.num_updates} is more than there are keys: num_kv_pairs is {self.num_kv_pairs}"
            )

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, vocab = len(tokens), self.num_kv_pairs, self.vocab_size
        keys = distinct(rng, rows, pairs, 1, vocab // 2)
        values = distinct(rng, rows, pairs + self.num_updates, vocab // 2, vocab)
        updated = distinct(rng, rows, self.num_updates, 0, pairs)  # places in the context
        gaps = self._draw_gaps(rng, rows)
        old, new = values[:, :pairs], values[:, pairs:]
        latest = old.copy()
        np.put_along_axis(latest, updated, new, axis=1)
        self._fill(filler, tokens, without=keys)
        self._write_pairs(tokens, 0, keys, old)
        self._write_pairs(tokens, 2 * pairs, np.take_along_axis(keys, updated, axis=1), new)
        return self._write_queries(tokens, gaps, latest, keys)
