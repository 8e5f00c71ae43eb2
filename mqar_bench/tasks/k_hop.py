"""Recall over k hops: follow a chain of bindings from a key, as many steps as the query says. After Depo.

A context of edges, each from a node to the next one of a cycle, is listed in random order, as MQAR's pairs are. A query
is a mark that says how many hops, and a node; at the node the model must predict the node that lies so many hops ahead.
With ``vocab_size=32``, ``input_seq_len=20``, ``num_kv_pairs=4``, ``num_queries=2``, ``max_hops=3``,
``random_non_queries=False``, and the cycle 5, 2, 9, 7::

              edges                               slots, two positions each
              node next node next node next node next | 0       1       2       3       4       5
    position   0    1    2    3    4    5    6    7   | 8   9  10  11  12  13  14  15  16  17  18  19
    token      9    7    5    2    7    5    2    9   |17   9   0   0  18   5   0   0   0   0   0   0
    label                                             |     5               7

Nodes are distinct and uniform on [1, vocab_size // 2), and so are the cycles through them; ``vocab_size // 2 + k - 1``
is the mark of k hops, whatever the setting. Start nodes are a uniform choice in uniform order, hops independent and
uniform from ``min_hops`` to ``max_hops``. Slots are MQAR's; filler is uniform on the tokens that are no node of the
example, so it looks like no edge. With one hop this is MQAR, but that what is a value at one place is a key at another.

To know the accuracy at each number of hops, test on settings with ``min_hops`` equal to ``max_hops``.

Source: facebookresearch/PhysicsLM4, ``data-synthetic-pretrain/Depo/depo.py`` (Allen-Zhu 2025, Physics of Language
Models, part 4.1), whose task this is in the layout of MQAR. Deviations:

- A node is one token; there it is a word of one to seven tokens.
- A setting has one number of nodes; there training draws it anew for each example. ``data.train`` can list several.
- Queries have slots of their own among filler, and their answers are not written out; there queries follow each other,
  each with its answer, which a later one can read.
- Hops are fewer than a cycle has nodes, so no answer is the node asked about; there they may go round.
- ``num_cycles`` is not Depo's, which has one cycle.
"""

# K - num_kv_pairs (nodes, and edges), Q - num_queries, R - rows of one chunk

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from mixers.checks import check_size
from mqar_bench.tasks.queries import QueryTask
from mqar_bench.tasks.sampling import Array, Rng, distinct


class KHopConfig(QueryTask):
    """One setting of recall over k hops.

    Args:
        num_kv_pairs: K, pairs per example, which are edges between as many nodes.
        num_queries: Q, start nodes, and so scored positions per example; at most ``num_kv_pairs``.
        min_hops: the fewest hops of a query.
        max_hops: the most, fewer than a cycle has nodes.
        num_cycles: cycles of equal length that the nodes lie on; must divide ``num_kv_pairs``.
    """

    name: Literal["k_hop"] = "k_hop"
    num_queries: int = 4
    min_hops: int = 1
    max_hops: int = 2
    num_cycles: int = 1

    slices: ClassVar[tuple[str, ...]] = (
        "num_kv_pairs", "num_queries", "min_hops", "max_hops", "num_cycles", "input_seq_len",
    )  # fmt: skip
    need: ClassVar[str] = "2 * num_kv_pairs + 2 * num_queries"

    @property
    def num_answers(self) -> int:
        return self.num_queries

    @property
    def label(self) -> str:
        hops = f"h{self.min_hops}" + f"to{self.max_hops}" * (self.max_hops > self.min_hops)
        return f"{super().label}-q{self.num_queries}-{hops}" + f"-c{self.num_cycles}" * (self.num_cycles > 1)

    @property
    def context(self) -> int:
        return 2 * self.num_kv_pairs

    def _check_own(self) -> None:
        check_size(
            1, num_queries=self.num_queries, min_hops=self.min_hops, max_hops=self.max_hops, num_cycles=self.num_cycles
        )
        nodes, cycles = self.num_kv_pairs, self.num_cycles
        if self.num_queries > nodes:
            raise ValueError(f"num_queries={self.num_queries} is more than there are nodes: num_kv_pairs is {nodes}")
        if nodes % cycles:
            raise ValueError(f"num_cycles={cycles} must divide num_kv_pairs={nodes}")
        if self.min_hops > self.max_hops:
            raise ValueError(f"min_hops={self.min_hops} is more than max_hops={self.max_hops}")
        if self.max_hops >= nodes // cycles:
            raise ValueError(
                f"max_hops={self.max_hops} goes round: it must be below num_kv_pairs / num_cycles = {nodes // cycles},"
                " the nodes of a cycle"
            )

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        rows, pairs, half = len(tokens), self.num_kv_pairs, self.vocab_size // 2
        nodes = distinct(rng, rows, pairs, 1, half)  # along the cycles
        edges = distinct(rng, rows, pairs, 0, pairs)  # where they start, in the order of the context
        starts = distinct(rng, rows, self.num_queries, 0, pairs)
        hops = rng.integers(self.min_hops, self.max_hops + 1, size=starts.shape, dtype=np.int32)
        gaps = self._draw_gaps(rng, rows)
        self._fill(filler, tokens, without=nodes)
        self._write_pairs(tokens, 0, self._ahead(nodes, edges, 0), self._ahead(nodes, edges, 1))
        keys, answers = self._ahead(nodes, starts, 0), self._ahead(nodes, starts, hops)
        return self._write_queries(tokens, gaps, answers, half + hops - 1, keys)

    def _ahead(self, nodes: Array, places: Array, hops: Array | int) -> Array:
        """``[R, n]``: the nodes so many hops ahead of those at ``places`` ``[R, n]``."""
        length = self.num_kv_pairs // self.num_cycles
        return np.take_along_axis(nodes, places - places % length + (places + hops) % length, axis=1)
