"""What the scales mean: the data and the training that every sweep shares at a scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig

SCALES = ("smoke", "demo", "laptop", "paper")

CONV = MixerSpec(name="short_conv")

#: Length, pairs and training examples of Zoology's released sweep, and its seven test settings.
PAPER_TRAIN = ((64, 4, 100_000), (128, 8, 20_000), (256, 16, 20_000), (256, 32, 20_000), (256, 64, 20_000))
PAPER_TEST = ((64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256))
#: Steps of demo and laptop are on so many sequences.
SMALL_BATCH = 48


class Small(NamedTuple):
    """What a scale for CPUs is made of: length, pairs and steps an epoch of training; epochs; length, pairs and
    examples of the validation and of the test settings; vocabulary.

    Most steps are on short sequences of few pairs, on which every mixer learns sooner what recall is. Of 50 steps 16 on
    2 pairs in 16 tokens and 16 on 4, instead of 32 on 4 in 32, took Gated DeltaNet from 0.00 to 0.52 after 800 steps
    and DeltaNet from 0.82 to 0.89 (trials at laptop, one seed, validation accuracy), with a third fewer tokens. Test
    settings go on beyond what is trained on until models fail, with about as many answers in each.
    """

    train: tuple[tuple[int, int, int], ...]
    epochs: int
    validation: tuple[tuple[int, int, int], ...]
    test: tuple[tuple[int, int, int], ...]
    vocab_size: int


SMALL = {
    "demo": Small(
        train=((16, 2, 16), (16, 4, 16), (32, 8, 10), (64, 16, 4), (128, 32, 4)),
        epochs=20,
        validation=((64, 8, 96), (64, 16, 48), (128, 32, 48)),
        test=((32, 8, 256), (64, 16, 256), (128, 32, 128), (256, 64, 64), (512, 128, 32)),
        vocab_size=520,
    ),
    "laptop": Small(
        train=((16, 2, 16), (16, 4, 16), (32, 8, 8), (64, 16, 4), (128, 32, 3), (256, 64, 3)),
        epochs=40,
        validation=((64, 8, 96), (64, 16, 48), (128, 32, 48), (256, 64, 24)),
        test=(
            (32, 8, 256), (64, 16, 256), (128, 32, 128), (256, 64, 64), (512, 128, 48), (1024, 256, 32),
            (2048, 512, 16),
        ),
        vocab_size=2080,
    ),
}  # fmt: skip
#: numpy.logspace(-3, -1.5, 4), rounded.
PAPER_RATES = (1e-3, 3.1623e-3, 1e-2, 3.1623e-2)


def data(scale: str) -> DataConfig:
    """The task mix of a scale.

    smoke: seconds, its accuracies mean nothing. demo, laptop: minutes a run on a CPU core, a small vocabulary, new
    examples every epoch, and validation settings of their own. paper: Zoology's released sweep, for a GPU, in which
    the test settings guide training.
    """
    if scale == "smoke":
        task = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2}
        train, test = MQARConfig(num_examples=128, **task), MQARConfig(num_examples=64, **task)
        return DataConfig(train=(train,), test=(test,), fresh=True)
    if scale == "paper":
        return DataConfig(
            train=tuple(MQARConfig(input_seq_len=n, num_kv_pairs=k, num_examples=count) for n, k, count in PAPER_TRAIN),
            test=tuple(MQARConfig(input_seq_len=n, num_kv_pairs=k, num_examples=1_000) for n, k in PAPER_TEST),
        )
    small = SMALL[scale]
    parts = {
        "train": tuple((n, k, steps * SMALL_BATCH) for n, k, steps in small.train),
        "validation": small.validation,
        "test": small.test,
    }
    return DataConfig(
        **{
            part: tuple(
                MQARConfig(vocab_size=small.vocab_size, input_seq_len=n, num_kv_pairs=k, num_examples=examples)
                for n, k, examples in settings
            )
            for part, settings in parts.items()
        },
        fresh=True,
    )


def training(scale: str, learning_rate: float) -> TrainConfig:
    """The optimisation at a scale: Zoology's protocol at paper, 22,600 steps of 256 sequences; at demo and laptop it is
    cut to one or two thousand steps, the same for all, with warm-up and clipping to make up for the haste."""
    if scale == "smoke":
        return TrainConfig(max_epochs=2, batch_size=32, learning_rate=learning_rate)
    if scale == "paper":
        return TrainConfig(learning_rate=learning_rate, batch_size=256, test_batch_size=32)
    return TrainConfig(
        max_epochs=SMALL[scale].epochs,
        batch_size=SMALL_BATCH,
        learning_rate=learning_rate,
        schedule="cosine_step",
        warmup_fraction=0.1,
        grad_clip=1.0,
        early_stopping_threshold=None,
    )


def run(sweep: str, scale: str, mixers: Sequence[MixerSpec], d_model: int, learning_rate: float) -> RunConfig:
    """A run of two layers without MLP or positions, as in Zoology's released sweep, at a scale's data and training."""
    return two_layers(sweep, scale, data(scale), mixers, d_model, training(scale, learning_rate))


def two_layers(
    sweep: str, scale: str, task: DataConfig, mixers: Sequence[MixerSpec], d_model: int, train: TrainConfig
) -> RunConfig:
    """The same model on any data, trained in any way."""
    model = ModelConfig(vocab_size=task.train[0].vocab_size, d_model=d_model, mixers=tuple(mixers))
    return RunConfig(sweep=sweep, scale=scale, data=task, model=model, train=train)


def is_token_wise(mixers: Sequence[MixerSpec]) -> bool:
    """Whether RAM-Net is in every layer, as in the paper."""
    return all(spec.name == "ramnet" for spec in mixers)


def with_seeds(configs: Iterable[RunConfig], seeds: int) -> list[RunConfig]:
    """Every run with so many seeds, of its weights and of its data: its own, and those that follow. One seed of all
    runs comes before the next, so that an interrupted sweep is complete for some."""
    configs = list(configs)
    return [config.reseeded(i) for i in range(seeds) for config in configs]
