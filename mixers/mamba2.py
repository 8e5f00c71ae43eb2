"""Mamba-2 (Dao and Gu 2024): a linear recurrence with one data-dependent decay per head."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import EngineChoice, RecurrentMixer, State
from mixers.checks import MAX_TAPS, check_size
from mixers.decay import DT_MAX, DT_MIN, check_start, start_rate, start_step
from mixers.layers import CausalConv1d, RMSNorm
from mixers.ops.norm import rms_norm
from mixers.ops.recurrence import engine_for, recurrence
from mixers.registry import register


@register("mamba2")
class Mamba2(RecurrentMixer):
    """Mamba-2: ``S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T``, ``y_t = S_t^T C_t + D x_t``.

    Parameters are named and shaped as in fla's Mamba2, whose weights load. With di = ``expand d_model`` channels in H
    heads of P = ``head_dim``, and B, C of N = ``state_size`` shared by the H / G heads of each of G = ``n_groups``:

        z, xBC, dt' = in_proj(u)    x, B, C = silu(conv(xBC) + bias)    dt = softplus(dt' + dt_bias)    A = -exp(A_log)
        out = out_proj(RMSNorm(y * silu(z)) over each group's channels)

    Initialisation is that of fla's layer and of the authors: -A uniform in 1 to 16, projections and convolution as
    torch's (fla's language models draw ``in_proj`` and the convolution from N(0, 0.02), Zoology both projections).

    Differences from fla: heads of a group are neighbours, as in the authors' kernels (fla's fallback in torch tiles the
    groups over the heads when there are several); biases of the projections, ``D_has_hdim``, ``norm_before_gate`` and
    ``dt_limit`` are left out. Zoology's Mamba2 reports ``2 d_model N`` elements whatever ``expand`` is, and no
    convolution.

    Source: Dao and Gu 2024, arXiv 2405.21060.
    State: ``di N`` elements of S and ``(conv_kernel - 1) (di + 2 G N)`` of the convolution's last inputs.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        head_dim: P, divides di; default 64, or less to divide it.
        state_size: N.
        expand: di over d_model.
        n_groups: G, divides H.
        conv_kernel: taps of the convolution, the current token included.
        use_conv_bias: a bias per channel of the convolution.
        dt_min, dt_max: range of dt at the start, log-uniform.
        A_min, A_max: range of -A at the start, uniform.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        head_dim: int | None = None,
        state_size: int = 128,
        expand: int = 2,
        n_groups: int = 1,
        conv_kernel: int = 4,
        use_conv_bias: bool = True,
        dt_min: float = DT_MIN,
        dt_max: float = DT_MAX,
        A_min: float = 1.0,
        A_max: float = 16.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(state_size=state_size, expand=expand)
        check_size(1, MAX_TAPS, conv_kernel=conv_kernel)
        inner = expand * d_model
        head_dim = math.gcd(64, inner) if head_dim is None else head_dim
        if head_dim < 1 or inner % head_dim:
            raise ValueError(f"head_dim must divide expand * d_model = {inner}, got {head_dim}")
        heads = inner // head_dim
        if n_groups < 1 or heads % n_groups:
            raise ValueError(f"n_groups must divide the {heads} heads, got {n_groups}")
        check_start(dt_min=dt_min, dt_max=dt_max, A_min=A_min, A_max=A_max)
        self.num_heads, self.head_dim, self.n_groups = heads, head_dim, n_groups
        self.ssm_state_size = state_size
        self.inner, conv_channels = inner, inner + 2 * n_groups * state_size
        self.in_proj = nn.Linear(d_model, inner + conv_channels + heads, bias=False)
        self.conv1d = CausalConv1d(conv_channels, conv_kernel, bias=use_conv_bias)
        self.dt_bias, self.A_log = start_step(heads, dt_min, dt_max), start_rate(heads, A_min, A_max)
        self.D = nn.Parameter(torch.ones(heads))
        self.D._no_weight_decay = True  # type: ignore[attr-defined]
        self.norm = RMSNorm(inner)
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        z, xBC, dt = self.in_proj(x).split([self.inner, self.conv1d.in_channels, self.num_heads], -1)
        xBC, inputs = self.conv1d.mix(xBC, None if state is None else state["conv"])
        wide = self.n_groups * self.ssm_state_size
        values, B, C = xBC.split([self.inner, wide, wide], -1)
        values = values.unflatten(-1, (self.num_heads, self.head_dim))  # [B, T, H, P]
        B, C = (self._per_head(t) for t in (B, C))  # [B, T, H, N]
        dt = F.softplus(dt + self.dt_bias)  # [B, T, H]
        y, S = recurrence(
            C,
            B,
            dt.unsqueeze(-1) * values,
            w=-dt * self.A_log.exp(),
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        y = torch.addcmul(y, self.D.unsqueeze(-1), values).flatten(-2)
        return self.out_proj(self._gated_norm(y, z)), {"S": S, "conv": inputs}

    def _per_head(self, groups: Tensor) -> Tensor:
        """B or C ``[B, T, G N]`` to ``[B, T, H, N]``."""
        return groups.unflatten(-1, (self.n_groups, -1)).repeat_interleave(self.num_heads // self.n_groups, -2)

    def _gated_norm(self, y: Tensor, z: Tensor) -> Tensor:
        y = y * F.silu(z)
        if self.n_groups == 1:
            return self.norm(y)
        return rms_norm(y.unflatten(-1, (self.n_groups, -1)), None, self.norm.epsilon).flatten(-2) * self.norm.weight

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return engine_for(self.ssm_state_size, self.head_dim, False, device, dtype, decoding)

    def init_state(self, batch: int) -> State:
        S = self._zeros(batch, self.num_heads, self.ssm_state_size, self.head_dim)
        return {"S": S, "conv": self.conv1d.init_state(batch)}

    def state_size(self, sequence_length: int) -> int:
        return self.inner * self.ssm_state_size + self.conv1d.state_size()
