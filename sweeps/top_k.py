"""Accuracy against K, the slots that a token writes and reads, of 256."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """K from 1 to 64; training starts with more slots in all of them, as RAM-Net does by default."""
    return runs("top_k", scale, [behind_conv(top_k=k) for k in (1, 2, 4, 8, 16, 32, 64)])
