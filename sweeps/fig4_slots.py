"""Accuracy against the number of slots M, at fixed order and Top-K (RAM-Net paper, Fig. 4)."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """d_p ** 4 slots, K = 8: 16, 81, 256, 625 and 1296; at paper also 4096, which keep more pairs than are tested
    elsewhere."""
    sizes = (2, 3, 4, 5, 6) + ((8,) if scale == "paper" else ())
    return runs("fig4_slots", scale, [behind_conv(sub_dim=sub_dim) for sub_dim in sizes])
