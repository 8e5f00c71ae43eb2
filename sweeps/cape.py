"""Accuracy against where CAPE is: no, some or all heads, of the shallow layer, the deep one, or both."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs, token_wise
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]


def configs(scale: str) -> list[RunConfig]:
    """Heads with CAPE, of two: each pair (shallow, deep) in the paper's design; each number behind a convolution.

    At laptop the paper's design has 64 slots: with 256 it learns nothing in that time, wherever CAPE is.
    """
    small = {"order": 3} if scale == "laptop" else {}
    paper = [token_wise(shallow, deep, **small) for shallow in (0, 1, 2) for deep in (0, 1, 2)]
    return runs("cape", scale, paper + [behind_conv(cape=heads) for heads in (0, 1, 2)])
