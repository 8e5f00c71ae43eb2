"""Causal softmax attention (Vaswani et al. 2017), the mixer whose state grows with the sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import SequenceMixer, State, init_linear
from mixers.registry import register


@register("attention")
class SoftmaxAttention(SequenceMixer):
    """Softmax attention, multi-head: ``o_t = softmax(q_t K_{1..t}^T / sqrt(D)) V_{1..t}``.

    Parameters are named and shaped as in Zoology's MHA (``Wqkv``, ``out_proj``), so its weights load.
    State: the keys and values seen so far, ``2 T d_model`` elements; all of it is read for every token.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        num_heads: H.
        bias: biases on the qkv projection.
        dropout: on the attention weights, in training.
        out_init_std: of the output projection; Zoology's is 0.02 / sqrt(2 n_layers), this one at its two layers.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        out_init_std: float = 0.01,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.num_heads = num_heads
        self.dropout = dropout
        self.Wqkv = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model)
        init_linear(self.Wqkv)
        init_linear(self.out_proj, std=out_init_std)

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.Wqkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        return q, k, v  # [..., H, D] each

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.transpose(1, 2) for t in self._qkv(x))  # [B, H, T, D]
        dropout = self.dropout if self.training else 0.0
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return self.out_proj(o.transpose(1, 2).flatten(-2))

    def init_state(self, batch: int) -> State:
        empty = self._zeros(batch, 0, self.num_heads, self.d_model // self.num_heads)
        return {"k": empty, "v": empty}

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self._qkv(x_t)  # [B, H, D]
        keys = torch.cat([state["k"], k.unsqueeze(1)], 1)  # [B, T, H, D]
        values = torch.cat([state["v"], v.unsqueeze(1)], 1)
        scores = torch.einsum("bhd,bthd->bht", q, keys) * q.shape[-1] ** -0.5
        o = torch.einsum("bht,bthd->bhd", scores.softmax(-1), values)
        return self.out_proj(o.flatten(-2)), {"k": keys, "v": values}

    def state_size(self, sequence_length: int) -> int:
        return 2 * self.d_model * sequence_length

    def active_state_size(self, sequence_length: int) -> int:
        return self.state_size(sequence_length)
