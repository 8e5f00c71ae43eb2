"""Causal softmax attention (Vaswani et al. 2017), the mixer whose state grows with the sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State, init_linear
from mixers.checks import MAX_STD, check_number
from mixers.registry import register
from mixers.rotary import check_rotary, rotate


@register("attention")
class SoftmaxAttention(RecurrentMixer):
    """Softmax attention, multi-head: ``o_t = softmax(q_t K_{1..t}^T / sqrt(D)) V_{1..t}``.

    Parameters are named and shaped as in Zoology's MHA (``Wqkv``, ``out_proj``), so its weights load.

    Source: Vaswani et al. 2017, arXiv 1706.03762.
    State: the keys and values seen so far, ``2 T d_model`` elements; all of it is read for every token. Keys are stored
    rotated, and the position of the next one is their number, so rotary positions add nothing to the state.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        num_heads: H.
        bias: biases on the qkv projection.
        dropout: on the attention weights, in training.
        out_init_std: of the output projection; Zoology's is 0.02 / sqrt(2 n_layers), this one at its two layers.
        rotary: turn queries and keys by their position (Su et al. 2021, arXiv 2104.09864); needs an even D.
        rotary_base: of the rotary wavelengths.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        out_init_std: float = 0.01,
        rotary: bool = False,
        rotary_base: float = 10000.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        check_number(0, MAX_STD, out_init_std=out_init_std)
        if rotary:
            check_rotary(d_model // num_heads, rotary_base)
        self.num_heads = num_heads
        self.dropout = dropout
        self.rotary_base = rotary_base if rotary else None
        self.Wqkv = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model)
        init_linear(self.Wqkv)
        init_linear(self.out_proj, std=out_init_std)

    def _qkv(self, x: Tensor, start: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, T, H, D]`` of tokens at positions from ``start`` on."""
        q, k, v = self.Wqkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        if self.rotary_base is not None:
            positions = start + torch.arange(x.shape[1], device=x.device)
            q, k = rotate(q, positions, self.rotary_base), rotate(k, positions, self.rotary_base)
        return q, k, v

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool = False) -> Tensor:
        """Attention over the last two dimensions, heads before them."""
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        T, before = x.shape[1], 0 if state is None else state["k"].shape[1]
        q, k, v = self._qkv(x, before)
        if state is not None:
            k, v = torch.cat([state["k"], k], 1), torch.cat([state["v"], v], 1)
        mask: Tensor | None = None  # not needed where one token sees everything, nor for `is_causal`
        if before and T > 1:
            mask = torch.ones(T, before + T, dtype=torch.bool, device=x.device).tril(before)
        o = self._attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask, is_causal=not before)
        return self.out_proj(o.transpose(1, 2).flatten(-2)), {"k": k, "v": v}

    def init_state(self, batch: int) -> State:
        empty = self._zeros(batch, 0, self.num_heads, self.d_model // self.num_heads)
        return {"k": empty, "v": empty}

    def state_size(self, sequence_length: int) -> int:
        return 2 * self.d_model * sequence_length
