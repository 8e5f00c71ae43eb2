"""One token of the sparse delta memory, in PyTorch: only the slots that it concerns are computed with."""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_delta_step(
    k: Tensor, k_idx: Tensor, q: Tensor, q_idx: Tensor, v: Tensor, beta: Tensor, g: Tensor, S: Tensor, in_place: bool
) -> tuple[Tensor, Tensor]:
    """Write W slots and read R of them.

    Args:
        k, k_idx, g: ``[B, H, W]``.
        q, q_idx: ``[B, H, R]``.
        v: ``[B, H, D]``.
        beta: ``[B, H]``.
        S: ``[B, H, N, D]``.
        in_place: change S, rather than a copy of it; not with gradients.

    Returns:
        o ``[B, H, D]``, and the state.
    """
    where, read = (
        slots.long()[..., None].expand(*slots.shape, v.shape[-1]) for slots in (k_idx, q_idx)
    )  # [B, H, n, D]
    old = g.exp()[..., None] * S.gather(2, where)
    missing = v - torch.einsum("bhw,bhwd->bhd", k, old)
    new = old + k[..., None] * (beta[..., None] * missing)[:, :, None]
    S = S.scatter_(2, where, new) if in_place else S.scatter(2, where, new)
    return torch.einsum("bhr,bhrd->bhd", q, S.gather(2, read)), S
