"""One token of decoding with addresses at hand: the dense definition, and the same on the K slots it concerns."""

from __future__ import annotations

import torch
from torch import Tensor

from mixers.ramnet.memory import pdma_reference


def step_dense(
    w: Tensor, w_idx: Tensor, r: Tensor, r_idx: Tensor, v: Tensor, S: Tensor, z: Tensor, gamma: float, eps: float
) -> Tensor:
    """``pdma_reference`` on one token; the memory is replaced. Shapes as ``step_sparse``."""
    w, w_idx, r, r_idx, v = (t.unsqueeze(1) for t in (w, w_idx, r, r_idx, v))
    o, state = pdma_reference(w, w_idx, r, r_idx, v, S.shape[2], gamma, eps, (S, z), True, False)
    assert state is not None
    S.copy_(state[0])
    z.copy_(state[1])
    return o.squeeze(1)


def step_sparse(
    w: Tensor, w_idx: Tensor, r: Tensor, r_idx: Tensor, v: Tensor, S: Tensor, z: Tensor, gamma: float, eps: float
) -> Tensor:
    """Write K slots and read K' of them (equation 7), in place.

    Args:
        w, w_idx, r, r_idx: ``[B, H, K]`` and ``[B, H, K']``.
        v: ``[B, H, D]``.
        S, z: ``[B, H, M, D]`` and ``[B, H, M]``, updated.

    Returns:
        o ``[B, H, D]``.
    """
    w_idx, r_idx = w_idx.long(), r_idx.long()
    rows = w_idx[..., None].expand(*w_idx.shape, v.shape[-1])
    a = (1 - w).clamp(min=0) ** gamma
    S.scatter_(2, rows, a[..., None] * S.gather(2, rows) + w[..., None] * v[:, :, None].to(S.dtype))
    z.scatter_(2, w_idx, a * z.gather(2, w_idx) + w)
    c = r / (z.gather(2, r_idx) + eps)
    read = S.gather(2, r_idx[..., None].expand(*r_idx.shape, v.shape[-1]))
    return torch.einsum("bhk,bhkd->bhd", c.to(S.dtype), read).to(v.dtype)
