"""What the mixers over slots that fade share: their state, and attention over it."""

from __future__ import annotations

import torch
from torch import Tensor

from mixers.base import State
from mixers.matrix_state import MatrixStateMixer
from mixers.ops.gated_slots import gated_slots

#: Of the logits.
MAX_SCALE = 1e6


class SlotMixer(MatrixStateMixer):
    """A mixer over M slots, each a key and a value, in every head.

    State: ``K`` ``[B, H, M, d_k]`` and ``S``, the values, ``[B, H, M, d_v]``, with those of ``MatrixStateMixer``.

    Subclasses set ``state_shape`` to (H, M, d_v) and ``head_k_dim``, and call ``attend``.
    """

    head_k_dim: int

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, w: Tensor, scale: float, state: State | None, carried: State
    ) -> Tensor:
        """The slots fade by exp(w) ``[B, T, H, M]`` and take 1 - exp(w) of k and v; what is read ``[B, T, H, d_v]``."""
        before = None if state is None else (state["K"], state["S"])
        o, after = gated_slots(q, k, v, -torch.expm1(w), w, scale, before, output_final_state=True)
        assert after is not None
        carried["K"], carried["S"] = after
        return o

    def init_state(self, batch: int) -> State:
        H, M, _ = self.state_shape
        return {"K": self._zeros(batch, H, M, self.head_k_dim), **super().init_state(batch)}

    def state_size(self, sequence_length: int) -> int:
        H, M, _ = self.state_shape
        return H * M * self.head_k_dim + super().state_size(sequence_length)
