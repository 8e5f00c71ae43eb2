"""RWKV-4 time mixing (Peng et al. 2023): an average over the past, weighted by keys, that decays per channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mixers.base import EngineChoice, RecurrentMixer, State
from mixers.checks import check_size
from mixers.ops import scan
from mixers.ops.causal_conv import prepend
from mixers.ops.wkv import nothing_yet, wkv
from mixers.registry import register


@register("rwkv4")
class RWKV4(RecurrentMixer):
    """RWKV-4: ``y_t = W_o (sigmoid(r_t) * (p_{t-1} + e^(u + k_t) v_t) / (q_{t-1} + e^(u + k_t)))``, channel by channel.

    Time mixing of RWKV-4, its parameters named and shaped as in Zoology's RWKVTimeMixer and the authors' code, whose
    weights load. Per token, with ``x_* = mu_* x_t + (1 - mu_*) x_{t-1}`` for each of k, v, r:

        k = W_k x_k    v = W_v x_v    r = W_r x_r
        p_t = e^w p_{t-1} + e^(k_t) v_t    q_t = e^w q_{t-1} + e^(k_t)    w = -exp(time_decay)    u = time_first

    p and q are carried as multiples of their largest exponential, so that no key overflows.

    Initialisation is the authors', which depends on the layer, also where Zoology's fails: no ``layer_idx`` is the
    first layer, one past the end the last, and one layer or one channel is allowed; but projections start as torch's
    layers do, where the authors start those of keys, receptance and output at 0 and Zoology draws all from N(0, 0.02).
    Zoology's also needs CUDA and rounds the averages to bfloat16.

    Source: Peng et al. 2023, arXiv 2305.13048.
    State: ``4 d_model`` elements: p, q, the exponent that they are multiples of, and the token shift's last input.

    Args:
        d_model: model width.
        layer_idx: position in the stack, for the initialisation.
        num_hidden_layers: layers in the stack, for the initialisation.
    """

    def __init__(self, d_model: int, layer_idx: int | None = None, num_hidden_layers: int = 2) -> None:
        super().__init__(d_model, layer_idx)
        check_size(num_hidden_layers=num_hidden_layers)
        layer = min(layer_idx or 0, num_hidden_layers - 1)
        depth, left = layer / max(num_hidden_layers - 1, 1), 1 - layer / num_hidden_layers  # 0 to 1, 1 to almost 0
        n = torch.arange(d_model)
        along, place = n / max(d_model - 1, 1), (n / d_model)[None, None]
        self.time_decay = nn.Parameter(-5 + 8 * along ** (0.7 + 1.3 * depth))
        self.time_first = nn.Parameter(math.log(0.3) + 0.5 * ((n + 1) % 3 - 1))
        self.time_mix_k = nn.Parameter(place**left)
        self.time_mix_v = nn.Parameter(place**left + 0.3 * depth)
        self.time_mix_r = nn.Parameter(place ** (0.5 * left))
        for parameter in self.parameters():
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.receptance = nn.Linear(d_model, d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        before = prepend(x[:, :-1], None if state is None else state["x"].unsqueeze(1), 1)
        k, v, r = (
            project(torch.lerp(before, x, share))
            for project, share in (
                (self.key, self.time_mix_k),
                (self.value, self.time_mix_v),
                (self.receptance, self.time_mix_r),
            )
        )
        start = None if state is None else (state["p"], state["q"], state["o"])
        y, (p, q, o) = wkv(k, v, -self.time_decay.exp(), self.time_first, start)
        return self.output(r.sigmoid() * y), {"p": p, "q": q, "o": o, "x": x[:, -1]}

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return scan.engine_for(device, dtype, decoding)

    def init_state(self, batch: int) -> State:
        zeros = self._zeros(batch, self.d_model)
        return {"p": zeros, "q": zeros, "o": nothing_yet(zeros), "x": zeros}

    def state_size(self, sequence_length: int) -> int:
        return 4 * self.d_model
