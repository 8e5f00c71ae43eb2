"""HGRN2 (Qin et al. 2024): a gated linear RNN whose input gate is one minus its forget gate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, init_linear
from mixers.layers import RMSNorm
from mixers.matrix_state import MatrixStateMixer
from mixers.ops.recurrence import recurrence
from mixers.registry import register


@register("hgrn2")
class HGRN2(MatrixStateMixer):
    """HGRN2: ``S_t = diag(f_t) S_{t-1} + (1 - f_t) i_t^T``, ``o_t = S_t^T q_t / sqrt(d_f)``.

    The forget gate's complement is the key, so nothing is written where nothing
    is forgotten. Per head, with gamma the lower bound of the gate:

        q_t = silu(W_q x_t)     f_t = gamma + (1 - gamma) sigmoid(W_f x_t)     i_t = W_i x_t
        y_t = W_o RMSNorm(o_t)                                  one norm over all heads

    Parameters and options are those of fla's HGRN2Attention, whose weights load; like it we scale by 1 / sqrt(d_f),
    which the norm cancels. The paper learns gamma per layer and channel, increasing with depth through a cumulative
    softmax over the layers, the first layer's being 0. That ties all layers of a model together; fla's layer takes it
    from its model and has none of its own, and here gamma is a constant: with L layers the paper's starts at
    layer / L. A gate starts at (1 + gamma) / 2, so with gamma 0 half of the state goes with every token.

    Source: Qin et al. 2024, arXiv 2404.07904.
    State: d_model d_f elements, and (conv_size - 1) (2 H d_f + d_model) with short convolutions.

    Args:
        d_model: model width, a multiple of H = d_model // expand_ratio.
        layer_idx: position in the stack; unused.
        expand_ratio: d_f, width of a head's gates and queries; default 32, or less to divide d_model; fla's is 128.
        use_short_conv: a causal convolution on q, f and i, without an activation.
        conv_size: its taps.
        lower_bound: gamma, in [0, 1); 0 is fla's bare layer.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        expand_ratio: int | None = None,
        use_short_conv: bool = False,
        conv_size: int = 4,
        lower_bound: float = 0.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        expand_ratio = math.gcd(32, d_model) if expand_ratio is None else expand_ratio
        if not 1 <= expand_ratio <= d_model:
            raise ValueError(f"expand_ratio must be between 1 and d_model {d_model}, got {expand_ratio}")
        num_heads = d_model // expand_ratio
        if d_model % num_heads:
            raise ValueError(
                f"d_model {d_model} must be a multiple of d_model // expand_ratio = {num_heads}, the heads"
            )
        if not 0 <= lower_bound < 1:
            raise ValueError(f"lower_bound must be in [0, 1), got {lower_bound}")
        self.num_heads = num_heads
        self.lower_bound = lower_bound
        self.state_shape = num_heads, expand_ratio, d_model // num_heads
        self.q_proj = nn.Linear(d_model, num_heads * expand_ratio, bias=False)
        self.f_proj = nn.Linear(d_model, num_heads * expand_ratio, bias=False)
        self.i_proj = nn.Linear(d_model, d_model, bias=False)
        self.g_norm = RMSNorm(d_model)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        init_linear(self.q_proj, self.f_proj, self.i_proj, self.o_proj)
        if use_short_conv:
            self.add_short_convs("qfi", conv_size)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried: State = {}
        heads = self.num_heads, -1
        q, f, i = (self.project(name, x, state, carried).unflatten(-1, heads) for name in "qfi")
        gamma = self.lower_bound
        w = torch.log(gamma + (1 - gamma) * f.sigmoid()) if gamma else F.logsigmoid(f)
        o, S = recurrence(
            F.silu(q),
            (1 - gamma) * (-f).sigmoid(),  # 1 - exp(w)
            i,
            w,
            scale=q.shape[-1] ** -0.5,
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        return self.o_proj(self.g_norm(o.flatten(-2))), {"S": S, **carried}
