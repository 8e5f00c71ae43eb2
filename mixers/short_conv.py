"""The gated short convolution that Zoology puts in front of other mixers (its BaseConv)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from mixers.base import RecurrentMixer, State, init_linear
from mixers.checks import MAX_TAPS, check_size
from mixers.ops.causal_conv import causal_conv, last_inputs
from mixers.registry import register


@register("short_conv")
class ShortConvolution(RecurrentMixer):
    """Gated short convolution: ``y = conv(x) * (W x + b) + x``, depthwise and causal.

    Note that the residual is inside the mixer. Parameters are named and shaped as in Zoology's BaseConv
    (``projection``, ``conv.conv``), so its weights load.
    Source: Arora et al. 2023 (Zoology), arXiv 2312.04927.
    State: the last ``kernel_size - 1`` inputs.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        kernel_size: taps of the convolution, the current token included.
        use_act: SiLU on both factors.
    """

    def __init__(self, d_model: int, layer_idx: int | None = None, kernel_size: int = 3, use_act: bool = False) -> None:
        super().__init__(d_model, layer_idx)
        check_size(1, MAX_TAPS, kernel_size=kernel_size)
        self.kernel_size = kernel_size
        self.use_act = use_act
        self.projection = nn.Linear(d_model, d_model)
        init_linear(self.projection)
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(d_model, d_model, kernel_size, groups=d_model)})  # Zoology's name

    def _gate(self, convolved: Tensor, x: Tensor) -> Tensor:
        projected = self.projection(x)
        if self.use_act:
            convolved, projected = nn.functional.silu(convolved), nn.functional.silu(projected)
        return convolved * projected + x

    def _conv(self) -> nn.Conv1d:
        return cast(nn.Conv1d, self.conv["conv"])

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        conv, before = self._conv(), None if state is None else state["inputs"]
        y = self._gate(causal_conv(x, conv.weight[:, 0], conv.bias, before), x)
        return y, {"inputs": last_inputs(x, before, self.kernel_size - 1)}

    def init_state(self, batch: int) -> State:
        return {"inputs": self._zeros(batch, self.kernel_size - 1, self.d_model)}

    def state_size(self, sequence_length: int) -> int:
        return self.d_model * (self.kernel_size - 1)
