"""Accuracy with and without the proxy gradient of the decay (RAM-Net paper, section 4.3)."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """For gamma below 1, where the true derivative of (1 - w) ** gamma grows without bound, for 1 and above; 16 of 64
    slots, where writes overlap."""
    return runs(
        "proxy_gradient",
        scale,
        [
            behind_conv(order=3, top_k=16, gamma=gamma, proxy_gradient=on)
            for gamma in (0.5, 1.0, 2.0)
            for on in (True, False)
        ],
    )
