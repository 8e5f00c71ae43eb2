"""State tracking: the product of all group elements so far, where order counts (Merrill et al. 2024, arXiv 2404.08819).

Every token is an element of a finite group, and the model must predict the product of all tokens up to it: the word
problem of the group, at every position or (``scored``) at the last alone. ``Z2`` is parity, ``Zn`` counting modulo n,
``S3`` the smallest group where order counts. The word problems of ``A5`` and ``S5`` are complete for NC1; diagonal
state space models of fixed depth, the paper shows, stay within TC0 as attention does, which is thought to be smaller.
Its experiments compare ``A5`` with ``A4_x_Z5`` and ``Z60``, which have 60 elements, too. With ``group="S3"``,
``input_seq_len=6``::

    position   0   1   2   3   4   5
    token      2   1   3   0   5   4
    label      2   4   0   0   5   2

Tokens are independent and uniform on the elements, and so each label is uniform. ``mqar_bench/tasks/groups.py`` says
how they are numbered: here 2 swaps things 0 and 1, then 1 swaps 1 and 2, which together is 4.

Source: jopetty/word-problem, ``src/generate_data.py``, the code of that paper. Deviations:

- There the elements are numbered by another library.
- There the sequences of a data set are all different; here they are independent draws, which may repeat if short.
- ``scored`` is not theirs, whose models learn from all positions.
"""

# L - input_seq_len, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from mqar_bench.tasks.groups import order, running_products
from mqar_bench.tasks.sampling import Array, Rng
from mqar_bench.tasks.task import Task, check_counts


class StateTrackingConfig(Task):
    """One setting of the word problem of a group. Its ``vocab_size`` is the number of elements.

    Args:
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        input_seq_len: L, in tokens; at most 2**20.
        group: Z2 and up, S2 to S6, A3 to A6, or the product of two, such as A4_x_Z5.
        scored: all: every position, each by the product up to it; last: the last alone.
    """

    name: Literal["state_tracking"] = "state_tracking"
    num_examples: int = 1000
    input_seq_len: int = 64
    group: str = "S5"
    scored: Literal["all", "last"] = "all"

    slices: ClassVar[tuple[str, ...]] = ("input_seq_len",)

    @property
    def vocab_size(self) -> int:
        """All tokens lie below."""
        return order(self.group)

    @property
    def num_kv_pairs(self) -> int:
        """1, for what must be kept: there are no pairs."""
        return 1

    @property
    def num_answers(self) -> int:
        return self.input_seq_len if self.scored == "all" else 1

    @property
    def label(self) -> str:
        return f"{self.name}-{self.group}-L{self.input_seq_len}" + "-last" * (self.scored == "last")

    @model_validator(mode="after")
    def _check(self) -> StateTrackingConfig:
        order(self.group)
        check_counts(self, "input_seq_len")
        return self

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, length = tokens.shape
        tokens[:] = rng.integers(0, self.vocab_size, size=tokens.shape, dtype=np.int32)
        scored = np.arange(length - self.num_answers, length)
        return np.tile(scored, (rows, 1)), running_products(self.group, tokens)[:, scored]
