"""One step of the recurrence: decoding, without the machinery for sequences."""

from __future__ import annotations

from torch import Tensor


def recurrence_step(
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
    """The recurrence for T = 1, in a handful of operations, differentiable. See ``recurrence`` for shapes."""
    q, k, v = q[:, 0], k[:, 0], v[:, 0]  # [B, H, K]
    S = k[..., None] * v[..., None, :]
    if initial_state is not None:
        if a is not None and b is not None:
            S = S + b[:, 0, :, :, None] * (a[:, 0, :, None] @ initial_state)
        if w is None:
            S = S + initial_state
        else:
            decay = w[:, 0].exp()
            S = S + (decay[..., None, None] if decay.dim() == 2 else decay[..., None]) * initial_state
    o = scale * (q[..., None, :] @ S)  # [B, H, 1, V]
    return o.transpose(1, 2), S if output_final_state else None
