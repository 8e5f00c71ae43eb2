"""Based (Arora et al. 2024): linear attention with the softmax's Taylor expansion as its kernel."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import State, init_linear
from mixers.checks import MAX_SIZE, check_number, check_size
from mixers.feature_maps import AllPoly, CosFormer, FeatureMap, Performer, PosELU, ReLU, Square, TaylorExp
from mixers.matrix_state import MatrixStateMixer
from mixers.ops.recurrence import recurrence
from mixers.registry import register

Kernel = Literal["taylor_exp", "identity", "pos_elu", "relu", "square", "all_poly", "cosformer", "performer"]

#: Those that are made from the width alone.
PLAIN: dict[str, type[FeatureMap]] = {
    "taylor_exp": TaylorExp, "identity": FeatureMap, "pos_elu": PosELU, "relu": ReLU, "square": Square,
}  # fmt: skip


@register("based")
class Based(MatrixStateMixer):
    """Based: causal linear attention, normalised, whose features are the Taylor expansion of exp to second order.

    In each head, with d' numbers for a query or a key and d_v = d_model // H for a value:

        o_t = sum_{s<=t} phi(q_t).phi(k_s) v_s / (sum_{s<=t} phi(q_t).phi(k_s) + eps)
        phi(q).phi(k) = 1 + z + z^2 / 2,   z = q.k / sqrt(d')

    This is the global half of the paper's Based; the local half is a sliding window. A whole one is a stack of
    ``short_conv``, ``sliding_window_attention`` and ``based``, as Zoology's sweeps have it.

    Parameters are named and shaped as in Zoology's Based (``proj_q``, ``proj_k``, ``proj_v``, ``proj_o``), whose
    weights load, and so are those of its feature maps. Unlike there: phi has every product of two numbers once,
    ``1 + d' + d' (d' + 1) / 2`` features, with the same kernel; ``cosformer`` takes M from ``l_max``, where Zoology
    takes the length of the input, so that its outputs depend on how many tokens follow. There are as many heads of keys
    as of queries, the only number Zoology's can run with, and no rotary positions. With ``identity``, and ``cosformer``
    over more than M tokens, weights of either sign may cancel in the denominator, as they do there. Queries and keys
    start as PyTorch's linear layers do; Zoology's models start everything with 0.02, where every value has the same
    weight; at width 64 and f = 16 they hardly learn from that in a thousand steps.

    Source: Arora et al. 2024, arXiv 2402.18668.
    State: H D (d_v + 1) elements for D features, 1 more (the position) with ``cosformer``. Zoology counts the same D,
    but builds ``1 + d' + d'^2``, which hold each product twice.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H; 1 in Zoology's sweeps, 12 by default there.
        feature_dim: d'.
        feature_map: phi: ``taylor_exp``, or of Zoology's others ``identity``, ``pos_elu`` (elu + 1), ``relu``,
            ``square``, ``all_poly``, ``cosformer``, ``performer`` (``mixers.feature_maps``).
        num_features: D of ``all_poly`` (default d') and ``performer`` (default 256); the others have their own.
        poly_init: how ``all_poly`` starts: ``randn`` (default), ``kaiming`` or ``plusminus``.
        learn_features: whether ``all_poly`` is trained.
        l_max: M of ``cosformer``, the longest sequence.
        eps: in the denominator.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 1,
        feature_dim: int = 16,
        feature_map: Kernel = "taylor_exp",
        num_features: int | None = None,
        poly_init: Literal["randn", "kaiming", "plusminus"] | None = None,
        learn_features: bool = True,
        l_max: int = 2048,
        eps: float = 1e-12,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if not 1 <= num_heads <= d_model:
            raise ValueError(f"num_heads must be between 1 and d_model {d_model}, got {num_heads}")
        check_size(feature_dim=feature_dim, l_max=l_max)
        check_number(0, 1, eps=eps)
        if feature_map not in get_args(Kernel):
            raise ValueError(f"feature_map must be one of {', '.join(get_args(Kernel))}, got {feature_map!r}")
        if num_features is not None:
            if feature_map not in ("all_poly", "performer"):
                raise ValueError(f"num_features is of all_poly and performer: feature_map {feature_map} has its own")
            check_size(num_features=num_features)
        if feature_map != "all_poly" and (poly_init is not None or not learn_features):
            raise ValueError(f"poly_init and learn_features are of all_poly: feature_map is {feature_map}")
        if feature_map == "taylor_exp" and feature_dim**2 > MAX_SIZE:
            raise ValueError(f"feature_dim of taylor_exp must be at most {int(MAX_SIZE**0.5)}, got {feature_dim}")
        head_v_dim = d_model // num_heads
        self.num_heads, self.eps = num_heads, eps
        self.proj_q = nn.Linear(d_model, num_heads * feature_dim, bias=False)
        self.proj_k = nn.Linear(d_model, num_heads * feature_dim, bias=False)
        self.proj_v = nn.Linear(d_model, num_heads * head_v_dim, bias=False)
        self.proj_o = nn.Linear(num_heads * head_v_dim, d_model, bias=False)
        init_linear(self.proj_v, self.proj_o)  # narrow queries and keys would start with all weights alike
        self.feature_map: FeatureMap
        if feature_map == "all_poly":
            self.feature_map = AllPoly(feature_dim, num_features, poly_init or "randn", learn_features)
        elif feature_map == "cosformer":
            self.feature_map = CosFormer(feature_dim, l_max)
        elif feature_map == "performer":
            self.feature_map = Performer(feature_dim, num_features)
        else:
            self.feature_map = PLAIN[feature_map](feature_dim)
        self.state_shape = num_heads, self.feature_map.size, head_v_dim + 1  # a column of ones sums the weights

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        heads, positions = (self.num_heads, -1), None
        if self.feature_map.positional:
            positions = torch.arange(x.shape[1], device=x.device)
            if state is not None:
                positions = positions + state["position"].unsqueeze(-1)
        o, S = recurrence(
            self.feature_map(self.proj_q(x).unflatten(-1, heads), positions),
            self.feature_map(self.proj_k(x).unflatten(-1, heads), positions),
            F.pad(self.proj_v(x).unflatten(-1, heads), (0, 1), value=1.0),
            initial_state=None if state is None else state["S"],
            output_final_state=True,
        )
        assert S is not None
        after = {"S": S}
        if positions is not None:
            after["position"] = (positions[..., -1] + 1).expand(len(x))
        return self.proj_o((o[..., :-1] / (o[..., -1:] + self.eps)).flatten(-2)), after

    def init_state(self, batch: int) -> State:
        state = super().init_state(batch)
        if self.feature_map.positional:
            state["position"] = torch.zeros(batch, dtype=torch.int64, device=self.proj_q.weight.device)
        return state

    def state_size(self, sequence_length: int) -> int:
        return super().state_size(sequence_length) + self.feature_map.positional
