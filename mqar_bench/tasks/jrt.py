"""MQAR whose context is read more than once ("just read twice", Arora et al. 2024, arXiv 2407.05483).

The key-value pairs are listed ``num_passes`` times, each time in the same order; then every key is queried once, as in
MQAR. With ``vocab_size=16``, ``input_seq_len=14``, ``num_kv_pairs=2``, ``num_passes=2``, ``random_non_queries=False``::

              first pass            second pass           slots, two positions each
              key  val  key  val |  key  val  key  val |  0       1       2
    position   0    1    2    3  |   4    5    6    7  |  8   9  10  11  12  13
    token      2   13    5    9  |   2   13    5    9  |  5   0   2   0   0   0
    label                        |                     |  9      13

Keys, values, slots and filler have MQAR's laws.

Source: ``num_passes`` of ``multiquery_ar`` in HazyResearch/zoology d88d6f5, as its docstring and its layout of the
context mean it. There any value above 1 crashes, or with a single pair gives labels of another length than the inputs.
Deviations: ``num_passes`` is at least 2; 1 is MQAR. An odd ``input_seq_len`` is not refused: its last position is never
used. In the paper's prompts the question, too, is read twice; in Zoology's layout, and here, the context alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from mixers.checks import check_size
from mqar_bench.tasks.queries import RecallTask
from mqar_bench.tasks.task import MAX_LENGTH


class JRTConfig(RecallTask):
    """One setting of MQAR with a repeated context.

    Args:
        num_passes: how often the pairs are listed, from 2.
    """

    name: Literal["jrt"] = "jrt"
    num_passes: int = 2

    need: ClassVar[str] = "2 * num_kv_pairs * (num_passes + 1)"

    @property
    def label(self) -> str:
        return f"{super().label}-x{self.num_passes}"

    def _check_own(self) -> None:
        if self.num_passes == 1:
            raise ValueError("num_passes must be at least 2, got 1: a single pass is the task 'multiquery_ar'")
        check_size(2, MAX_LENGTH, num_passes=self.num_passes)
