"""Which K of how many slots M learn at all, how fast, and what starting with more slots changes."""

from __future__ import annotations

from mixers.ramnet.mixer import default_train_top_k
from mqar_bench.config import RunConfig
from sweeps.ablation import behind_conv, runs
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]

#: Slots as orders of d_p = 4, and K: two random addresses share K * K / M slots on average, from 1/256 to 16.
ORDERS = (3, 4, 5)
TOP_K = (2, 4, 8, 16, 32)
WIDTHS = (32, 16)


def configs(scale: str) -> list[RunConfig]:
    """At one learning rate, each (M, K, width of a slot) with RAM-Net's recipe, which starts with 4 sqrt(M) slots, and
    with K throughout, as in the paper."""
    designs = []
    for width in WIDTHS:
        for order in ORDERS:
            for k in TOP_K:
                size = {"order": order, "top_k": k, "head_v_dim": width}
                designs.append(behind_conv(**size))
                if default_train_top_k(4**order, k) > k:  # else the two are one
                    designs.append(behind_conv(**size, train_top_k=k))
    return runs("trainability", scale, designs, [1e-2])
