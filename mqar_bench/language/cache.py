"""What decoding carries from token to token: the mixers' own states, in the form of a cache of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from mixers.base import State, state_elements
from mqar_bench.basics.errors import UsageError


@dataclass
class Group:
    """Rows of a batch that have taken in the same number of tokens, padding not counted.

    Args:
        rows: which rows.
        states: that of each layer, the rows in this order; None where they have taken in nothing yet.
    """

    rows: list[int]
    states: list[State] | None = None

    def take(self, places: Sequence[int], rows: Sequence[int]) -> Group:
        """The states at these places, as those of these rows."""
        if self.states is None or list(places) == list(range(len(self.rows))):
            return Group(list(rows), self.states)
        return Group(list(rows), [{name: _pick(t, places) for name, t in state.items()} for state in self.states])


@dataclass(repr=False, eq=False)
class StateCache(Cache):
    """The states of all layers after the tokens so far, each batch row's without its padding.

    Rows with the same number of real tokens are kept together, as states may have tensors that grow by the token. A
    step may change the tensors in place: ``copy.deepcopy`` of a cache is a place to come back to, and the only one, as
    a state cannot be cropped. Rows can be repeated, chosen and put in another order, so beams can be searched.
    """

    groups: list[Group] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        super().__init__(layers=[])

    def __repr__(self) -> str:
        return f"StateCache(batch={self.batch}, seen={self.seen})"

    @property
    def batch(self) -> int:
        """Rows; 0 before the first token."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def is_croppable(self) -> bool:
        return False

    def begin(self, batch: int) -> list[list[int]]:
        """The rows of each group, for the next tokens of ``batch`` rows.

        Raises:
            UsageError: it holds another number of rows.
        """
        if not self.groups:
            self.groups = [Group(list(range(batch)))]
        if self.batch != batch:
            raise UsageError(f"past_key_values holds {self.batch} rows, and the batch has {batch}")
        return [group.rows for group in self.groups]

    def elements(self, row: int = 0) -> int:
        """Elements that are carried for a row, all layers: what the mixers' ``state_size`` counts."""
        group = next(group for group in self.groups if row in group.rows)
        return sum(map(state_elements, group.states or []))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens taken in, padding included: columns of the batch so far."""
        return self.seen

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: there is none."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i becomes what row ``beam_idx[i]`` was; int64 ``[rows]``."""
        chosen = beam_idx.tolist()
        place = {row: (g, i) for g, group in enumerate(self.groups) for i, row in enumerate(group.rows)}
        taken: dict[int, list[tuple[int, int]]] = {}
        for row, old in enumerate(chosen):
            g, i = place[old]
            taken.setdefault(g, []).append((i, row))
        self.groups = [self.groups[g].take(*zip(*pairs, strict=True)) for g, pairs in sorted(taken.items())]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row ``repeats`` times, one after another."""
        self.reorder_cache(torch.arange(self.batch).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only these rows; int64 ``[rows]``."""
        self.reorder_cache(indices)

    def crop(self, tokens_to_remove: int) -> None:
        """Refused.

        Raises:
            UsageError: always: a state cannot give back a token that it has taken in.
        """
        raise UsageError("a state cannot be cropped: keep copy.deepcopy(past_key_values) from before those tokens")

    def reset(self) -> None:
        """As before the first token."""
        self.groups, self.seen = [], 0


def _pick(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    return tensor.index_select(0, torch.tensor(rows, device=tensor.device))
