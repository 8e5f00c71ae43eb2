"""What the mixers over one matrix per head share: the state, its size, and short convolutions behind projections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from mixers.base import EngineChoice, RecurrentMixer, State
from mixers.checks import MAX_TAPS, check_size, scaled_size
from mixers.layers import CausalConv1d
from mixers.ops.recurrence import engine_for


class MatrixStateMixer(RecurrentMixer):
    """A mixer that carries a matrix per head, and the last inputs of its short convolutions if it has any.

    Projections are called ``<name>_proj`` and the convolutions behind them ``<name>_conv1d``, as in fla.
    State: ``S`` ``[B, H, K, V]``, and ``<name>`` ``[B, kernel_size - 1, C]`` for each convolution of C channels; all
    of it is read and written for every token.

    Subclasses set ``state_shape`` to (H, K, V), ``delta`` if they use the delta rule, call ``add_short_convs`` for
    convolutions, and implement ``mix``.
    """

    state_shape: tuple[int, int, int]
    delta = False
    convolved: tuple[str, ...] = ()

    def add_short_convs(
        self, names: Iterable[str], kernel_size: int, activation: Literal["silu", "identity"] = "identity"
    ) -> None:
        """Convolve what the projections of these names return; PyTorch's initialisation, which fla's layers keep."""
        check_size(1, MAX_TAPS, conv_size=kernel_size)
        self.convolved = tuple(names)
        for name in self.convolved:
            channels = getattr(self, f"{name}_proj").out_features
            setattr(self, f"{name}_conv1d", CausalConv1d(channels, kernel_size, activation=activation))

    def project(self, name: str, x: Tensor, state: State | None, carried: State) -> Tensor:
        """Projection, and the convolution behind it if there is one, whose last inputs go into ``carried``."""
        y: Tensor = getattr(self, f"{name}_proj")(x)
        if name in self.convolved:
            conv: CausalConv1d = getattr(self, f"{name}_conv1d")
            y, carried[name] = conv.mix(y, None if state is None else state[name])
        return y

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        _, K, V = self.state_shape
        return engine_for(K, V, self.delta, device, dtype, decoding)

    def init_state(self, batch: int) -> State:
        convolutions = {name: getattr(self, f"{name}_conv1d").init_state(batch) for name in self.convolved}
        return {"S": self._zeros(batch, *self.state_shape), **convolutions}

    def state_size(self, sequence_length: int) -> int:
        H, K, V = self.state_shape
        return H * K * V + sum(getattr(self, f"{name}_conv1d").state_size() for name in self.convolved)


def head_width(name: str, d_model: int, expand: float, num_heads: int) -> int:
    """Width of one head where all heads together are ``expand * d_model`` wide, rounded down."""
    width = scaled_size(name, d_model, expand)
    if num_heads < 1 or width < num_heads or width % num_heads:
        raise ValueError(f"{name} times d_model must be a positive multiple of num_heads {num_heads}, got {width}")
    return width // num_heads
