"""The recurrence, one step of time after another."""

from __future__ import annotations

import torch
from torch import Tensor


def recurrence_reference(
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
    """A loop over time, plain autograd, any dtype: the oracle (use float64). See ``recurrence`` for shapes."""
    B, T, H, K = q.shape
    S = q.new_zeros(B, H, K, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(T):
        old = S
        if w is not None:
            decay = w[:, t].exp()
            S = (decay[..., None, None] if w.dim() == 3 else decay[..., None]) * S
        if a is not None and b is not None:
            S = S + b[:, t, :, :, None] * torch.einsum("bhk,bhkv->bhv", a[:, t], old)[:, :, None]
        S = S + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(outputs, 1), S if output_final_state else None
