"""Accuracy against the initial inverse temperature exp(alpha) of the addresses, learnable or fixed."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """alpha from -1 to 2; 0 and fixed is RAM-Net's default."""
    return runs(
        "temperature",
        scale,
        [
            behind_conv(alpha_init=alpha, learnable_temperature=learnable)
            for learnable in (True, False)
            for alpha in (-1.0, 0.0, 1.0, 2.0)
        ],
    )
