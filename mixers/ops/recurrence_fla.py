"""The recurrence on flash-linear-attention's Triton kernels (CUDA): which kernel, and its conventions.

| w | a, b | kernel |
|---|---|---|
| none | none | ``chunk_linear_attn`` |
| per head | none | ``chunk_simple_gla`` |
| per channel | none | ``chunk_gla`` |
| any | given | ``chunk_dplr_delta_rule``, w spread over the channels |

and for the gated delta rule, whose beta cannot be told from a and b, ``chunk_gated_delta_rule``, or ``chunk_kda`` where
it decays per channel. The former also serves the plain delta rule, since ``chunk_delta_rule`` refuses float32. Layouts
are ours, the state's too; fla's scale has another default, so it is always given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mixers.ops.recurrence_decay import NOTHING


def as_decay(w: Tensor) -> Tensor:
    """float32, and finite: the kernels subtract sums of it."""
    return w.float().clamp(min=NOTHING[torch.float32])


def recurrence_fla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
    scale: float,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """See ``recurrence``; k, v, a and b are taken in q's dtype, w and the state in float32."""
    k, v = k.to(q.dtype), v.to(q.dtype)
    state = None if initial_state is None else initial_state.float()
    common = {"scale": scale, "initial_state": state, "output_final_state": output_final_state}
    if a is not None and b is not None:
        from fla.ops.generalized_delta_rule import chunk_dplr_delta_rule

        if w is None:
            w = torch.zeros_like(q, dtype=torch.float32)
        elif w.dim() == 3:
            w = w[..., None].expand(q.shape)
        return chunk_dplr_delta_rule(q, k, v, a=a.to(q.dtype), b=b.to(q.dtype), gk=as_decay(w), **common)
    if w is None:
        from fla.ops.linear_attn import chunk_linear_attn

        return chunk_linear_attn(q, k, v, normalize=False, **common)
    if w.dim() == 3:
        from fla.ops.simple_gla import chunk_simple_gla

        return chunk_simple_gla(q, k, v, g=as_decay(w), **common)
    from fla.ops.gla import chunk_gla

    return chunk_gla(q, k, v, g=as_decay(w), **common)


def gated_delta_rule_fla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    scale: float,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """See ``gated_delta_rule``; dtypes as in ``recurrence_fla``, beta in q's."""
    if g is not None and g.dim() == 4:
        from fla.ops.kda import chunk_kda as kernel
    else:
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule as kernel

    return kernel(
        q,
        k.to(q.dtype),
        v.to(q.dtype),
        g=torch.zeros_like(beta, dtype=torch.float32) if g is None else as_decay(g),
        beta=beta.to(q.dtype),
        scale=scale,
        initial_state=None if initial_state is None else initial_state.float(),
        output_final_state=output_final_state,
    )
