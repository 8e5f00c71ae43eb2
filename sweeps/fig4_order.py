"""Accuracy against the order U of the product softmax, at a fixed number of slots (RAM-Net paper, Fig. 4)."""

from __future__ import annotations

from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs, token_wise
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]

#: (U, d_p) with d_p ** U slots: 64; and 4096, as in the paper, or 256 where 4096 keep more pairs than are tested.
FEW = ((1, 64), (2, 8), (3, 4), (6, 2))
MANY = ((1, 4096), (2, 64), (3, 16), (4, 8), (6, 4), (12, 2))
SMALL_MANY = ((1, 256), (2, 16), (4, 4), (8, 2))


def configs(scale: str) -> list[RunConfig]:
    """K = 8 throughout; behind a convolution with both numbers of slots, the paper's design with the smaller one."""
    many = MANY if scale == "paper" else SMALL_MANY
    designs = [behind_conv(order=order, sub_dim=sub_dim) for order, sub_dim in FEW + many]
    return runs("fig4_order", scale, designs + [token_wise(order=order, sub_dim=sub_dim) for order, sub_dim in FEW])
