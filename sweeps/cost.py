"""What a training step costs: fig3's models for so few steps that all of it fits into quiet minutes.

Speeds are of runs that had a machine to themselves: train with ``--jobs 1`` and nothing beside it.
"""

from __future__ import annotations

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from sweeps import fig3
from sweeps.protocols import CONV, SMALL_BATCH

SCALES = ("smoke", "laptop")

#: Steps of each run, of 48 sequences of 128 tokens.
STEPS = {"smoke": 2, "laptop": 60}


def configs(scale: str) -> list[RunConfig]:
    """One run of each laptop model of fig3, scored on one training batch's worth of sequences."""
    task = MQARConfig(vocab_size=520, input_seq_len=128, num_kv_pairs=32, num_examples=SMALL_BATCH)
    data = DataConfig(train=(task.model_copy(update={"num_examples": STEPS[scale] * SMALL_BATCH}),), test=(task,))
    return [
        RunConfig(
            sweep="cost",
            scale=scale,
            data=data,
            model=ModelConfig(
                vocab_size=task.vocab_size, d_model=d_model, mixers=(CONV, MixerSpec(name=name, options=options))
            ),
            train=TrainConfig(max_epochs=1, batch_size=SMALL_BATCH),
        )
        for name, sizes in fig3.LAPTOP_MODELS.items()
        for d_model, options in sizes
    ]
