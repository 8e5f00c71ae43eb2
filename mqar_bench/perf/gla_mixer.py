"""fla's GLA operation as a mixer, for timing a training step only: it cannot decode and is not registered."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mixers import SequenceMixer
from mqar_bench.perf.peers import gla_operation

#: GLA divides its log-decays by this, so that most of the state is kept from token to token.
GATE_DIVISOR = 16


class ChunkGLA(SequenceMixer):
    """Gated linear attention (Yang et al. 2024) with d_k = d_v = ``d_model // num_heads`` and a full gate projection.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
    """

    def __init__(self, d_model: int, layer_idx: int | None = None, num_heads: int = 2) -> None:
        super().__init__(d_model, layer_idx)
        if d_model % num_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}")
        self.num_heads, self.head_dim = num_heads, d_model // num_heads
        self.qkvg_proj = nn.Linear(d_model, 4 * d_model, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, gate = self.qkvg_proj(x).unflatten(-1, (4, self.num_heads, self.head_dim)).unbind(-3)
        decay = (F.logsigmoid(gate) / GATE_DIVISOR).to(v.dtype)
        o, _ = gla_operation(x.device)(q.contiguous(), k.contiguous(), v.contiguous(), decay)
        return self.o_proj(self.norm(o).flatten(-2))

    def state_size(self, sequence_length: int) -> int:
        return self.num_heads * self.head_dim**2

    def active_state_size(self, sequence_length: int) -> int:
        return self.state_size(sequence_length)
