"""RAM-Nets on recall over filler, trained with and without it: gamma, K, M and CAPE, for `mqar-bench stream`.

Each differs in one choice from the first, which has 256 slots a head of which a token writes and reads 8. Those that
are trained without filler see as many steps on the same pairs, with the questions right behind them.
"""

from __future__ import annotations

from typing import Any

from mqar_bench.config import DataConfig, MixerSpec, RunConfig
from mqar_bench.tasks import DistantMQARConfig
from sweeps import long_context
from sweeps.protocols import CONV, two_layers

SCALES = ("smoke", "laptop")

#: The first, and what the others have in its place.
BASE: dict[str, Any] = {"order": 4, "sub_dim": 4, "head_v_dim": 15, "top_k": 8, "gamma": 1.0, "cape": False}
CHANGES: tuple[dict[str, Any], ...] = (
    {}, {"gamma": 0.5}, {"top_k": 4}, {"top_k": 16}, {"order": 3}, {"order": 5}, {"cape": True},
)  # fmt: skip
#: RAM-Net's best in trials of ``long_context`` at laptop.
RATE = 1e-2


def configs(scale: str) -> list[RunConfig]:
    """smoke: seconds, accuracies mean nothing. laptop: seven designs with filler, then the same without."""
    small = {"order": 2, "head_v_dim": 8, "top_k": 4} if scale == "smoke" else {}
    changes = CHANGES[:2] if scale == "smoke" else CHANGES
    return [
        two_layers(
            "long_context_slots",
            scale,
            data,
            (CONV, MixerSpec(name="ramnet", options=BASE | small | change)),
            16 if scale == "smoke" else 64,
            long_context.make_training(scale, RATE),
        )
        for data in (long_context.make_data(scale), without_filler(scale))
        for change in changes
    ]


def without_filler(scale: str) -> DataConfig:
    """The data of ``long_context``, of which training and what guides it have no filler but the token behind each
    question; the test settings are the same."""
    data = long_context.make_data(scale)
    short = {}
    for part in ("train", "validation"):
        by_pairs: dict[int, DistantMQARConfig] = {}
        for task in getattr(data, part):
            before = by_pairs.get(task.num_kv_pairs)
            every = {"num_examples": task.num_examples + (before.num_examples if before else 0)}
            by_pairs[task.num_kv_pairs] = task.at_length(task.least_length).model_copy(update=every)
        short[part] = tuple(by_pairs.values())
    return data.model_copy(update=short)
