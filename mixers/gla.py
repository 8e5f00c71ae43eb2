"""Gated linear attention (Yang et al. 2023): linear attention whose state fades, per channel of the key."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, init_linear
from mixers.checks import check_size
from mixers.layers import GatedRMSNorm, RMSNorm
from mixers.matrix_state import MatrixStateMixer, head_width
from mixers.ops.recurrence import recurrence
from mixers.registry import register


@register("gla")
class GatedLinearAttention(MatrixStateMixer):
    """GLA, gated linear attention: ``S_t = diag(alpha_t) S_{t-1} + k_t v_t^T``, ``o_t = S_t^T q_t / sqrt(d_k)``.

    Per head, with a gate alpha_t in (0, 1) for every channel of the key:

        alpha_t = sigmoid(W_2 W_1 x_t + b) ** (1 / gate_logit_normalizer)
        y_t = W_o (RMSNorm(o_t) * silu(W_g x_t))

    Parameters, options and defaults are those of fla's GatedLinearAttention, whose weights load, except that
    ``num_heads`` is 4 there; its options for shared keys, feature maps, other gates and clamping are not offered.

    Source: Yang et al. 2023, arXiv 2312.06635.
    State: H d_k d_v elements, and (conv_size - 1) (2 H d_k + H d_v) with short convolutions.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        expand_k, expand_v: width of all keys, H d_k, and of all values, H d_v, over ``d_model``.
        use_short_conv: a causal convolution and SiLU on q, k and v; the paper has none.
        conv_size: its taps.
        use_output_gate: ``silu(W_g x_t)``; without it the norm alone.
        gate_logit_normalizer: tau, how slowly a gate forgets.
        gate_low_rank_dim: rank of the gate's projection.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        expand_k: float = 0.5,
        expand_v: float = 1.0,
        use_short_conv: bool = False,
        conv_size: int = 4,
        use_output_gate: bool = True,
        gate_logit_normalizer: float = 16.0,
        gate_low_rank_dim: int = 16,
    ) -> None:
        super().__init__(d_model, layer_idx)
        head_k_dim = head_width("expand_k", d_model, expand_k, num_heads)
        head_v_dim = head_width("expand_v", d_model, expand_v, num_heads)
        if not gate_logit_normalizer > 0:
            raise ValueError(f"gate_logit_normalizer must be above 0, got {gate_logit_normalizer}")
        check_size(gate_low_rank_dim=gate_low_rank_dim)
        self.num_heads = num_heads
        self.gate_logit_normalizer = gate_logit_normalizer
        self.state_shape = num_heads, head_k_dim, head_v_dim
        key_dim, value_dim = num_heads * head_k_dim, num_heads * head_v_dim
        self.q_proj = nn.Linear(d_model, key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim, bias=False)
        down, up = nn.Linear(d_model, gate_low_rank_dim, bias=False), nn.Linear(gate_low_rank_dim, key_dim)
        self.gk_proj = nn.Sequential(down, up)
        self.o_proj = nn.Linear(value_dim, d_model, bias=False)
        init_linear(self.q_proj, self.k_proj, self.v_proj, down, up, self.o_proj)
        self.g_proj = nn.Linear(d_model, value_dim, bias=False) if use_output_gate else None
        if self.g_proj is not None:
            init_linear(self.g_proj)
            self.g_norm_swish_gate = GatedRMSNorm(head_v_dim)
        else:
            self.g_norm = RMSNorm(head_v_dim)
        if use_short_conv:
            self.add_short_convs("qkv", conv_size, activation="silu")

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried: State = {}
        heads = self.num_heads, -1
        q, k, v = (self.project(name, x, state, carried).unflatten(-1, heads) for name in "qkv")
        w = F.logsigmoid(self.gk_proj(x)).unflatten(-1, heads) / self.gate_logit_normalizer
        o, S = recurrence(
            q,
            k,
            v,
            w,
            scale=q.shape[-1] ** -0.5,
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        if self.g_proj is not None:
            o = self.g_norm_swish_gate(o, self.g_proj(x).unflatten(-1, heads))
        else:
            o = self.g_norm(o)
        return self.o_proj(o.flatten(-2)), {"S": S, **carried}
