"""RWKV-7 time mixing (Peng et al. 2025): a delta rule with a vector of decays and a removal key of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mixers.base import EngineChoice, RecurrentMixer, State
from mixers.checks import check_size
from mixers.ops.causal_conv import prepend
from mixers.ops.norm import l2_norm
from mixers.ops.recurrence import engine_for, recurrence
from mixers.registry import register

MIN_LOG_DECAY = -math.exp(-0.5)
#: What the token shift makes an input for, and the power of its schedule over the channels at the start.
SHIFTED = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}


@register("rwkv7")
class RWKV7(RecurrentMixer):
    """RWKV-7: ``S_t = diag(e^w_t) S_{t-1} - (kappa_t * a_t) kappa_t^T S_{t-1} + k_t v_t^T``, ``o_t = S_t^T r_t``.

    Time mixing of RWKV-7, its parameters named and shaped as in fla's RWKV7Attention, whose weights load for
    ``layer_idx=0``. Per token, with ``x_* = x_t + (x_{t-1} - x_t) mu_*`` for each of r, w, k, v, a, g:

        r = W_r x_r    v = W_v x_v    k' = W_k x_k    w = -e^(-1/2) sigmoid(lora_tanh(x_w))    a = sigmoid(lora(x_a))
        kappa = k' * k_k / |k' * k_k| per head        k = k' * (1 + (a - 1) * k_a)
        y = W_o ((GroupNorm_head(o) + (sum_head r * k * r_k) v) * lora_sigmoid(x_g))

    **v_first.** In a whole RWKV-7, layers after the first mix the first layer's values (v_first) into theirs. A mixer
    sees only its own input, so here every layer does as the first one: its values are its own, there is no ``v_lora``,
    and fla's weights of later layers do not load. Other differences from fla: kappa is divided by sqrt(|.|^2 + 1e-6),
    which fla does with ``fuse_norm`` and which keeps gradients finite; values are as wide as keys.

    Initialisation is fla's, which depends on the layer, also where fla fails: no ``layer_idx`` is the first layer, one
    past the end the last, and one layer is allowed. ``o_proj`` starts as in fla's language models, uniform
    within ``1 / sqrt(2 num_hidden_layers d_model)``; in its bare layer it starts at 0.

    Source: Peng et al. 2025, arXiv 2503.14456.
    State: ``d_model head_dim`` elements of S, and ``d_model`` of the token shift's last input.

    Args:
        d_model: model width, a multiple of ``head_dim``.
        layer_idx: position in the stack, for the initialisation.
        head_dim: width of a head's keys and values, at least 2; default 64, or less to divide d_model.
        num_hidden_layers: layers in the stack, for the initialisation.
        decay_low_rank_dim, a_low_rank_dim, gate_low_rank_dim: ranks of the three LoRAs; default as in fla, by width.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        head_dim: int | None = None,
        num_hidden_layers: int = 2,
        decay_low_rank_dim: int | None = None,
        a_low_rank_dim: int | None = None,
        gate_low_rank_dim: int | None = None,
    ) -> None:
        super().__init__(d_model, layer_idx)
        head_dim = math.gcd(64, d_model) if head_dim is None else head_dim
        if head_dim < 2 or d_model % head_dim:
            raise ValueError(f"head_dim must be at least 2 and divide d_model {d_model}, got {head_dim}")
        check_size(num_hidden_layers=num_hidden_layers)
        per_head = 2.5 * d_model**0.5 * head_dim / 64
        decay_rank = _rank("decay_low_rank_dim", decay_low_rank_dim, per_head)
        a_rank = _rank("a_low_rank_dim", a_low_rank_dim, per_head)
        gate_rank = _rank("gate_low_rank_dim", gate_low_rank_dim, 5 * d_model**0.5)

        self.head_dim, self.num_heads = head_dim, d_model // head_dim
        for name in SHIFTED:
            self.register_parameter(f"x_{name}", nn.Parameter(torch.zeros(1, 1, d_model)))
        self.k_k = nn.Parameter(torch.zeros(d_model))
        self.k_a = nn.Parameter(torch.zeros(d_model))
        self.r_k = nn.Parameter(torch.zeros(self.num_heads, head_dim))
        self.r_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        self.w_lora = LowRank(d_model, decay_rank, nn.Tanh())
        self.a_lora = LowRank(d_model, a_rank, nn.Identity())
        self.g_lora = LowRank(d_model, gate_rank, nn.Sigmoid(), bias=False)
        self.g_norm = nn.GroupNorm(self.num_heads, d_model, eps=head_dim * 1e-5)
        self._initialise(min(layer_idx or 0, num_hidden_layers - 1), num_hidden_layers)

    @torch.no_grad()
    def _initialise(self, layer: int, layers: int) -> None:
        """fla's, with the schedules over the channels n and over the depth that RWKV-7 was tuned with."""
        d_model, head_dim = self.d_model, self.head_dim
        n = torch.arange(d_model)
        along = n / (d_model - 1)  # 0 to 1 over the channels
        in_head = (n % head_dim - (head_dim - 1) / 2) / ((head_dim - 1) / 2)  # -1 to 1 over each head's
        zigzag = in_head * in_head.abs()
        depth = layer / max(layers - 1, 1)  # 0 to 1
        for name, power in SHIFTED.items():
            self.get_parameter(f"x_{name}").copy_(1 - (n / d_model) ** (power * (1 - layer / layers)))
        self.k_k.copy_(0.71 - 0.1 * (along - 0.5))
        self.k_a.fill_(1.02)
        self.r_k.fill_(-0.04)
        self.get_parameter("w_lora.lora.2.bias").copy_(-5.5 + 6 * along ** (1 + depth**0.3) + 2.5 * zigzag)
        self.get_parameter("a_lora.lora.2.bias").copy_(-0.19 + 0.3 * zigzag + 0.4 * (along - 0.5))
        self.g_norm.weight.fill_(((layer + 1) / layers) ** 0.7)
        nn.init.orthogonal_(self.r_proj.weight)
        nn.init.orthogonal_(self.k_proj.weight, gain=0.1)
        nn.init.orthogonal_(self.v_proj.weight)
        bound = (2 * layers * d_model) ** -0.5
        nn.init.uniform_(self.o_proj.weight, -bound, bound)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        before = prepend(x[:, :-1], None if state is None else state["x"].unsqueeze(1), 1)
        shift = before - x
        x_r, x_w, x_k, x_v, x_a, x_g = (torch.addcmul(x, shift, self.get_parameter(f"x_{name}")) for name in SHIFTED)
        heads = (self.num_heads, self.head_dim)
        k, a = self.k_proj(x_k), self.a_lora(x_a).sigmoid()
        kappa = l2_norm((k * self.k_k).unflatten(-1, heads))
        k = (k * torch.addcmul(1 - self.k_a, a, self.k_a)).unflatten(-1, heads)
        r, v = self.r_proj(x_r).unflatten(-1, heads), self.v_proj(x_v).unflatten(-1, heads)
        w = MIN_LOG_DECAY * self.w_lora(x_w).sigmoid().unflatten(-1, heads)
        removed = kappa * a.unflatten(-1, heads)
        start = None if state is None else state["S"]
        o, S = recurrence(r, k, v, w, -kappa, removed, initial_state=start, output_final_state=True)
        assert S is not None
        bonus = (r * k * self.r_k).sum(-1, keepdim=True) * v  # what the current token says, past the state
        o = self.g_norm(o.flatten(-2).flatten(0, 1)).unflatten(0, x.shape[:2]) + bonus.flatten(-2)
        return self.o_proj(o * self.g_lora(x_g)), {"S": S, "x": x[:, -1]}

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return engine_for(self.head_dim, self.head_dim, True, device, dtype, decoding)

    def init_state(self, batch: int) -> State:
        S = self._zeros(batch, self.num_heads, self.head_dim, self.head_dim)
        return {"S": S, "x": self._zeros(batch, self.d_model)}

    def state_size(self, sequence_length: int) -> int:
        return self.d_model * self.head_dim + self.d_model


class LowRank(nn.Module):
    """``W_2 act(W_1 x) + b``, fla's LoRA: W_1 starts at 0, W_2 orthogonal and small."""

    def __init__(self, width: int, rank: int, activation: nn.Module, bias: bool = True) -> None:
        super().__init__()
        down, up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=bias)
        nn.init.zeros_(down.weight)
        nn.init.orthogonal_(up.weight, gain=0.1 * max(1.0, rank / width) ** 0.5)
        self.lora = nn.Sequential(down, activation, up)

    def forward(self, x: Tensor) -> Tensor:
        return self.lora(x)


def _rank(name: str, given: int | None, wanted: float) -> int:
    """The rank given, or the multiple of 32 nearest to the one wanted."""
    if given is None:
        return max(32, round(wanted / 32) * 32)
    check_size(**{name: given})
    return given
