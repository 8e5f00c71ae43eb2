"""Product-softmax addresses, the obvious way: every one of the M slots is scored.

Equations 4 and 5 of the RAM-Net paper (arXiv 2602.11958). Key and query are split into U sub-vectors of d_p
numbers; the weight of slot j, whose base-d_p digits are i_1 ... i_U (i_1 most significant), is
``prod_u softmax(x_u)[i_u]``, and only the K largest of the M = d_p ** U weights are kept. They are not
renormalised.
"""

from __future__ import annotations

import torch
from torch import Tensor


def product_log_softmax(logits: Tensor) -> Tensor:
    """Log-weights of all slots: ``[..., U, d_p] -> [..., d_p ** U]`` (equation 4, in the log domain)."""
    logp = logits.log_softmax(-1)
    total = logp[..., 0, :]
    for u in range(1, logits.shape[-2]):
        total = (total.unsqueeze(-1) + logp[..., u, :].unsqueeze(-2)).flatten(-2)
    return total


def decode_address_reference(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Exact Top-K addresses by scoring all slots; plain autograd, any dtype. The oracle of the other engines.

    Args:
        logits: sub-vectors of keys or queries, temperature applied, ``[..., U, d_p]``.
        top_k: K, at most ``d_p ** U``.

    Returns:
        weights ``[..., K]`` in descending order (ties: lower slot first), and slots ``[..., K]`` (int32). Logits of
        16 bits are converted to float32.
    """
    scores = product_log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)))
    ordered, slots = torch.sort(scores, dim=-1, descending=True, stable=True)
    return ordered[..., :top_k].exp(), slots[..., :top_k].int()


def cyclic_shift(slots: Tensor, position: Tensor, cape: Tensor, num_slots: int) -> Tensor:
    """CAPE (equation 6): in heads where it is on, the entry at slot j moves to slot ``(j - t) mod M``.

    Args:
        slots: ``[B, T, H, K]`` int32.
        position: t of every token, ``[B, T]`` or ``[T]`` int64, counted from 0.
        cape: which heads shift, ``[H]`` bool.
        num_slots: M.
    """
    shift = (position[..., None] % num_slots * cape).int()  # [B, T, H] or [T, H]
    return (slots - shift[..., None]) % num_slots
