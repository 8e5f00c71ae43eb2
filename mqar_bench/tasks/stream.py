"""Tasks of any length: the few tokens that count lie in filler, and the whole is drawn piece by piece."""

# N - examples, R - of them at a time, L - input_seq_len, M - tokens that are no filler, P - scored positions

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixers.checks import check_size
from mqar_bench.tasks.sampling import Array, Rng
from mqar_bench.tasks.seeds import check_seed
from mqar_bench.tasks.task import Task, chunk_rows, make_rng

#: The longest context; positions and the numbers behind the filler of all examples are counted in 64 bits.
MAX_CONTEXT = 2**40


class Plan(NamedTuple):
    """What is no filler: ``tokens`` ``[R, M]`` at ``places`` ``[R, M]``, and what is asked.

    ``positions`` and ``answers`` ``[R, P]`` are in the order of the sequence; ``without`` ``[R, K]``, where there is
    one, has the distinct tokens that the filler of a row must not hold.
    """

    places: Array
    tokens: Array
    positions: Array
    answers: Array
    without: Array | None = None

    def rows(self, start: int, stop: int) -> Plan:
        """Those of the examples ``start`` to ``stop``, the latter excluded."""
        return Plan(*(None if part is None else part[start:stop] for part in self))  # type: ignore[arg-type]


class StreamTask(Task):
    """A task whose examples are a plan of few tokens over filler, so that no example need ever exist as a whole.

    Every position of every example has a random number of 64 bits behind its filler token, whose place in one stream
    is ``row * input_seq_len + position``: any piece can be drawn by itself, and pieces of any size join to ``build``.

    A subclass has ``_plan`` and ``_filler``; ``_draw`` follows from them.
    """

    @property
    @abstractmethod
    def chance(self) -> float:
        """The share of answers that a guess gets right which knows the task but has not read the context."""

    @abstractmethod
    def _plan(self, rng: Rng, rows: int) -> Plan:
        """Draw what is no filler of so many examples, of ``input_seq_len`` tokens each."""

    @abstractmethod
    def _filler(self, numbers: Array, plan: Plan) -> Array:
        """int32 ``[R, n]``: the filler of n positions, from independent uint64 ``[R, n]`` uniform on all their range.

        Each token must depend on its own number, and on the plan, alone.
        """

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        plan = self._plan(rng, len(tokens))
        tokens[:] = self._filler(filler.bit_generator.random_raw(tokens.shape), plan)
        np.put_along_axis(tokens, plan.places, plan.tokens.astype(np.int32), axis=1)
        return plan.positions, plan.answers

    def stream(self, seed: int, filler_seed: int | None = None, input_seq_len: int | None = None) -> Stream:
        """The examples of ``build``, of which nothing is held but what is no filler.

        Args:
            seed, filler_seed: as for ``build``.
            input_seq_len: L in place of the field's; it may be far longer than any segment, at most 2**40.

        Raises:
            ValueError: a seed is out of range, or the length too short for the task, or too long.
            TypeError: a seed is not an integer.
        """
        seed = check_seed("seed", seed)
        filler_seed = seed if filler_seed is None else check_seed("filler_seed", filler_seed)
        task = self
        if input_seq_len is not None:
            check_size(self.least_length, MAX_CONTEXT, input_seq_len=input_seq_len)
            task = self.model_copy(update={"input_seq_len": input_seq_len})
        rng, chunk = make_rng(seed, 0), chunk_rows(task.input_seq_len)
        n = task.num_examples
        plans = [task._plan(rng, min(chunk, n - start)) for start in range(0, n, chunk)]
        parts = (None if part[0] is None else np.concatenate(part) for part in zip(*plans, strict=True))
        return Stream(task, Plan(*parts), filler_seed)  # type: ignore[arg-type]

    @property
    @abstractmethod
    def least_length(self) -> int:
        """The least ``input_seq_len``, in which there is no filler that could be left out."""

    @property
    @abstractmethod
    def num_stored(self) -> int:
        """How many tokens of a plan, the first, are what is to be recalled; those behind them ask."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Examples that are drawn as they are read; make one with ``StreamTask.stream``.

    Args:
        task: with the length of the examples.
        plan: of all its examples.
        filler_seed: of the filler.
    """

    task: StreamTask
    plan: Plan
    filler_seed: int

    def pieces(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """The examples ``start`` to ``stop``, the latter excluded and clipped to N: int32 ``[R, size]`` after another.

        The last piece has what is left. Beside them, a row needs a generator and its part of the plan.

        Raises:
            ValueError: ``size`` is below 1.
            IndexError: the range holds no example.
        """
        check_size(1, MAX_CONTEXT, size=size)
        n, length = self.task.num_examples, self.task.input_seq_len
        stop = n if stop is None else min(stop, n)
        if not 0 <= start < stop:
            raise IndexError(f"no examples in [{start}, {stop}) of a stream of {n}")
        return self._pieces(size, start, stop, length)

    def _pieces(self, size: int, start: int, stop: int, length: int) -> Iterator[Array]:
        plan = self.plan.rows(start, stop)
        generators = [make_rng(self.filler_seed, 1).bit_generator for _ in range(start, stop)]
        for row, generator in enumerate(generators, start):
            generator.advance(row * length)  # type: ignore[attr-defined]
        for first in range(0, length, size):
            last = min(first + size, length)
            numbers = np.stack([generator.random_raw(last - first) for generator in generators])
            tokens = self.task._filler(numbers, plan)
            found = np.nonzero((plan.places >= first) & (plan.places < last))
            tokens[found[0], plan.places[found] - first] = plan.tokens[found]
            yield tokens


def below(numbers: Array, most: int) -> Array:
    """int64 in [0, ``most``) from uint64, each from its own: the upper 32 bits scaled, uniform to 2**-32 ``most``."""
    return (((numbers >> np.uint64(32)) * np.uint64(most)) >> np.uint64(32)).astype(np.int64)
