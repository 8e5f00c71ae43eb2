"""Accuracy against gamma, the exponent of the decay: 0 is the weighted mean of all writes, 1 the paper's."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """With room (8 of 256 slots) and crowded (16 of 64), where writes overlap."""
    sizes = ({"order": 4, "top_k": 8}, {"order": 3, "top_k": 16})
    return runs("gamma", scale, [behind_conv(gamma=g, **size) for size in sizes for g in (0.0, 0.5, 1.0, 2.0)])
