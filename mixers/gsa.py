"""Gated slot attention (Zhang et al. 2024): softmax attention over a fixed number of slots that fade."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State
from mixers.checks import check_number, check_size
from mixers.layers import RMSNorm
from mixers.matrix_state import head_width
from mixers.registry import register
from mixers.slots import MAX_SCALE, SlotMixer


@register("gsa")
class GatedSlotAttention(SlotMixer):
    """GSA, gated slot attention: M slots of a key and a value, that fade as they are written, under softmax attention.

    Per head, with a gate alpha_t in (0, 1) for each slot:

        K_t = diag(alpha_t) K_{t-1} + (1 - alpha_t) phi(k_t)^T        o_t = V_t^T softmax(scale K_t phi(q_t))
        V_t = diag(alpha_t) V_{t-1} + (1 - alpha_t) silu(v_t)^T       alpha_t = sigmoid(W_f x_t) ** (1 / tau)
        y_t = W_o RMSNorm(silu(o_t))                                  one norm over all heads

    Parameters, options and defaults are those of fla's GatedSlotAttention, whose weights load, except that
    ``num_heads`` is 4 there; its options for shared keys, a learnt feature map and biases are not offered, and
    ``use_output_gate``, which it does not read, is none. Its norm is as wide as the model, so that there ``expand_v``
    must be 1; here it is as wide as the values. Weights start as in fla's bare layer, as PyTorch's do: from the 0.02 of
    its language models, at width 64, all slots are alike, and next to nothing is learnt in a thousand steps. Of the
    passes (``mixers.ops.gated_slots``) the one over V runs on the recurrence's engines, the one over K in PyTorch.

    Source: Zhang et al. 2024, arXiv 2409.07146.
    State: H M (d_k + d_v) elements, and (conv_size - 1) (2 H d_k + H d_v) with short convolutions; all of it is read
    and written for every token.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        expand_k, expand_v: width of all keys, H d_k, and of all values, H d_v, over ``d_model``.
        num_slots: M; default d_k.
        use_short_conv: a causal convolution and SiLU on q, k and v, before phi; the paper has none.
        conv_size: its taps.
        gate_logit_normalizer: tau, how slowly a slot fades.
        feature_map: phi: ``swish`` (SiLU) or ``relu``.
        scale: of the softmax's logits.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_slots: int | None = None,
        use_short_conv: bool = False,
        conv_size: int = 4,
        gate_logit_normalizer: float = 8.0,
        feature_map: Literal["swish", "relu"] = "swish",
        scale: float = 1.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        self.head_k_dim = head_width("expand_k", d_model, expand_k, num_heads)
        head_v_dim = head_width("expand_v", d_model, expand_v, num_heads)
        num_slots = self.head_k_dim if num_slots is None else num_slots
        check_size(num_slots=num_slots)
        if not gate_logit_normalizer > 0:
            raise ValueError(f"gate_logit_normalizer must be above 0, got {gate_logit_normalizer}")
        if feature_map not in ("swish", "relu"):
            raise ValueError(f"feature_map must be swish or relu, got {feature_map!r}")
        check_number(0, MAX_SCALE, scale=scale)
        self.num_heads = num_heads
        self.gate_logit_normalizer, self.scale = gate_logit_normalizer, scale
        self.phi = F.silu if feature_map == "swish" else F.relu
        self.state_shape = num_heads, num_slots, head_v_dim
        key_dim, value_dim = num_heads * self.head_k_dim, num_heads * head_v_dim
        self.q_proj = nn.Linear(d_model, key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim, bias=False)
        self.f_proj = nn.Linear(d_model, num_heads * num_slots, bias=False)
        self.g_norm = RMSNorm(value_dim)
        self.o_proj = nn.Linear(value_dim, d_model, bias=False)
        if use_short_conv:
            self.add_short_convs("qkv", conv_size, activation="silu")

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried: State = {}
        heads = self.num_heads, -1
        q, k, v = (self.project(name, x, state, carried).unflatten(-1, heads) for name in "qkv")
        w = F.logsigmoid(self.f_proj(x)).unflatten(-1, heads) / self.gate_logit_normalizer
        o = self.attend(self.phi(q), self.phi(k), F.silu(v), w, self.scale, state, carried)
        return self.o_proj(self.g_norm(F.silu(o).flatten(-2))), carried
