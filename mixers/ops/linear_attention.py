"""Causal linear attention in chunks: quadratic inside a chunk, a state between chunks."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_attention_reference(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """``S_t = S_{t-1} + k_t^T v_t``, ``o_t = q_t S_t``, a loop over time: the oracle of ``linear_attention``."""
    B, T, H, D = q.shape
    S = q.new_zeros(B, H, D, v.shape[-1])
    outputs = []
    for t in range(T):
        S = S + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S))
    return torch.stack(outputs, 1), S


def linear_attention(q: Tensor, k: Tensor, v: Tensor, chunk_size: int = 64) -> tuple[Tensor, Tensor]:
    """Unnormalised causal linear attention, equal to ``linear_attention_reference``.

    Args:
        q, k: ``[B, T, H, K]``, feature map and scale applied.
        v: ``[B, T, H, V]``.
        chunk_size: tokens handled by one masked product; any T works.

    Returns:
        o ``[B, T, H, V]`` and the final state ``[B, H, K, V]``.
    """
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [B, H, T, D]
    S = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
    outputs: list[Tensor] = []
    for q_c, k_c, v_c in zip(*(t.split(chunk_size, 2) for t in (q, k, v)), strict=True):
        o = (q_c @ k_c.transpose(-1, -2)).tril() @ v_c
        outputs.append(o + q_c @ S if outputs else o)  # S is zero before the first chunk
        S = S + k_c.transpose(-1, -2) @ v_c
    return torch.cat(outputs, 2).transpose(1, 2), S
