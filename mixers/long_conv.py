"""The gated long convolution of Zoology's BaseConv (Arora et al. 2023), its taps learnt as they are or by an MLP."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State, init_linear
from mixers.checks import check_size
from mixers.ops.long_convolution import long_convolution
from mixers.registry import register


@register("long_conv")
class LongConvolution(RecurrentMixer):
    """Gated long convolution: ``y = (conv(x) + x) * (W x + b) + x``, depthwise and causal, with ``l_max`` taps.

    The second of Zoology's BaseConv, that of ``kernel_size`` -1, whose parameters have the same names and shapes
    (``projection``, ``conv``), so its weights load; both residuals are inside the mixer. The taps of a channel c are

        k_j[c] = conv.filter[c, j]                                           implicit_long_conv off
        k_j[c] = MLP(j / (l_max - 1), cos(w_j), -sin(w_j))[c]                on; w_j = 2 pi 1e-4 j / l_max

    the MLP of 16 ReLUs. The angles are so small that it sees next to nothing but the first of the three.

    Differences from Zoology: with explicit taps and a sequence shorter than ``l_max`` its FFT wraps around, and earlier
    outputs depend on later tokens; else, too, they do within rounding. Here they do not. Its explicit taps start from
    N(0, 1), here from N(0, 1 / l_max), by which the sum over them is of the size of the input; its MLP starts from
    N(0, 0.02), here as torch's layers do.

    Source: Arora et al. 2023 (Zoology), arXiv 2312.04927.
    State: the last inputs, ``d_model min(T, l_max - 1)`` elements after T tokens; all of it is read for every token.
    An input of ``l_max`` tokens ago is forgotten: sequences may be longer than the filter.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        l_max: taps of the filter, the current token included.
        implicit_long_conv: taps from an MLP of their place, instead of a parameter each.
        use_act: SiLU on both factors.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        l_max: int = 1024,
        implicit_long_conv: bool = True,
        use_act: bool = False,
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(l_max=l_max)
        self.l_max = l_max
        self.use_act = use_act
        self.projection = nn.Linear(d_model, d_model)
        init_linear(self.projection)
        self.conv = (ImplicitFilter if implicit_long_conv else ExplicitFilter)(d_model, l_max)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        before = None if state is None else state["inputs"]
        inputs = x if before is None else torch.cat([before, x], 1)
        convolved = long_convolution(x, self.conv.taps(min(self.l_max, inputs.shape[1])), before) + x
        projected = self.projection(x)
        if self.use_act:
            convolved, projected = F.silu(convolved), F.silu(projected)
        return convolved * projected + x, {"inputs": inputs[:, max(0, inputs.shape[1] - self.l_max + 1) :]}

    def init_state(self, batch: int) -> State:
        return {"inputs": self._zeros(batch, 0, self.d_model)}

    def state_size(self, sequence_length: int) -> int:
        return self.d_model * min(sequence_length, self.l_max - 1)


class ExplicitFilter(nn.Module):
    """A parameter for every tap, ``[channels, l_max]``."""

    def __init__(self, channels: int, l_max: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(channels, l_max) / math.sqrt(l_max))

    def taps(self, count: int) -> Tensor:
        """The first, ``[channels, count]``."""
        return self.filter[:, :count]


class ImplicitFilter(nn.Module):
    """Taps from an MLP of their place."""

    def __init__(self, channels: int, l_max: int, hidden: int = 16) -> None:
        super().__init__()
        self.pos_emb = Positions(l_max, 3)
        self.mlp = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def taps(self, count: int) -> Tensor:
        """The first, ``[channels, count]``."""
        return self.mlp(self.pos_emb.z[0, :count]).t()


class Positions(nn.Module):
    """Features z ``[1, l_max, width]`` of the places in a filter: j / (l_max - 1), cosines and negative sines."""

    def __init__(self, l_max: int, width: int) -> None:
        super().__init__()
        self.register_buffer("z", position_features(l_max, width))

    z: Tensor


def position_features(l_max: int, width: int) -> Tensor:
    """``[1, l_max, width]``; width odd: one place, and as many cosines as negative sines, of frequencies from 1e-4 to
    one less than their number in ``l_max`` tokens."""
    place = torch.linspace(0, 1, l_max)[:, None]
    angle = 2 * math.pi * torch.linspace(0, l_max - 1, l_max)[:, None] / l_max
    bands = (width - 1) // 2
    angles = torch.linspace(1e-4, bands - 1, bands) * angle
    return torch.cat([place, angles.cos(), -angles.sin()], 1)[None]
