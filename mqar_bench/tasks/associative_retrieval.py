"""Associative retrieval (Rodkin et al. 2024, arXiv 2407.04841), the task of ARMT: remember, or rewrite.

Keys and values are short words over one small alphabet. An example lists pairs, each closed by a mark, and ends with a
single question: a key, and then the value that the model must say. In mode ``remember`` all keys differ; in mode
``rewrite`` they are drawn independently, a key may come several times, and its latest value counts. With
``num_symbols=10``, ``num_kv_pairs=3``, ``mode="rewrite"``; the tokens 0 to 9 are the symbols, and 10, 11 and 12 the
marks SEP, GEN and EOS::

              pairs                                                        | question
              key  SEP  val  EOS  key  SEP  val  EOS  key  SEP  val  EOS   | key  GEN
    position   0    1    2    3    4    5    6    7    8    9   10   11    |  12   13
    token      4   10    7   12    2   10    9   12    4   10    1   12    |   4   11
    label                                                                  |        1

A longer value is read along as it is scored: after GEN come all its symbols but the last, and GEN and each of these
asks for the next symbol. Keys are uniform, over choices of distinct ones or independently; values are independent and
uniform, so a guess is right once in ``num_symbols``. The question is uniform over the different keys of the example.

Source: RodkinIvan/associative-recurrent-memory-transformer, ``run_finetuning_associative_retrieval.py``, whose scripts
have 16 symbols, values of one symbol, keys of one to three, and 1 to 200 pairs. Deviations:

- The marks' ids follow those of the symbols; there they are 100, 101 and 102.
- The EOS after the answer, always the same token, is neither trained on nor scored. Accuracy is per symbol, given those
  before; there it is exact match of what the model generates. With one symbol a value they are the same.
- There training draws the number of pairs anew for each batch, up to a bound that grows from stage to stage (a
  curriculum). Here a setting has one number; ``data.train`` can list several, or ``train.segments`` draws it.
- There a sequence is cut into segments of one pair each. That is up to the mixer here, ``segment_size`` of ``armt``,
  and to ``train.segments.size``.
"""

# K - num_kv_pairs, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from mixers.checks import check_size
from mqar_bench.tasks.sampling import Array, Rng, choose, distinct, is_latest
from mqar_bench.tasks.task import MAX_VOCAB, Task, check_counts

MAX_KEYS = 2**31  # different ones; they are drawn as int32
MAX_KEY_SIZE = 31  # of two symbols, that is as many


class AssociativeRetrievalConfig(Task):
    """One setting of ARMT's associative retrieval.

    Its ``vocab_size`` is ``num_symbols + 3``, its ``input_seq_len``
    ``num_kv_pairs * (key_size + value_size + 2) + key_size + value_size``.

    Args:
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        num_kv_pairs: K, pairs per example; in mode remember at most ``num_symbols ** key_size``.
        mode: remember: keys are distinct; rewrite: they may come again, and the latest value counts.
        key_size: symbols of a key.
        value_size: symbols of a value, and so scored positions per example.
        num_symbols: letters of the alphabet, from 2.
    """

    name: Literal["associative_retrieval"] = "associative_retrieval"
    num_examples: int = 1000
    num_kv_pairs: int = 10
    mode: Literal["remember", "rewrite"] = "remember"
    key_size: int = 1
    value_size: int = 1
    num_symbols: int = 16

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "key_size", "value_size", "num_symbols")

    @property
    def vocab_size(self) -> int:
        """All tokens lie below: the symbols, and three marks."""
        return self.num_symbols + 3

    @property
    def input_seq_len(self) -> int:
        """L, in tokens."""
        word = self.key_size + self.value_size
        return self.num_kv_pairs * (word + 2) + word

    @property
    def num_answers(self) -> int:
        return self.value_size

    @property
    def label(self) -> str:
        return f"{self.mode}-kv{self.num_kv_pairs}-k{self.key_size}-v{self.value_size}-s{self.num_symbols}"

    def at_length(self, tokens: int) -> Self:
        """With as many pairs as so many tokens hold."""
        word = self.key_size + self.value_size
        return self._with("num_kv_pairs", max(0, tokens - word) // (word + 2))

    @model_validator(mode="after")
    def _check(self) -> AssociativeRetrievalConfig:
        check_size(2, MAX_VOCAB - 3, num_symbols=self.num_symbols)
        check_size(1, MAX_KEY_SIZE, key_size=self.key_size)
        check_counts(self, "num_kv_pairs", "value_size")
        keys = self.num_symbols**self.key_size
        power = f"num_symbols ** key_size = {self.num_symbols} ** {self.key_size}"
        if keys > MAX_KEYS:
            raise ValueError(f"there may be at most {MAX_KEYS} different keys, got {power}")
        if self.mode == "remember" and self.num_kv_pairs > keys:
            raise ValueError(
                f"num_kv_pairs={self.num_kv_pairs} needs as many distinct keys, but there are {power} = {keys}: "
                "give longer keys, more symbols or mode rewrite"
            )
        return self

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, symbols = len(tokens), self.num_kv_pairs, self.num_symbols
        sep, gen, eos = symbols, symbols + 1, symbols + 2
        possible = symbols**self.key_size
        if self.mode == "remember":
            keys = distinct(rng, rows, pairs, 0, possible)
            latest = np.ones((rows, pairs), dtype=bool)
        else:
            keys = rng.integers(0, possible, size=(rows, pairs), dtype=np.int32)
            latest = is_latest(keys)
        values = rng.integers(0, symbols, size=(rows, pairs, self.value_size), dtype=np.int32)
        asked = choose(rng, latest)
        spelt = keys[:, :, None] // symbols ** np.arange(self.key_size) % symbols

        k, v = self.key_size, self.value_size
        context = pairs * (k + v + 2)
        listed = tokens[:, :context].reshape(rows, pairs, k + v + 2)
        listed[:, :, :k], listed[:, :, k] = spelt, sep
        listed[:, :, k + 1 : -1], listed[:, :, -1] = values, eos
        tokens[:, :context] = listed.reshape(rows, context)
        answers = values[np.arange(rows), asked]
        tokens[:, context : context + k] = spelt[np.arange(rows), asked]
        tokens[:, context + k] = gen
        tokens[:, context + k + 1 :] = answers[:, :-1]
        return np.tile(context + k + np.arange(v), (rows, 1)), answers
