"""Hyena (Poli et al. 2023): a long convolution between two products, its filter an MLP of the place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State
from mixers.checks import MAX_TAPS, check_number, check_size
from mixers.layers import CausalConv1d
from mixers.long_conv import position_features
from mixers.ops.long_convolution import long_convolution
from mixers.registry import register

TARGET = 1e-2  # what the window has come down to after a channel's share of the filter


@register("hyena")
class Hyena(RecurrentMixer):
    """Hyena of order 2: ``y = W_o (x2 * (h (x1 * v) + D (x1 * v)))``, h a causal convolution with ``l_max`` taps.

    Parameters are named and shaped as in Zoology's Hyena, so its weights load. x1, x2 and v are linear in the input and
    go through a short convolution each, ``short_filter_order`` taps with bias. The taps are

        h_j = MLP(t, cos(2 pi f j / l_max), -sin(2 pi f j / l_max)) * (exp(-t |delta|) + shift)    t = j / (l_max - 1)

    for (emb_dim - 1) / 2 frequencies f, with sines of one trained frequency a unit between the MLP's layers, and delta
    per channel, fixed, such that the window has come down to 0.01 after ``fast_decay_pct`` to ``slow_decay_pct`` of the
    filter.

    Differences from Zoology: one FFT mixes positions within rounding, so that its later tokens change earlier outputs;
    here they do not. A sequence may be longer than ``l_max``. Its Linear layers, also those of the MLP, start from
    N(0, 0.02), by which the filter begins as next to nothing; here as torch's do. Heads, blocks of the sequence and
    both directions are left out: with more than one head its split of the projections fails, and with blocks it mixes
    within them alone. As in Zoology the features of the places are trained (the authors' at a rate of 1e-5).

    Source: Poli et al. 2023, arXiv 2302.10866.
    State: the last x1 * v, ``d_model min(T, l_max - 1)`` elements after T tokens, and
    ``3 d_model (short_filter_order - 1)`` inputs of the short convolutions; all of it is read for every token.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        l_max: taps of the long filter, the current token included.
        filter_order: units of the MLP's layers.
        short_filter_order: taps of the short convolutions.
        dropout: on x1 * v, in training.
        emb_dim: features of a place, odd, at least 3.
        num_inner_mlps: layers of the MLP between its first and its last.
        w: frequency of the sines at the start.
        fast_decay_pct, slow_decay_pct: shares of the filter after which the windows of the last and the first channel
            have come down to 0.01.
        shift: what the window comes down to.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        l_max: int = 1024,
        filter_order: int = 64,
        short_filter_order: int = 3,
        dropout: float = 0.0,
        emb_dim: int = 3,
        num_inner_mlps: int = 2,
        w: float = 1.0,
        fast_decay_pct: float = 0.3,
        slow_decay_pct: float = 1.5,
        shift: float = 0.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(l_max=l_max, filter_order=filter_order)
        check_size(1, MAX_TAPS, short_filter_order=short_filter_order)
        check_size(0, 64, num_inner_mlps=num_inner_mlps)
        if emb_dim < 3 or emb_dim % 2 == 0:
            raise ValueError(f"emb_dim must be odd and at least 3, got {emb_dim}")
        check_size(emb_dim=emb_dim)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        check_number(-1e3, 1e3, w=w, shift=shift)
        check_number(1e-3, 1e3, fast_decay_pct=fast_decay_pct, slow_decay_pct=slow_decay_pct)
        self.l_max, self.dropout = l_max, dropout
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.short_filter = CausalConv1d(3 * d_model, short_filter_order, bias=True, activation="identity")
        window = Window(d_model, fast_decay_pct, slow_decay_pct, shift)
        self.filter_fn = Filter(d_model, l_max, filter_order, emb_dim, num_inner_mlps, w, window)
        self.out_proj = nn.Linear(d_model, d_model)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        projected, short = self.short_filter.mix(self.in_proj(x), None if state is None else state["short"])
        x1, x2, v = projected.chunk(3, -1)
        v = F.dropout(v * x1, self.dropout, self.training)
        before = None if state is None else state["inputs"]
        inputs = v if before is None else torch.cat([before, v], 1)
        taps = self.filter_fn.taps(min(self.l_max, inputs.shape[1]))
        mixed = torch.addcmul(long_convolution(v, taps, before), v, self.filter_fn.bias) * x2
        kept = inputs[:, max(0, inputs.shape[1] - self.l_max + 1) :]
        return self.out_proj(mixed), {"inputs": kept, "short": short}

    def init_state(self, batch: int) -> State:
        return {"inputs": self._zeros(batch, 0, self.d_model), "short": self.short_filter.init_state(batch)}

    def state_size(self, sequence_length: int) -> int:
        return self.d_model * min(sequence_length, self.l_max - 1) + self.short_filter.state_size()


class Filter(nn.Module):
    """The taps, and the weight of the current input beside them."""

    def __init__(
        self, channels: int, l_max: int, width: int, emb_dim: int, inner: int, w: float, window: Window
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(channels))
        self.pos_emb = Places(l_max, emb_dim)
        sine = Sine(width, w)  # one for all layers
        layers = [nn.Linear(emb_dim, width), sine]
        for _ in range(inner):
            layers += [nn.Linear(width, width), sine]
        self.implicit_filter = nn.Sequential(*layers, nn.Linear(width, channels, bias=False))
        self.modulation = window

    def taps(self, count: int) -> Tensor:
        """The first, ``[channels, count]``, computed in float64: sines of sines make much of rounding, and it would
        depend on ``count``."""
        x = self.pos_emb.z[0, :count].double()
        with torch.autocast(x.device.type, enabled=False):
            for layer in self.implicit_filter:
                if isinstance(layer, nn.Linear):
                    x = F.linear(x, layer.weight.double(), None if layer.bias is None else layer.bias.double())
                else:
                    x = layer(x)
            x = x * self.modulation(self.pos_emb.t[0, :count].double())
        return x.t().to(self.bias.dtype)


class Places(nn.Module):
    """Features z ``[1, l_max, width]`` of the places in a filter, and t ``[1, l_max, 1]``, the first of them."""

    t: Tensor

    def __init__(self, l_max: int, width: int) -> None:
        super().__init__()
        self.z = nn.Parameter(position_features(l_max, width))
        self.z._no_weight_decay = True  # type: ignore[attr-defined]
        self.register_buffer("t", torch.linspace(0, 1, l_max)[None, :, None])


class Sine(nn.Module):
    """``sin(freq x)``, a frequency a unit."""

    def __init__(self, width: int, w: float) -> None:
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, width), float(w)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class Window(nn.Module):
    """``exp(-t |delta|) + shift`` for places t ``[T, 1]``: ``[T, channels]``."""

    deltas: Tensor

    def __init__(self, channels: int, fast: float, slow: float, shift: float) -> None:
        super().__init__()
        self.shift = shift
        ends = math.log(TARGET) / slow, math.log(TARGET) / fast
        self.register_buffer("deltas", torch.linspace(*ends, channels)[None, None])

    def forward(self, t: Tensor) -> Tensor:
        return torch.exp(-t * self.deltas[0].abs()) + self.shift
