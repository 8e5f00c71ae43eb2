"""Recall over filler, trained on 1,024 tokens at most, for `mqar-bench stream` to read far beyond.

Every architecture, at one size, behind a short convolution as in fig3. What is stored comes first, and then filler of
spare words, which says nothing: what a state has lost at a context is lost to reading alone.
"""

from __future__ import annotations

from mqar_bench.config import DataConfig, MixerSpec, RunConfig, TrainConfig
from mqar_bench.tasks import DistantMQARConfig
from sweeps import fig3
from sweeps.protocols import CONV, SMALL_BATCH, training, two_layers

SCALES = ("smoke", "laptop")

#: Length, pairs and steps an epoch at laptop. Most steps are on short sequences, some without filler, of more pairs
#: than are asked for, from which every mixer learns sooner what recall is: in trials of one seed, attention recalls
#: 0.88 and 1.00 after them (rates 5e-3 and 1e-2), RAM-Net and DeltaNet 1.00, KDA 0.97, Mamba2 0.94, Gated DeltaNet
#: 0.91. On 4 pairs over filler alone, 38 steps an epoch, attention recalls 0.01 after 48 epochs.
LAPTOP_TRAIN = (
    (16, 4, 24), (32, 8, 24), (64, 16, 10), (64, 8, 8), (128, 16, 3), (128, 8, 6),
    (256, 4, 2), (512, 4, 2), (1024, 4, 1),
)  # fmt: skip
EPOCHS = {"smoke": 2, "laptop": 16}
#: Length and examples of the settings that guide training, and of the test's.
LAPTOP_GUIDES = ((64, 48), (256, 24), (1024, 8))
LAPTOP_TEST = ((64, 256), (256, 128), (1024, 128))


def configs(scale: str) -> list[RunConfig]:
    """smoke: seconds, accuracies mean nothing. laptop: fig3's smallest model of each mixer at its rates."""
    if scale == "smoke":
        options = fig3.SMOKE_OPTIONS
        specs = [(16, MixerSpec(name=name, options=options.get(name, {})), 1e-2) for name in fig3.LAPTOP_MODELS]
    else:
        models = {name: sizes[0] for name, sizes in fig3.LAPTOP_MODELS.items()}
        specs = [
            (d_model, MixerSpec(name=name, options=chosen), rate)
            for name, (d_model, chosen) in models.items()
            for rate in fig3.LAPTOP_RATES[name]
        ]
    data = make_data(scale)
    return [
        two_layers("long_context", scale, data, (CONV, spec), d_model, make_training(scale, rate))
        for d_model, spec, rate in specs
    ]


def make_training(scale: str, rate: float) -> TrainConfig:
    return training(scale, rate).model_copy(update={"max_epochs": EPOCHS[scale]})


def make_data(scale: str) -> DataConfig:
    """Four pairs of a small vocabulary, over filler of one in eight of its words."""
    if scale == "smoke":
        task = DistantMQARConfig(vocab_size=64, num_spare=16, num_kv_pairs=2, input_seq_len=16, filler="spare")
        train, test = (task.model_copy(update={"num_examples": n}) for n in (64, 32))
        return DataConfig(train=(train,), test=(test,), fresh=True)

    def at(length: int, examples: int, pairs: int = 4) -> DistantMQARConfig:
        return DistantMQARConfig(
            vocab_size=256, num_spare=32, num_kv_pairs=pairs, input_seq_len=length, num_examples=examples,
            filler="spare",
        )  # fmt: skip

    return DataConfig(
        train=tuple(at(length, steps * SMALL_BATCH, pairs) for length, pairs, steps in LAPTOP_TRAIN),
        validation=tuple(at(length, examples) for length, examples in LAPTOP_GUIDES),
        test=tuple(at(length, examples) for length, examples in LAPTOP_TEST),
        fresh=True,
    )
