"""H3 (Fu et al. 2023): two state-space models with a product before and after the second."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State
from mixers.checks import check_size
from mixers.decay import DT_MAX, DT_MIN, check_start
from mixers.ops.state_space import DiagonalSSM, ShiftSSM, causal_convolution, with_direct
from mixers.registry import register


@register("h3")
class H3(RecurrentMixer):
    """Hungry hungry hippos: ``y = q * SSM_diagonal(SSM_shift(k) * v)``, by FFT or as linear attention.

    Parameters are named and shaped as in Zoology's H3, so its weights load. d channels are in groups of p =
    ``head_dim``; q, k, v are linear in the input with biases; N = ``d_state``:

        k~_t = sum_n C_n s_t[n] + D_k k_t        s_t[n] = s_{t-1}[n - 1] + B_n k_t         per channel
        u_t = k~_t v_t^T                                                                   p by p, per group
        h_t = A h_{t-1} + B u_t                  y_t = 2 Re sum_n C_n h_t[n] + D u_t       per entry of u
        out_t = W_o (y_t^T q_t) + b_o

    The shift SSM is a convolution of N taps, ``sum_n C_{n+j} B_n``, B learnt from e_1. The diagonal one is S4D (Gu et
    al. 2022, arXiv 2206.11893): N / 2 complex poles a group, ``-exp(inv_A_real) + i A_imag``, from -1/2 + i pi n, made
    discrete by the bilinear rule with the group's step ``exp(log_dt)``.

    Differences from Zoology: kernels are computed in float64, so that long ones are exact; no ``l_max``; projections
    keep torch's initialisation, where Zoology draws from N(0, 0.02), which makes the product of three of them tiny
    (on MQAR of 4 pairs, 0.24 against 0.15 after 1,600 steps). It reports ``d N`` elements; what must be carried is
    counted here. Recall wants a p of 8 or more: products per group, not per channel (2,000 steps of 4 to 32 pairs, d
    64: p = 2, N = 16 gave 0.02, p = 8, N = 8 0.24, p = 16, N = 4 0.53). An FFT mixes positions within rounding
    error: later tokens change an output by about 1e-7 of its size in float32. Decoding is exact.

    Source: Fu et al. 2023, arXiv 2212.14052.
    State: ``d (N - 1)`` elements, the inputs that the shift SSM's N taps still need, and ``p d N``, the poles' complex
    states as pairs of reals. All of it is read and written for every token.

    Args:
        d_model: model width, a multiple of ``head_dim``.
        layer_idx: position in the stack; unused.
        d_state: N, even.
        head_dim: p.
        dt_min, dt_max: range of the steps at the start, log-uniform.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        d_state: int = 64,
        head_dim: int = 1,
        dt_min: float = DT_MIN,
        dt_max: float = DT_MAX,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state must be even and positive, got {d_state}")
        check_size(d_state=d_state)
        if head_dim < 1 or d_model % head_dim:
            raise ValueError(f"head_dim must divide d_model {d_model}, got {head_dim}")
        check_start(dt_min=dt_min, dt_max=dt_max)
        self.d_state, self.head_dim, self.groups = d_state, head_dim, d_model // head_dim
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.ssm_k_kernel = nn.ModuleDict({"kernel": ShiftSSM(d_model, d_state)})  # Zoology's names
        self.ssm_k_D = nn.Parameter(torch.randn(d_model))
        self.kernel = nn.ModuleDict({"kernel": DiagonalSSM(self.groups, d_state, dt_min, dt_max)})
        self.D = nn.Parameter(torch.randn(self.groups))
        self.output_linear = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(x, None)[0]

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self._mix(x, self.init_state(len(x)) if state is None else state)

    def _mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        shift = cast(ShiftSSM, self.ssm_k_kernel["kernel"])
        diagonal = cast(DiagonalSSM, self.kernel["kernel"])
        dtype = torch.promote_types(x.dtype, torch.float32)  # FFTs need as much
        projections = self.q_proj, self.k_proj, self.v_proj
        weight, bias = torch.cat([p.weight for p in projections]), torch.cat([p.bias for p in projections])
        q, k, v = F.linear(x, weight, bias).to(dtype).chunk(3, -1)
        inputs = k if state is None else torch.cat([state["inputs"].to(dtype).transpose(1, 2), k], 1)
        k = causal_convolution(inputs, with_direct(shift.taps(), self.ssm_k_D).to(dtype), x.shape[1])
        q, k, v = (t.unflatten(-1, (self.groups, self.head_dim)) for t in (q, k, v))
        poles = None if state is None else state["poles"].to(dtype)
        attends = self.head_dim >= 4 and self.d_state <= 2 * self.head_dim  # measured on a CPU, forward and backward
        with torch.autocast(x.device.type, enabled=False):
            mixed, poles = (diagonal.attend if attends else diagonal.filter)(q, k, v, self.D, poles)
        carried: State = {}
        if poles is not None:
            carried = {"inputs": inputs[:, x.shape[1] :].transpose(1, 2), "poles": poles}
        return self.output_linear(mixed.flatten(2).to(x.dtype)), carried

    def init_state(self, batch: int) -> State:
        p = self.head_dim
        return {
            "inputs": self._zeros(batch, self.d_model, self.d_state - 1),
            "poles": self._zeros(batch, p, p, self.groups, self.d_state // 2, 2),
        }

    def state_size(self, sequence_length: int) -> int:
        return self.d_model * (self.d_state - 1) + self.head_dim * self.d_model * self.d_state
