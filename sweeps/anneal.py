"""Accuracy against how training of RAM-Net comes down to K of 64 slots: at once, fading, shrinking, or never."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """At one learning rate; scoring always uses K."""
    designs = []
    for k in (2, 4, 8):
        ways = {"anneal": "fade"}, {"anneal": "shrink"}, {"anneal_start": 1.0, "anneal_end": 1.0}, {"train_top_k": k}
        for recipe in ways:
            designs.append(behind_conv(order=3, top_k=k, **recipe))
    return runs("anneal", scale, designs, [1e-2])
