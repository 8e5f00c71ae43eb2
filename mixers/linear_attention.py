"""Linear attention (Katharopoulos et al. 2020): a fixed-size state, read through a kernel feature map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, init_linear
from mixers.layers import RMSNorm
from mixers.matrix_state import MatrixStateMixer, head_width
from mixers.ops.recurrence import recurrence
from mixers.registry import register


def _elu(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def _identity(x: Tensor) -> Tensor:
    return x


#: By name; functions of the module, so that a mixer that holds one can be pickled.
FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {"elu": _elu, "relu": F.relu, "identity": _identity}


@register("linear_attention")
class LinearAttention(MatrixStateMixer):
    """Linear attention: ``S_t = S_{t-1} + phi(k_t) v_t^T``, ``o_t = S_t^T phi(q_t) / sqrt(d_k)``.

    Projections and options are named as in fla's LinearAttention, whose weights load (``q_proj``, ``k_proj``,
    ``v_proj``, ``norm``, ``o_proj``). As there, an RMSNorm on each head's output stands in for the paper's division by
    ``phi(q_t) . sum_{s<=t} phi(k_s)``, which ``normalize`` (fla's ``do_feature_map_norm``) brings back. fla's default
    feature map, a learnt one, is not offered, and its default ``num_heads`` is 8.

    Source: Katharopoulos et al. 2020, arXiv 2006.16236.
    State: H d_k d_v elements, plus H d_k with the normaliser.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        expand_k, expand_v: width of all keys, H d_k, and of all values, H d_v, over ``d_model``.
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
        head_k_dim = head_width("expand_k", d_model, expand_k, num_heads)
        head_v_dim = head_width("expand_v", d_model, expand_v, num_heads)
        if feature_map not in FEATURE_MAPS:
            raise ValueError(f"feature_map must be one of {', '.join(FEATURE_MAPS)}, got {feature_map!r}")
        if output_norm not in ("rmsnorm", "identity"):
            raise ValueError(f"output_norm must be rmsnorm or identity, got {output_norm!r}")
        self.num_heads = num_heads
        self.normalize = normalize
        self.state_shape = num_heads, head_k_dim, head_v_dim + normalize
        self.phi = FEATURE_MAPS[feature_map]
        self.q_proj = nn.Linear(d_model, num_heads * head_k_dim, bias=False)
        self.k_proj = nn.Linear(d_model, num_heads * head_k_dim, bias=False)
        self.v_proj = nn.Linear(d_model, num_heads * head_v_dim, bias=False)
        self.norm = RMSNorm(head_v_dim) if output_norm == "rmsnorm" else nn.Identity()
        self.o_proj = nn.Linear(num_heads * head_v_dim, d_model, bias=False)
        init_linear(self.q_proj, self.k_proj, self.v_proj, self.o_proj)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        heads = self.num_heads, -1
        q = self.phi(self.q_proj(x).unflatten(-1, heads))
        k = self.phi(self.k_proj(x).unflatten(-1, heads))
        v = self.v_proj(x).unflatten(-1, heads)
        if self.normalize:
            v = F.pad(v, (0, 1), value=1.0)  # the ones sum the keys
        o, S = recurrence(
            q,
            k,
            v,
            scale=q.shape[-1] ** -0.5,
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        if self.normalize:
            o = o[..., :-1] / (o[..., -1:] + 1e-6)
        return self.o_proj(self.norm(o).flatten(-2)), {"S": S}
