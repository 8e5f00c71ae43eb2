"""What the scales mean: the data and the training that every sweep shares at a scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.records.upgrade import first_ramnet
from mqar_bench.tasks import MQARConfig

SCALES = ("smoke", "demo", "laptop", "paper")

CONV = MixerSpec(name="short_conv")

#: Length, pairs and training examples of Zoology's released sweep, and its seven test settings.
PAPER_TRAIN = ((64, 4, 100_000), (128, 8, 20_000), (256, 16, 20_000), (256, 32, 20_000), (256, 64, 20_000))
PAPER_TEST = ((64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256))
#: The demo: length, pairs and steps an epoch; length, pairs and examples of its test settings, the last two longer
#: than any sequence trained on.
DEMO_TRAIN = ((64, 4, 40), (64, 8, 20), (128, 16, 30), (128, 32, 30))
DEMO_TEST = ((64, 16, 256), (128, 32, 256), (256, 64, 128), (512, 128, 64))
DEMO_BATCH = 48
#: The laptop scale, in the demo's manner. Most steps are on short sequences: in a thousand steps of the demo's task the
#: delta rules learn nothing, with these first they pass on to the longer ones (trials: DeltaNet 0.01 and 0.94).
LAPTOP_TRAIN = ((32, 4, 160), (64, 8, 30), (64, 16, 30), (128, 32, 30))
LAPTOP_TEST = ((64, 8, 256), (64, 16, 256), (128, 32, 256), (256, 64, 128))
#: Sweeps whose records at laptop are of RAM-Net's defaults, as those with it in every layer are of all sweeps; the
#: others' are of its first start, and name it.
MADE_ANEW = ("cape", "token_wise", "trainability")
#: numpy.logspace(-3, -1.5, 4), rounded.
PAPER_RATES = (1e-3, 3.1623e-3, 1e-2, 3.1623e-2)


def data(scale: str) -> DataConfig:
    """The task mix of a scale.

    smoke: seconds, its accuracies mean nothing. demo, laptop: minutes a run on a CPU core, a small vocabulary, new
    examples every epoch. paper: Zoology's released sweep, for a GPU.
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
    train_steps, test_examples = {"demo": (DEMO_TRAIN, DEMO_TEST), "laptop": (LAPTOP_TRAIN, LAPTOP_TEST)}[scale]
    return DataConfig(
        train=tuple(_small_task(n, k, steps * DEMO_BATCH) for n, k, steps in train_steps),
        test=tuple(_small_task(n, k, examples) for n, k, examples in test_examples),
        fresh=True,
    )


def training(scale: str, learning_rate: float) -> TrainConfig:
    """The optimisation at a scale: Zoology's protocol at paper, 22,600 steps of 256 sequences; at demo and laptop it is
    cut to one or two thousand steps, with warm-up and clipping to make up for the haste."""
    if scale == "smoke":
        return TrainConfig(max_epochs=2, batch_size=32, learning_rate=learning_rate)
    if scale == "paper":
        return TrainConfig(learning_rate=learning_rate, batch_size=256, test_batch_size=32)
    return TrainConfig(
        max_epochs=8,
        batch_size=DEMO_BATCH,
        learning_rate=learning_rate,
        schedule="cosine_step",
        warmup_fraction=0.1,
        grad_clip=1.0,
    )


def run(sweep: str, scale: str, mixers: Sequence[MixerSpec], d_model: int, learning_rate: float) -> RunConfig:
    """A run of two layers without MLP or positions, as in Zoology's released sweep, at a scale's data and training."""
    task = data(scale)
    if scale == "laptop" and sweep not in MADE_ANEW and not is_token_wise(mixers):
        mixers = [first_ramnet(spec) for spec in mixers]
    model = ModelConfig(vocab_size=task.train[0].vocab_size, d_model=d_model, mixers=tuple(mixers))
    return RunConfig(sweep=sweep, scale=scale, data=task, model=model, train=training(scale, learning_rate))


def is_token_wise(mixers: Sequence[MixerSpec]) -> bool:
    """Whether RAM-Net is in every layer, as in the paper."""
    return all(spec.name == "ramnet" for spec in mixers)


def scored_often(config: RunConfig, parts: float) -> RunConfig:
    """The same training in epochs so much shorter and so many times as many, to tell when something is learnt."""
    mix = tuple(t.model_copy(update={"num_examples": round(t.num_examples / parts)}) for t in config.data.train)
    often = config.train.model_copy(update={"max_epochs": round(config.train.max_epochs * parts)})
    return config.model_copy(update={"data": config.data.model_copy(update={"train": mix}), "train": often})


def with_seeds(configs: Iterable[RunConfig], seeds: int) -> list[RunConfig]:
    """Every run with so many seeds, of its weights and of its data: its own, and those that follow. One seed of all
    runs comes before the next, so that an interrupted sweep is complete for some."""
    configs = list(configs)
    return [_reseed(config, i) for i in range(seeds) for config in configs]


def _reseed(config: RunConfig, by: int) -> RunConfig:
    train = config.train.model_copy(update={"seed": config.train.seed + by})
    return config.model_copy(
        update={"train": train, "data": config.data.model_copy(update={"seed": config.data.seed + by})}
    )


def _small_task(length: int, pairs: int, examples: int) -> MQARConfig:
    # the smallest round vocabulary above the longest sequence, which the task requires
    return MQARConfig(vocab_size=520, input_seq_len=length, num_kv_pairs=pairs, num_examples=examples)
