"""Gated DeltaNet (Yang et al. 2024): the delta rule on a state that fades."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, init_linear
from mixers.checks import check_size, scaled_size
from mixers.decay import DT_MAX, DT_MIN, check_start, start_rate, start_step
from mixers.layers import GatedRMSNorm, RMSNorm
from mixers.matrix_state import MatrixStateMixer
from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.norm import l2_norm
from mixers.registry import register


@register("gated_delta_net")
class GatedDeltaNet(MatrixStateMixer):
    """Gated DeltaNet: ``S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T``, delta rule and decay.

    Per head, with A and b learnt, as in Mamba2:

        o_t = S_t^T q_t / sqrt(d_k)
        q_t, k_t = l2_norm(silu(conv(W x_t)))     v_t = silu(conv(W_v x_t))     beta_t = sigmoid(w_b x_t)
        alpha_t = exp(-A softplus(w_a x_t + b))     y_t = W_o (RMSNorm(o_t) * silu(W_g x_t))

    Parameters and options are those of fla's GatedDeltaNet, whose weights load. Its defaults, head_dim 256 and
    num_heads 6, do not follow the width; here they do. As there, A starts uniform in (0, 16) and softplus(b)
    log-uniform in (0.001, 0.1), and neither decays with the weights.

    Source: Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464.
    State: H_v d_k d_v elements, and (conv_size - 1) (2 H d_k + H_v d_v) of the short convolutions.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H, of queries and keys.
        head_dim: d_k; default ``d_model // num_heads``.
        expand_v: width of a value over that of a key, d_v / d_k.
        num_v_heads: H_v, of values, a multiple of H: each key then serves several; default H.
        use_gate: ``silu(W_g x_t)``; without it the norm alone.
        use_short_conv: causal convolutions on q, k and v.
        conv_size: their taps.
        allow_neg_eigval: twice the beta, so that a transition can reflect (Grazzi et al. 2024, arXiv 2411.12537).
        dt_min, dt_max: range of softplus(b) at the start, log-uniform.
        A_min, A_max: range of A at the start, uniform.
    """

    delta = True

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        head_dim: int | None = None,
        expand_v: float = 2.0,
        num_v_heads: int | None = None,
        use_gate: bool = True,
        use_short_conv: bool = True,
        conv_size: int = 4,
        allow_neg_eigval: bool = False,
        dt_min: float = DT_MIN,
        dt_max: float = DT_MAX,
        A_min: float = 0.0,
        A_max: float = 16.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(num_heads=num_heads)
        num_v_heads = num_heads if num_v_heads is None else num_v_heads
        check_size(num_v_heads=num_v_heads)
        if num_v_heads % num_heads:
            raise ValueError(f"num_v_heads must be a positive multiple of num_heads {num_heads}, got {num_v_heads}")
        head_dim = d_model // num_heads if head_dim is None else head_dim
        if head_dim < 1:
            raise ValueError(f"head_dim must be at least 1, got {head_dim} (d_model {d_model}, num_heads {num_heads})")
        check_size(head_dim=head_dim)
        check_start(dt_min=dt_min, dt_max=dt_max, A_min=A_min, A_max=A_max)
        head_v_dim = scaled_size("expand_v", head_dim, expand_v)
        if head_v_dim < 1:
            raise ValueError(f"expand_v times head_dim {head_dim} must be at least 1, got {head_dim * expand_v}")
        self.num_heads, self.num_v_heads = num_heads, num_v_heads
        self.beta_range = 2.0 if allow_neg_eigval else 1.0
        self.state_shape = num_v_heads, head_dim, head_v_dim
        key_dim, value_dim = num_heads * head_dim, num_v_heads * head_v_dim
        self.q_proj = nn.Linear(d_model, key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim, bias=False)
        self.a_proj = nn.Linear(d_model, num_v_heads, bias=False)
        self.b_proj = nn.Linear(d_model, num_v_heads, bias=False)
        self.g_proj = nn.Linear(d_model, value_dim, bias=False) if use_gate else None
        self.o_norm = GatedRMSNorm(head_v_dim) if use_gate else RMSNorm(head_v_dim)
        self.o_proj = nn.Linear(value_dim, d_model, bias=False)
        init_linear(*(layer for layer in self.children() if isinstance(layer, nn.Linear)))
        self.A_log, self.dt_bias = start_rate(num_v_heads, A_min, A_max), start_step(num_v_heads, dt_min, dt_max)
        if use_short_conv:
            self.add_short_convs("qkv", conv_size)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried: State = {}
        q, k, v = (F.silu(self.project(name, x, state, carried)) for name in "qkv")
        q, k = (l2_norm(t.unflatten(-1, (self.num_heads, -1))) for t in (q, k))
        if self.num_v_heads > self.num_heads:
            q, k = (t.repeat_interleave(self.num_v_heads // self.num_heads, 2) for t in (q, k))
        o, S = gated_delta_rule(
            q,
            k,
            v.unflatten(-1, (self.num_v_heads, -1)),
            self.beta_range * self.b_proj(x).sigmoid(),
            -self.A_log.exp() * F.softplus(self.a_proj(x) + self.dt_bias),
            scale=q.shape[-1] ** -0.5,
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        if self.g_proj is None:
            o = self.o_norm(o)
        else:
            o = self.o_norm(o, self.g_proj(x).unflatten(-1, (self.num_v_heads, -1)))
        return self.o_proj(o.flatten(-2)), {"S": S, **carried}
