"""Rotary positions (Su et al. 2021, arXiv 2104.09864): queries and keys turned by their position."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, positions: Tensor, base: float = 10000.0, interleaved: bool = False) -> Tensor:
    """Turn channels i and i + D/2 of every head by the angle ``position * base^(-2i/D)``.

    A product of two rotated vectors then depends on their positions only through the distance. The channels are paired
    by halves, as in fla and GPT-NeoX. Angles are computed in float64, so that far positions stay exact.

    Args:
        x: ``[..., T, H, D]``, D even.
        positions: integers, ``[..., T]``.
        base: of the wavelengths, from 2 pi to 2 pi base.
        interleaved: turn channels 2i and 2i + 1 instead, as in GPT-J.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angle = (positions.unsqueeze(-1) * frequency).unsqueeze(-2)  # [..., T, 1, D/2]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.unflatten(-1, (half, 2)).unbind(-1) if interleaved else x.chunk(2, -1)
    turned = first * cos - second * sin, second * cos + first * sin
    return torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)


def check_rotary(head_dim: int, base: float) -> None:
    """Whether heads of this width can be rotated.

    Raises:
        ValueError: an odd width, or a base that is not positive.
    """
    if head_dim % 2:
        raise ValueError(f"rotary positions need an even head width, got {head_dim}")
    if not base > 0:
        raise ValueError(f"rotary_base must be positive, got {base}")
