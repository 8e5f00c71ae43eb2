"""Circuits: the parity or the majority of all symbols so far, where nothing is recalled but counted. After Zoology's.

``parity`` asks, at a mark at the end, whether the number of ones among zeros and ones is odd; ``majority`` whether more
than half of them are ones; ``vocab_majority`` which of ``num_symbols`` symbols is the most frequent.
``cumulative_parity`` and ``cumulative_majority`` have no mark and ask at every symbol about those up to it; there a tie
counts as a majority of ones. With ``circuit="parity"``, ``input_seq_len=8``::

              symbols                     end
    position   0   1   2   3   4   5   6   7
    token      1   0   1   1   0   0   0   2
    label                                  1

Symbols are independent and uniform: 0 and 1 with 2 as the mark, or, for ``vocab_majority``, 1 to ``num_symbols`` with 0
as the mark. There, where several are the most frequent, the smallest of them is the answer, and takes the place of the
first symbol that is another one: the answer is then the only one.

A control for tasks of recall: one number to keep is enough, or one for each symbol. Parity is one of many groups in
``state_tracking``.

Source: HazyResearch/zoology d88d6f5, ``data/circuits.py``; the distributions are those of its generators. Deviations:

- ``input_seq_len`` counts the tokens, the mark with them. So it does there, but for cumulative parity, whose examples
  have one token less than it says.
- ``majority`` at ``input_seq_len=1``, of no symbols at all, is 0; there it divides by zero.
- The number of tokens follows from ``num_symbols``; there ``vocab_size`` says it, and is idle but for vocab majority.
"""

# L - input_seq_len, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from mixers.checks import check_size
from mqar_bench.tasks.sampling import Array, Rng
from mqar_bench.tasks.task import MAX_VOCAB, Task, check_counts

Circuit = Literal["parity", "majority", "vocab_majority", "cumulative_parity", "cumulative_majority"]


class CircuitsConfig(Task):
    """One setting of a circuit.

    Its ``vocab_size`` is ``num_symbols``, and one more where there is a mark at the end.

    Args:
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        input_seq_len: L, in tokens, the mark with them; at most 2**20.
        circuit: what is asked for, and where: a cumulative one at all positions, the others at the last.
        num_symbols: letters of the alphabet; 2 but for vocab_majority.
    """

    name: Literal["circuits"] = "circuits"
    num_examples: int = 1000
    input_seq_len: int = 64
    circuit: Circuit = "parity"
    num_symbols: int = 2

    slices: ClassVar[tuple[str, ...]] = ("input_seq_len", "num_symbols")

    @property
    def cumulative(self) -> bool:
        """Whether every position is scored, and there is no mark."""
        return self.circuit.startswith("cumulative")

    @property
    def vocab_size(self) -> int:
        """All tokens lie below."""
        return self.num_symbols + (not self.cumulative)

    @property
    def num_kv_pairs(self) -> int:
        """1, for what must be kept: there are no pairs."""
        return 1

    @property
    def num_answers(self) -> int:
        return self.input_seq_len if self.cumulative else 1

    @property
    def label(self) -> str:
        return f"{self.circuit}-L{self.input_seq_len}" + f"-s{self.num_symbols}" * (self.circuit == "vocab_majority")

    @model_validator(mode="after")
    def _check(self) -> CircuitsConfig:
        check_size(2, MAX_VOCAB - 1, num_symbols=self.num_symbols)
        check_counts(self, "input_seq_len")
        if self.circuit == "vocab_majority":
            check_size(2, input_seq_len=self.input_seq_len)
        elif self.num_symbols != 2:
            raise ValueError(f"num_symbols must be 2 for {self.circuit}, got {self.num_symbols}: take vocab_majority")
        return self

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, length = tokens.shape
        marks = not self.cumulative
        low = int(self.circuit == "vocab_majority")
        symbols = rng.integers(low, low + self.num_symbols, size=(rows, length - marks), dtype=np.int32)
        answers = answer(self.circuit, symbols)
        tokens[:, : length - marks] = symbols
        if marks:
            tokens[:, -1] = 0 if low else self.num_symbols
        return np.tile(np.arange(length - self.num_answers, length), (rows, 1)), answers


def answer(circuit: Circuit, symbols: Array) -> Array:
    """What the circuit says of symbols ``[R, n]``: ``[R, n]`` if it is cumulative, else ``[R, 1]``.

    For vocab majority, symbols are changed in place where several are the most frequent.
    """
    match circuit:
        case "cumulative_parity":
            return np.cumsum(symbols, axis=1) % 2
        case "cumulative_majority":
            return (np.cumsum(2 * symbols - 1, axis=1) >= 0).astype(np.int32)
        case "parity":
            return symbols.sum(axis=1, keepdims=True) % 2
        case "majority":
            return (2 * symbols.sum(axis=1, keepdims=True) > symbols.shape[1]).astype(np.int32)
        case "vocab_majority":
            return _most_frequent(symbols)


def _most_frequent(symbols: Array) -> Array:
    """``[R, 1]``; where several are, the smallest, which then takes the first place of another one."""
    rows, n = symbols.shape
    ordered = np.sort(symbols, axis=1)
    starts = np.zeros((rows, n), dtype=np.int64)  # of the run of equal symbols that each is in
    starts[:, 1:] = np.where(ordered[:, 1:] != ordered[:, :-1], np.arange(1, n), 0)
    counts = np.arange(n) - np.maximum.accumulate(starts, axis=1)
    most = counts == counts.max(axis=1, keepdims=True)  # at the last of a run
    answers = np.take_along_axis(ordered, most.argmax(axis=1)[:, None], axis=1)
    tied = np.flatnonzero(most.sum(axis=1) > 1)
    symbols[tied, (symbols[tied] != answers[tied]).argmax(axis=1)] = answers[tied, 0]
    return answers
