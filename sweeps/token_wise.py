"""RAM-Net in every layer, the paper's design, at several M and K, and with each part of how it learns left out."""

from __future__ import annotations

from typing import Any

from mqar_bench.config import DataConfig, RunConfig
from mqar_bench.tasks import MQARConfig
from sweeps.ablation import runs, token_wise
from sweeps.protocols import SCALES

__all__ = ["SCALES", "configs"]

#: Order (M is 4 to its power) and K.
SIZES = ((3, 2), (3, 8), (4, 1), (4, 2), (4, 8), (4, 32), (5, 2), (5, 8), (5, 64))
#: Of which one is also trained without each part of the recipe; at laptop with fewer slots, since with more nothing is
#: learnt in that time.
ORDER, LAPTOP_ORDER, TOP_K = 4, 3, 8
LEFT_OUT: tuple[dict[str, Any], ...] = (
    {"address_bias": False},
    {"aligned_values": False},
    {"output_gain": 0.02},
    {"tied_addresses": False},
    {"normalize_reads": False},
    {"normalize_reads": False, "output_norm": "rmsnorm"},
    {"address_init_std": 0.02},
    {"address_norm": None, "learnable_temperature": True},
    {"train_top_k": TOP_K},
    {"anneal_start": 1.0, "anneal_end": 1.0},
    {"anneal": "shrink"},
)


def configs(scale: str) -> list[RunConfig]:
    """At one learning rate. At demo 8 pairs in 64 tokens for 600 steps, scored every 50."""
    designs = [token_wise(order=order, top_k=k) for order, k in SIZES]
    order = LAPTOP_ORDER if scale == "laptop" else ORDER
    designs += [token_wise(**{"order": order, "top_k": TOP_K} | options) for options in LEFT_OUT]
    planned = runs("token_wise", scale, designs, [5e-3])
    return [_short(config) for config in planned] if scale == "demo" else planned


def _short(config: RunConfig) -> RunConfig:
    """On the task of the demo."""
    task = MQARConfig(vocab_size=520, input_seq_len=64, num_kv_pairs=8)
    train, test = (task.model_copy(update={"num_examples": n}) for n in (50 * 64, 512))
    short = config.train.model_copy(update={"max_epochs": 12, "batch_size": 64, "early_stopping_threshold": 0.99})
    data = DataConfig(train=(train,), test=(test,), fresh=True)
    model = config.model.model_copy(update={"embed_dropout": 0.0})
    return config.model_copy(update={"data": data, "train": short, "model": model})
