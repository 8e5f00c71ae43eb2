"""What a training step costs: fig3's models for so few steps that all of it fits into quiet minutes.

Speeds are of runs that had a machine to themselves: train with ``--executor inline --cpus-per-run 1``, and nothing
beside it. With Ray, which is still busy starting, the first of these short runs come out up to four times slower.
"""

from __future__ import annotations

from mqar_bench.config import DataConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from sweeps import fig3
from sweeps.protocols import SMALL_BATCH

SCALES = ("smoke", "demo", "laptop", "paper")

#: Steps of each run, of 48 sequences of 128 tokens.
STEPS = {"smoke": 2, "demo": 60, "laptop": 60, "paper": 60}


def configs(scale: str) -> list[RunConfig]:
    """One run of each of fig3's models at the scale, scored on as many sequences as a training batch has."""
    task = MQARConfig(vocab_size=520, input_seq_len=128, num_kv_pairs=32, num_examples=SMALL_BATCH)
    data = DataConfig(train=(task.model_copy(update={"num_examples": STEPS[scale] * SMALL_BATCH}),), test=(task,))
    models = {config.variant: config.model.model_copy(update={"vocab_size": 520}) for config in fig3.configs(scale)}
    train = TrainConfig(max_epochs=1, batch_size=SMALL_BATCH)
    return [RunConfig(sweep="cost", scale=scale, data=data, model=model, train=train) for model in models.values()]
