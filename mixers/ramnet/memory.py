"""Power Decay Moving Average memory (PDMA), the obvious way: dense, one step of time after another.

Equation 7 of the RAM-Net paper (arXiv 2602.11958). With w_t and r_t the sparse write and read addresses,

    a_t = (1 - w_t) ** gamma
    S_t = diag(a_t) S_{t-1} + w_t^T v_t        S_0 = 0
    z_t = diag(a_t) z_{t-1} + w_t^T            z_0 = 1 / M
    o_t = r_t diag(z_t + eps)^{-1} S_t

The write comes before the read of the same token.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: S ``[B, H, M, D]`` and z ``[B, H, M]``.
MemoryState = tuple[Tensor, Tensor]


def empty_memory(
    batch: int, num_heads: int, num_slots: int, width: int, dtype: torch.dtype, device: torch.device
) -> MemoryState:
    """S_0 = 0 ``[B, H, M, D]`` and z_0 = 1/M ``[B, H, M]``."""
    S = torch.zeros(batch, num_heads, num_slots, width, dtype=dtype, device=device)
    z = torch.full((batch, num_heads, num_slots), 1 / num_slots, dtype=dtype, device=device)
    return S, z


def decay(w: Tensor, gamma: float, eps: float, proxy_gradient: bool) -> Tensor:
    """``(1 - w) ** gamma``; with ``proxy_gradient``, differentiated as ``(eps + (1 - eps)(1 - w)) ** gamma``.

    The exact derivative is infinite at w = 1 for gamma < 1 and zero there for gamma > 1 (section 4).
    """
    exact = (1 - w) ** gamma
    if not proxy_gradient:
        return exact
    smooth = (eps + (1 - eps) * (1 - w)) ** gamma
    return exact.detach() + (smooth - smooth.detach())


def pdma_reference(
    w: Tensor,
    w_idx: Tensor,
    r: Tensor,
    r_idx: Tensor,
    v: Tensor,
    num_slots: int,
    gamma: float,
    eps: float,
    initial_state: MemoryState | None,
    output_final_state: bool,
    proxy_gradient: bool,
) -> tuple[Tensor, MemoryState | None]:
    """Dense PDMA, plain autograd, any dtype: the oracle (use float64). See ``pdma`` for shapes."""
    B, T, H, D = v.shape
    dtype = torch.promote_types(v.dtype, torch.float32)
    out_dtype, w, r, v = v.dtype, w.to(dtype), r.to(dtype), v.to(dtype)
    write = w.new_zeros(B, T, H, num_slots).scatter(-1, w_idx.long(), w)
    read = r.new_zeros(B, T, H, num_slots).scatter(-1, r_idx.long(), r)
    if initial_state is None:
        initial_state = empty_memory(B, H, num_slots, D, dtype, v.device)
    S, z = (t.to(dtype) for t in initial_state)
    outputs = []
    for t in range(T):
        a = decay(write[:, t], gamma, eps, proxy_gradient)  # [B, H, M]
        S = a[..., None] * S + write[:, t, :, :, None] * v[:, t, :, None, :]
        z = a * z + write[:, t]
        outputs.append(torch.einsum("bhm,bhmd->bhd", read[:, t] / (z + eps), S))
    return torch.stack(outputs, 1).to(out_dtype), (S, z) if output_final_state else None
