"""Raven (Afzal, Bick et al. 2026): gated slot attention whose tokens write only the slots that a router picks."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, at_least_float32, init_linear
from mixers.checks import check_number, check_size
from mixers.decay import start_rate, start_step
from mixers.layers import GatedRMSNorm, RMSNorm
from mixers.matrix_state import head_width
from mixers.registry import register
from mixers.slots import MAX_SCALE, SlotMixer

#: What A starts between, with ``decay_type`` Mamba2.
A_RANGE = (1e-4, 16.0)


@register("raven")
class Raven(SlotMixer):
    """Raven: of M slots a token writes, and lets fade, only the k that a router picks; it reads all of them.

    Per head, with r_t the router's scores at their k largest, over their sum, and 0 elsewhere:

        K_t = diag(alpha_t) K_{t-1} + (1 - alpha_t) k_t^T      o_t = V_t^T softmax(scale K_t q_t)
        V_t = diag(alpha_t) V_{t-1} + (1 - alpha_t) v_t^T      alpha_t = exp(r_t w_t): 1 where r_t is 0
        scores = sigmoid(W_r x_t)      w_t = -exp(A_log) softplus(W_a x_t + dt_bias)
        q_t, k_t = RMSNorm(phi(.))     v_t = silu(.)     y_t = W_o RMSNorm(silu(o_t))

    Parameters, options and defaults are those of fla's Raven, whose weights load, except that ``num_heads`` is 4 and
    ``topk`` 32 there, and ``add_gumbel_noise`` is on. That noise is added to the router's logits in training alone, and
    drawn as dropout is, from torch's generator, which a run seeds. Of equal scores the lower slot wins. Not offered are
    fla's shared keys, rotary positions, learnt feature map, other activations, and ``bias_rmm``, a bias that only
    chooses, so that no gradient trains it. Of the two passes (``mixers.ops.gated_slots``) the one over V runs on the
    recurrence's engines, the one over K in PyTorch; both touch all slots.

    Source: Afzal, Bick, Xing, Cevher, Gu 2026, https://github.com/goombalab/raven.
    State: H M (d_k + d_v) elements. A token writes k slots of M in each head but reads every one, so all is active.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        expand_k, expand_v: width of all keys, H d_k, and of all values, H d_v, over ``d_model``.
        num_slots: M; default d_k.
        topk: k; default M / 8, rounded down, at least 1.
        decay_type: ``Mamba2``, a rate per head as above, or ``GLA``, per slot: ``logsigmoid(W_f x) / tau``.
        gate_logit_normalizer: tau.
        router_score: ``sigmoid``, or ``softmax`` over the slots, which is not divided by its sum.
        router_type: W_r is one matrix (``lin``) or two with a GELU between (``mlp``).
        add_gumbel_noise: on the router's logits in training.
        feature_map: phi: ``swish`` (SiLU) or ``relu``.
        use_output_gate: RMSNorm per head, then times silu(W_g x_t), instead of one norm over all heads.
        scale: of the softmax's logits.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_slots: int | None = None,
        topk: int | None = None,
        decay_type: Literal["Mamba2", "GLA"] = "Mamba2",
        gate_logit_normalizer: float = 8.0,
        router_score: Literal["sigmoid", "softmax"] = "sigmoid",
        router_type: Literal["lin", "mlp"] = "lin",
        add_gumbel_noise: bool = False,
        feature_map: Literal["swish", "relu"] = "swish",
        use_output_gate: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        self.head_k_dim = head_width("expand_k", d_model, expand_k, num_heads)
        head_v_dim = head_width("expand_v", d_model, expand_v, num_heads)
        num_slots = self.head_k_dim if num_slots is None else num_slots
        check_size(num_slots=num_slots)
        topk = max(1, num_slots // 8) if topk is None else topk
        if not 1 <= topk <= num_slots:
            raise ValueError(f"topk must be between 1 and num_slots {num_slots}, got {topk}")
        for name, value, known in (
            ("decay_type", decay_type, ("Mamba2", "GLA")),
            ("router_score", router_score, ("sigmoid", "softmax")),
            ("router_type", router_type, ("lin", "mlp")),
            ("feature_map", feature_map, ("swish", "relu")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, got {value!r}")
        if not gate_logit_normalizer > 0:
            raise ValueError(f"gate_logit_normalizer must be above 0, got {gate_logit_normalizer}")
        check_number(0, MAX_SCALE, scale=scale)
        self.num_heads, self.topk, self.scale = num_heads, topk, scale
        self.decay_type, self.gate_logit_normalizer = decay_type, gate_logit_normalizer
        self.router_score, self.add_gumbel_noise = router_score, add_gumbel_noise
        self.phi = F.silu if feature_map == "swish" else F.relu
        self.state_shape = num_heads, num_slots, head_v_dim
        key_dim, value_dim, slots = num_heads * self.head_k_dim, num_heads * head_v_dim, num_heads * num_slots
        self.q_proj = nn.Linear(d_model, key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim, bias=False)
        if decay_type == "Mamba2":
            self.a_proj = nn.Linear(d_model, num_heads, bias=False)
            self.A_log, self.dt_bias = start_rate(num_heads, *A_RANGE), start_step(num_heads)
        else:
            self.f_proj = nn.Linear(d_model, slots, bias=False)
        last = nn.Linear(d_model, slots, bias=False)
        self.r_proj = last if router_type == "lin" else nn.Sequential(nn.Linear(d_model, d_model), nn.GELU(), last)
        self.q_norm, self.k_norm = RMSNorm(self.head_k_dim), RMSNorm(self.head_k_dim)
        self.o_gate_proj = nn.Linear(d_model, value_dim, bias=False) if use_output_gate else None
        if use_output_gate:
            self.o_norm = GatedRMSNorm(head_v_dim)
        else:
            self.g_norm = RMSNorm(value_dim)
        self.o_proj = nn.Linear(value_dim, d_model, bias=False)
        init_linear(*(module for module in self.modules() if isinstance(module, nn.Linear)))

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried: State = {}
        heads = self.num_heads, -1
        q, k, v = (self.project(name, x, state, carried).unflatten(-1, heads) for name in "qkv")
        q, k = self.q_norm(self.phi(q)), self.k_norm(self.phi(k))
        o = F.silu(self.attend(q, k, F.silu(v), self._decay(x) * self._route(x), self.scale, state, carried))
        if self.o_gate_proj is None:
            return self.o_proj(self.g_norm(o.flatten(-2))), carried
        return self.o_proj(self.o_norm(o, self.o_gate_proj(x).unflatten(-1, heads)).flatten(-2)), carried

    def _decay(self, x: Tensor) -> Tensor:
        """w, at most 0: ``[B, T, H, 1]``, or ``[B, T, H, M]``; float32 at least."""
        if self.decay_type == "GLA":
            w = F.logsigmoid(at_least_float32(self.f_proj(x))) / self.gate_logit_normalizer
            return w.unflatten(-1, (self.num_heads, -1))
        dt = F.softplus(at_least_float32(self.a_proj(x)) + self.dt_bias)
        return (-at_least_float32(self.A_log).exp() * dt).unsqueeze(-1)

    def _route(self, x: Tensor) -> Tensor:
        """r, ``[B, T, H, M]``: 0 but for k slots of each head."""
        logits = at_least_float32(self.r_proj(x)).unflatten(-1, (self.num_heads, -1))
        if self.training and self.add_gumbel_noise:
            logits = logits - torch.empty_like(logits).exponential_().log()
        scores = logits.sigmoid() if self.router_score == "sigmoid" else logits.softmax(-1)
        best, slot = scores.sort(dim=-1, descending=True, stable=True)
        best, slot = best[..., : self.topk], slot[..., : self.topk]
        if self.router_score == "sigmoid":
            best = best / (best.sum(-1, keepdim=True) + 1e-9)
        return torch.zeros_like(scores).scatter(-1, slot, best)
