"""Linear attention (Katharopoulos et al. 2020): a fixed-size state, read through a kernel feature map."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import SequenceMixer, State, init_linear
from mixers.ops.linear_attention import linear_attention
from mixers.registry import register

FEATURE_MAPS = {
    "elu": lambda x: F.elu(x) + 1,
    "relu": F.relu,
    "identity": lambda x: x,
}


@register("linear_attention")
class LinearAttention(SequenceMixer):
    """Linear attention: ``S_t = S_{t-1} + phi(k_t)^T v_t``, ``o_t = phi(q_t) S_t``.

    Katharopoulos et al. 2020, with projections and options named as in fla's LinearAttention (``q_proj``, ``k_proj``,
    ``v_proj``, ``norm``, ``o_proj``). As there, an RMSNorm on each head's output stands in for the paper's division by
    ``phi(q_t) . sum_{s<=t} phi(k_s)``, which ``normalize`` brings back.
    State: H d_k d_v elements, plus H d_k with the normaliser.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        expand_k, expand_v: width of all keys, and of all values, over ``d_model``.
        feature_map: phi: ``elu`` (elu + 1), ``relu`` or ``identity``.
        normalize: divide by the summed kernel.
        output_norm: ``rmsnorm`` per head, or ``identity``.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        feature_map: Literal["elu", "relu", "identity"] = "elu",
        normalize: bool = False,
        output_norm: Literal["rmsnorm", "identity"] = "rmsnorm",
    ) -> None:
        super().__init__(d_model, layer_idx)
        key_dim, value_dim = int(d_model * expand_k), int(d_model * expand_v)
        for name, width in (("expand_k", key_dim), ("expand_v", value_dim)):
            if num_heads < 1 or width < num_heads or width % num_heads:
                raise ValueError(
                    f"{name} times d_model must be a positive multiple of num_heads {num_heads}, got {width}"
                )
        if feature_map not in FEATURE_MAPS:
            raise ValueError(f"feature_map must be one of {', '.join(FEATURE_MAPS)}, got {feature_map!r}")
        if output_norm not in ("rmsnorm", "identity"):
            raise ValueError(f"output_norm must be rmsnorm or identity, got {output_norm!r}")
        self.num_heads = num_heads
        self.head_k_dim, self.head_v_dim = key_dim // num_heads, value_dim // num_heads
        self.normalize = normalize
        self.phi = FEATURE_MAPS[feature_map]
        self.q_proj = nn.Linear(d_model, key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, value_dim, bias=False)
        self.norm = nn.RMSNorm(self.head_v_dim, eps=1e-5) if output_norm == "rmsnorm" else nn.Identity()
        self.o_proj = nn.Linear(value_dim, d_model, bias=False)
        init_linear(self.q_proj, self.k_proj, self.v_proj, self.o_proj)

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = (self.num_heads, -1)
        q = self.phi(self.q_proj(x).unflatten(-1, heads)) * self.head_k_dim**-0.5
        k = self.phi(self.k_proj(x).unflatten(-1, heads))
        v = self.v_proj(x).unflatten(-1, heads)
        return q, k, F.pad(v, (0, 1), value=1.0) if self.normalize else v  # the ones sum the keys

    def _output(self, o: Tensor) -> Tensor:
        if self.normalize:
            o = o[..., :-1] / (o[..., -1:] + 1e-6)
        return self.o_proj(self.norm(o).flatten(-2))

    def forward(self, x: Tensor) -> Tensor:
        o, _ = linear_attention(*self._qkv(x))
        return self._output(o)

    def init_state(self, batch: int) -> State:
        width = self.head_v_dim + self.normalize
        return {"S": self._zeros(batch, self.num_heads, self.head_k_dim, width)}

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self._qkv(x_t)  # [B, H, D]
        S = state["S"] + k.unsqueeze(-1) * v.unsqueeze(-2)
        return self._output(torch.einsum("bhk,bhkv->bhv", q, S)), {"S": S}

    def state_size(self, sequence_length: int) -> int:
        return self.num_heads * self.head_k_dim * (self.head_v_dim + self.normalize)

    def active_state_size(self, sequence_length: int) -> int:
        return self.state_size(sequence_length)
