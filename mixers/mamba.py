"""Mamba (Gu and Dao 2023): a state of a few numbers per channel, whose decay and input the token chooses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import EngineChoice, RecurrentMixer, State
from mixers.checks import MAX_TAPS, check_size
from mixers.decay import DT_MAX, DT_MIN, check_start, start_step
from mixers.layers import CausalConv1d
from mixers.ops import scan
from mixers.ops.selective_scan import selective_scan
from mixers.registry import register


@register("mamba")
class Mamba(RecurrentMixer):
    """Mamba: ``h_t[c] = exp(dt_t[c] A[c]) h_{t-1}[c] + dt_t[c] B_t x_t[c]``, ``y_t[c] = C_t^T h_t[c] + D[c] x_t[c]``.

    A channel c has a vector h of N = ``state_size`` numbers and decays of its own. Parameters are named and shaped as
    in fla's Mamba and Zoology's (``intermediate_size`` there is di here), whose weights load. With di =
    ``expand d_model`` channels and R = ``dt_rank``:

        x', z = in_proj(u)    x = silu(conv(x') + bias)    dt', B, C = x_proj(x)    dt = softplus(dt_proj(dt'))
        A = -exp(A_log)    out = out_proj(y * silu(z))

    Initialisation is that of the authors and of both: A is -1 to -N in every channel, dt log-uniform by the bias of its
    projection, whose weights are uniform within R^(-1/2); other layers as torch's.

    Differences: nothing needs the authors' CUDA kernels; Zoology's reports ``2 d_model N`` elements whatever ``expand``
    is, and no convolution.

    Source: Gu and Dao 2023, arXiv 2312.00752.
    State: ``di N`` elements of h and ``(conv_kernel - 1) di`` of the convolution's last inputs.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        state_size: N.
        expand: di over d_model.
        conv_kernel: taps of the convolution, the current token included.
        use_conv_bias: a bias per channel of the convolution.
        use_bias: biases of the first and the last projection.
        dt_rank: R; default d_model / 16, rounded up.
        dt_min, dt_max: range of dt at the start, log-uniform.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        state_size: int = 16,
        expand: int = 2,
        conv_kernel: int = 4,
        use_conv_bias: bool = True,
        use_bias: bool = False,
        dt_rank: int | None = None,
        dt_min: float = DT_MIN,
        dt_max: float = DT_MAX,
    ) -> None:
        super().__init__(d_model, layer_idx)
        dt_rank = -(-d_model // 16) if dt_rank is None else dt_rank
        check_size(state_size=state_size, expand=expand, dt_rank=dt_rank)
        check_size(1, MAX_TAPS, conv_kernel=conv_kernel)
        check_start(dt_min=dt_min, dt_max=dt_max)
        inner = expand * d_model
        self.inner, self.ssm_state_size, self.dt_rank = inner, state_size, dt_rank
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=use_bias)
        self.conv1d = CausalConv1d(inner, conv_kernel, bias=use_conv_bias)
        self.x_proj = nn.Linear(inner, dt_rank + 2 * state_size, bias=False)
        self.dt_proj = StepProjection(dt_rank, inner, dt_min, dt_max)
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().expand(inner, -1).clone())
        self.D = nn.Parameter(torch.ones(inner))
        for parameter in (self.A_log, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        self.out_proj = nn.Linear(inner, d_model, bias=use_bias)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        x, z = self.in_proj(x).chunk(2, -1)
        x, inputs = self.conv1d.mix(x, None if state is None else state["conv"])
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.ssm_state_size, self.ssm_state_size], -1)
        dt = self.dt_proj(dt)  # [B, T, di]
        y, h = selective_scan(x, dt, -self.A_log.exp(), B, C, None if state is None else state["h"])
        y = torch.addcmul(y, self.D, x) * F.silu(z)
        return self.out_proj(y), {"h": h, "conv": inputs}

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return scan.engine_for(device, dtype, decoding)

    def init_state(self, batch: int) -> State:
        return {"h": self._zeros(batch, self.inner, self.ssm_state_size), "conv": self.conv1d.init_state(batch)}

    def state_size(self, sequence_length: int) -> int:
        return self.inner * self.ssm_state_size + self.conv1d.state_size()


class StepProjection(nn.Module):
    """``dt = softplus(W x + bias)``. No ``nn.Linear``, for models, as Zoology's, may start the biases of those at 0."""

    def __init__(self, rank: int, channels: int, dt_min: float, dt_max: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, rank).uniform_(-(rank**-0.5), rank**-0.5))
        self.bias = start_step(channels, dt_min, dt_max)

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(F.linear(x, self.weight, self.bias))
