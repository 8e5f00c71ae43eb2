"""DeltaNet (Schlag et al. 2021, Yang et al. 2024): a state that overwrites what it held under a key."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, init_linear
from mixers.layers import GatedRMSNorm, RMSNorm
from mixers.linear_attention import FEATURE_MAPS
from mixers.matrix_state import MatrixStateMixer, head_width
from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.norm import l2_norm
from mixers.registry import register

ACTIVATIONS = {"silu": F.silu, **FEATURE_MAPS}


@register("delta_net")
class DeltaNet(MatrixStateMixer):
    """DeltaNet: ``S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T``, ``o_t = S_t^T q_t / sqrt(d_k)``.

    The delta rule: the value under a key moves by a share beta_t to the new one. Per head:

        q_t, k_t = norm(act(conv(W x_t)))     v_t = silu(conv(W_v x_t))     beta_t = sigmoid(w_b x_t)
        y_t = W_o RMSNorm(o_t)

    Parameters, options and defaults are those of fla's DeltaNet, whose weights load, except that ``num_heads`` is 4
    there.

    Source: Schlag et al. 2021, arXiv 2102.11174; this architecture: Yang et al. 2024, arXiv 2406.06484.
    State: H d_k d_v elements, and (conv_size - 1) (2 H d_k + H d_v) of the short convolutions.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        expand_k, expand_v: width of all keys, H d_k, and of all values, H d_v, over ``d_model``.
        use_beta: without it beta_t is 1.
        use_gate: multiply the norm's output by ``silu(W_g x_t)``.
        use_short_conv: causal convolutions on q, k and v.
        conv_size: their taps.
        allow_neg_eigval: twice the beta, so that a transition can reflect (Grazzi et al. 2024, arXiv 2411.12537).
        qk_activation: ``silu``, ``relu``, ``elu`` (elu + 1) or ``identity``.
        qk_norm: ``l2``, or ``sum`` of absolute values.
    """

    delta = True

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        use_beta: bool = True,
        use_gate: bool = False,
        use_short_conv: bool = True,
        conv_size: int = 4,
        allow_neg_eigval: bool = False,
        qk_activation: Literal["silu", "relu", "elu", "identity"] = "silu",
        qk_norm: Literal["l2", "sum"] = "l2",
    ) -> None:
        super().__init__(d_model, layer_idx)
        head_k_dim = head_width("expand_k", d_model, expand_k, num_heads)
        head_v_dim = head_width("expand_v", d_model, expand_v, num_heads)
        if qk_activation not in ACTIVATIONS:
            raise ValueError(f"qk_activation must be one of {', '.join(ACTIVATIONS)}, got {qk_activation!r}")
        if qk_norm not in ("l2", "sum"):
            raise ValueError(f"qk_norm must be l2 or sum, got {qk_norm!r}")
        self.num_heads = num_heads
        self.beta_range = 2.0 if allow_neg_eigval else 1.0
        self.qk_activation, self.qk_norm = qk_activation, qk_norm
        self.state_shape = num_heads, head_k_dim, head_v_dim
        key_dim, value_dim = num_heads * head_k_dim, num_heads * head_v_dim
        self.q_proj = nn.Linear(d_model, key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim, bias=False)
        self.b_proj = nn.Linear(d_model, num_heads, bias=False) if use_beta else None
        self.g_proj = nn.Linear(d_model, value_dim, bias=False) if use_gate else None
        self.o_norm = GatedRMSNorm(head_v_dim) if use_gate else RMSNorm(head_v_dim)
        self.o_proj = nn.Linear(value_dim, d_model, bias=False)
        init_linear(*(layer for layer in self.children() if isinstance(layer, nn.Linear)))
        if use_short_conv:
            self.add_short_convs("qkv", conv_size)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried: State = {}
        heads = self.num_heads, -1
        q, k, v = (self.project(name, x, state, carried).unflatten(-1, heads) for name in "qkv")
        beta = x.new_ones(*x.shape[:2], self.num_heads) if self.b_proj is None else self.b_proj(x).sigmoid()
        o, S = gated_delta_rule(
            self._address(q),
            self._address(k),
            F.silu(v),
            self.beta_range * beta,
            scale=q.shape[-1] ** -0.5,
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        o = self.o_norm(o) if self.g_proj is None else self.o_norm(o, self.g_proj(x).unflatten(-1, heads))
        return self.o_proj(o.flatten(-2)), {"S": S, **carried}

    def _address(self, x: Tensor) -> Tensor:
        x = ACTIVATIONS[self.qk_activation](x)
        return l2_norm(x) if self.qk_norm == "l2" else F.normalize(x, p=1, dim=-1, eps=1e-6)
