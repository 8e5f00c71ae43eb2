"""What the tasks in Zoology's layout share: a context, and then slots in some of which a key is queried."""

# K - num_kv_pairs, P - num_slots_asked (queries), S - slots, R - rows of one chunk, L - input_seq_len

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict, model_validator

from mqar_bench.tasks.sampling import Array, Rng, distinct, fill, slot_probabilities, successive
from mqar_bench.tasks.task import Task, check_counts, check_room


class QueryTask(Task):
    """A context of bindings, then slots of equal width; queries have a slot each, by default one for every key.

    Query after query draws its slot among those still free, slot i with probability proportional to
    ``(i + 1) ** (power_a - 1)``: most queries come early. With ``random_non_queries`` every unused position, which
    would hold 0, holds a token uniform on [0, vocab_size) instead.

    Args:
        vocab_size: number of token ids; must exceed ``input_seq_len``; at most 2**24.
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        input_seq_len: L, in tokens; at least what context and queries take; at most 2**20.
        num_kv_pairs: K, pairs per example, and so scored positions per example.
        power_a: exponent of the law of the slots, above 0; 1 is uniform, smaller puts the queries earlier.
        random_non_queries: fill the unused positions with random tokens instead of 0.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # an infinite power_a is refused below, like any that is too large

    vocab_size: int = 8192
    num_examples: int = 1000
    input_seq_len: int = 64
    num_kv_pairs: int = 8
    power_a: float = 0.01
    random_non_queries: bool = True

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "input_seq_len")
    #: The fewest positions that fit, ``context + slot_width * num_slots_asked``, as a formula of fields.
    need: ClassVar[str]

    @property
    @abstractmethod
    def context(self) -> int:
        """Positions that the context takes."""

    @property
    def slot_width(self) -> int:
        """Positions of a slot; those behind a query's tokens are never used."""
        return 2

    @property
    def num_slots_asked(self) -> int:
        """P, queries: of each one answer, unless a task says otherwise."""
        return self.num_answers

    @property
    def slots(self) -> int:
        """S; what is left after them is never used."""
        return (self.input_seq_len - self.context) // self.slot_width

    @property
    def label(self) -> str:
        return f"{self.name}-L{self.input_seq_len}-kv{self.num_kv_pairs}"

    @model_validator(mode="after")
    def _check(self) -> QueryTask:
        check_counts(self, "vocab_size", "input_seq_len", "num_kv_pairs")
        self._check_own()
        needed = self.context + self.slot_width * self.num_slots_asked
        check_room(self, "input_seq_len", needed, "num_kv_pairs", self.need)
        # With the rule above, this gives every task enough keys and values.
        needed = self.input_seq_len + 1
        if needed > self.vocab_size:
            raise ValueError(
                f"vocab_size must exceed input_seq_len: input_seq_len={self.input_seq_len} needs {needed}, "
                f"but vocab_size is {self.vocab_size}: {needed - self.vocab_size} too few"
            )
        if not self.power_a > 0:
            raise ValueError(f"power_a must be above 0, got {self.power_a}")
        p = slot_probabilities(self.slots, self.power_a)
        if not (np.isfinite(p).all() and (p > 0).all()):
            raise ValueError(f"power_a={self.power_a} leaves the floating point range with {len(p)} slots")
        return self

    def _check_own(self) -> None:
        """Refuse, with a ValueError, what the fields of a single task make impossible."""

    def _draw_gaps(self, rng: Rng, rows: int) -> Array:
        """``[R, P]``: the slot of each query."""
        return successive(rng, rows, self.num_slots_asked, slot_probabilities(self.slots, self.power_a))

    def _fill(self, filler: Rng, tokens: Array, without: Array | None = None) -> None:
        """Give all positions what unused ones hold: no token of ``without`` ``[R, K]`` in its row."""
        if self.random_non_queries:
            fill(filler, tokens, self.vocab_size, without)
        else:
            tokens[:] = 0

    def _write_pairs(self, tokens: Array, start: int, *parts: Array) -> None:
        """Write a part of the context from position ``start`` on, pair after pair, the parts of each side by side.

        Args:
            parts: each ``[R, n]``, such as keys and values.
        """
        width = len(parts)
        for i, part in enumerate(parts):
            tokens[:, start + i : start + width * part.shape[1] : width] = part

    def _write_queries(self, tokens: Array, gaps: Array, values: Array, *keys: Array) -> tuple[Array, Array]:
        """Write the queries, and say where they end and what they ask for.

        Args:
            gaps, values: ``[R, P]``, query by query: its slot and its answer.
            keys: each ``[R, P]``, the tokens of a query in order.

        Returns:
            positions and answers ``[R, P]``, in the order of the sequence.
        """
        positions = self.context + self.slot_width * gaps
        for i, key in enumerate(keys):
            np.put_along_axis(tokens, positions + i, key, axis=1)
        order = np.argsort(positions, axis=1)
        last = np.take_along_axis(positions, order, axis=1) + len(keys) - 1
        return last, np.take_along_axis(values, order, axis=1)


class RecallTask(QueryTask):
    """Plain recall: key-value pairs listed ``num_passes`` times in the same order, then every key queried once.

    Keys are distinct and uniform on [1, vocab_size // 2), values on [vocab_size // 2, vocab_size).
    """

    num_passes: int

    slices: ClassVar[tuple[str, ...]] = ("num_kv_pairs", "input_seq_len", "num_passes")

    @property
    def context(self) -> int:
        return 2 * self.num_kv_pairs * self.num_passes

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, vocab = len(tokens), self.num_kv_pairs, self.vocab_size
        keys = distinct(rng, rows, pairs, 1, vocab // 2)
        values = distinct(rng, rows, pairs, vocab // 2, vocab)
        gaps = self._draw_gaps(rng, rows)
        self._fill(filler, tokens)
        for i in range(self.num_passes):
            self._write_pairs(tokens, 2 * pairs * i, keys, values)
        return self._write_queries(tokens, gaps, values, keys)
