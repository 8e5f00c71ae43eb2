"""Small parts that several mixers share; parameters named and shaped as in fla, so that its weights load.

In float32 on a CPU the convolution and the norms are compiled (``mixers.ops``), whatever engine the mixer reports.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.checks import MAX_TAPS, check_size
from mixers.ops.causal_conv import causal_conv, last_inputs
from mixers.ops.norm import rms_norm


class CausalConv1d(nn.Conv1d):
    """Depthwise causal convolution over ``[B, T, C]`` and its activation, fla's ShortConvolution.

    ``y_t = act(sum_j weight[c, 0, j] x_{t - kernel_size + 1 + j} + bias)``. State: the last ``kernel_size - 1`` inputs.

    Args:
        channels: C.
        kernel_size: taps, the current token included.
        bias: a bias per channel.
        activation: ``silu`` or ``identity``.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 4,
        bias: bool = False,
        activation: Literal["silu", "identity"] = "silu",
    ) -> None:
        check_size(1, MAX_TAPS, kernel_size=kernel_size)
        super().__init__(channels, channels, kernel_size, groups=channels, bias=bias)
        self.activation = activation

    def init_state(self, batch: int) -> Tensor:
        """``[B, kernel_size - 1, C]``: no inputs yet."""
        return self.weight.new_zeros(batch, self.state_length, self.in_channels)

    @property
    def state_length(self) -> int:
        return self.kernel_size[0] - 1

    def state_size(self) -> int:
        """Elements carried per sequence."""
        return self.state_length * self.in_channels

    def mix(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """``[B, T, C]`` after the inputs in ``state`` (None: none yet) to the outputs and the last inputs."""
        y = causal_conv(x, self.weight[:, 0], self.bias, state)
        return F.silu(y) if self.activation == "silu" else y, last_inputs(x, state, self.state_length)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x, None)[0]


class RMSNorm(nn.RMSNorm):
    """``weight x / sqrt(mean x^2 + eps)`` over the last dimension, of this width."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__(width, eps=eps)
        self.epsilon = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.epsilon)


class GatedRMSNorm(RMSNorm):
    """``RMSNorm(x) * act(gate)``, fla's FusedRMSNormGated."""

    def __init__(self, width: int, eps: float = 1e-5, activation: Literal["silu", "sigmoid"] = "silu") -> None:
        super().__init__(width, eps)
        self.act = F.silu if activation == "silu" else torch.sigmoid

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x) * self.act(gate)
