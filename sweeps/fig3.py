"""MQAR accuracy against state size, all architectures (RAM-Net paper, Fig. 3).

Every model has two layers: a short convolution, then the mixer under test, with no MLP and no positions, as in
Zoology's released sweep.
"""

from __future__ import annotations

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig

SCALES = ("smoke", "demo", "paper")

CONV = MixerSpec(name="short_conv")

#: Length, pairs and training examples of Zoology's released sweep, and its seven test settings.
PAPER_TRAIN = ((64, 4, 100_000), (128, 8, 20_000), (256, 16, 20_000), (256, 32, 20_000), (256, 64, 20_000))
PAPER_TEST = ((64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256))
#: The demo: length, pairs and steps an epoch; length, pairs and examples of its test settings, the last two longer
#: than any sequence trained on; and learning rates around each architecture's window: attention's is lower.
DEMO_TRAIN = ((64, 4, 40), (64, 8, 20), (128, 16, 30), (128, 32, 30))
DEMO_TEST = ((64, 16, 256), (128, 32, 256), (256, 64, 128), (512, 128, 64))
DEMO_BATCH = 48
DEMO_RATES = {"attention": (5e-3, 1e-2, 2e-2), "linear_attention": (1e-2, 3e-2, 9e-2), "ramnet": (1e-2, 3e-2, 9e-2)}
#: numpy.logspace(-3, -1.5, 4), rounded.
PAPER_RATES = (1e-3, 3.1623e-3, 1e-2, 3.1623e-2)


def configs(scale: str) -> list[RunConfig]:
    """The runs of the sweep at ``scale``."""
    return {"smoke": smoke, "demo": demo, "paper": paper}[scale]()


def ramnet(order: int, head_v_dim: int, top_k: int) -> MixerSpec:
    """RAM-Net of two heads with 4 ** order slots each, of which a token writes and reads ``top_k``."""
    return MixerSpec(name="ramnet", options={"order": order, "sub_dim": 4, "head_v_dim": head_v_dim, "top_k": top_k})


def run(scale: str, spec: MixerSpec, d_model: int, data: DataConfig, train: TrainConfig) -> RunConfig:
    vocab_size = data.train[0].vocab_size
    model = ModelConfig(vocab_size=vocab_size, d_model=d_model, mixers=(CONV, spec))
    return RunConfig(sweep="fig3", scale=scale, data=data, model=model, train=train)


def smoke() -> list[RunConfig]:
    """Seconds: every architecture trains a few steps. The accuracies mean nothing."""
    task = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2}
    data = DataConfig(
        train=(MQARConfig(num_examples=128, **task),), test=(MQARConfig(num_examples=64, **task),), fresh=True
    )
    specs = (
        MixerSpec(name="attention"),
        MixerSpec(name="linear_attention"),
        ramnet(order=2, head_v_dim=8, top_k=4),
        ramnet(order=3, head_v_dim=8, top_k=4),
    )
    train = TrainConfig(max_epochs=2, batch_size=32, learning_rate=1e-2)
    return [run("smoke", spec, 16, data, train) for spec in specs]


def demo() -> list[RunConfig]:
    """Minutes on two CPU cores: a small vocabulary, up to 32 pairs in training and 128 in the longest test."""
    data = DataConfig(
        train=tuple(demo_task(n, k, steps * DEMO_BATCH) for n, k, steps in DEMO_TRAIN),
        test=tuple(demo_task(n, k, examples) for n, k, examples in DEMO_TEST),
        fresh=True,
    )
    specs = [(d_model, MixerSpec(name="attention")) for d_model in (32, 64)]
    for expand in (1.0, 2.0, 3.0):
        specs.append((64, MixerSpec(name="linear_attention", options={"expand_k": expand, "expand_v": expand})))
    specs.append((64, ramnet(order=3, head_v_dim=32, top_k=16)))
    specs.append((64, ramnet(order=4, head_v_dim=16, top_k=8)))
    specs.append((64, ramnet(order=4, head_v_dim=32, top_k=8)))
    return [
        run("demo", spec, d_model, data, demo_training(rate))
        for d_model, spec in specs
        for rate in DEMO_RATES[spec.name]
    ]


def demo_task(length: int, pairs: int, examples: int) -> MQARConfig:
    # the smallest round vocabulary above the longest sequence, which the task requires
    return MQARConfig(vocab_size=520, input_seq_len=length, num_kv_pairs=pairs, num_examples=examples)


def demo_training(learning_rate: float) -> TrainConfig:
    """Zoology's protocol cut to a thousand steps: warm-up and clipping make up for the haste."""
    return TrainConfig(
        max_epochs=8,
        batch_size=DEMO_BATCH,
        learning_rate=learning_rate,
        schedule="cosine_step",
        warmup_fraction=0.1,
        grad_clip=1.0,
    )


def paper() -> list[RunConfig]:
    """Zoology's released protocol: 22,600 steps of 256 sequences a run. Meant for a GPU."""
    data = DataConfig(
        train=tuple(MQARConfig(input_seq_len=n, num_kv_pairs=k, num_examples=count) for n, k, count in PAPER_TRAIN),
        test=tuple(MQARConfig(input_seq_len=n, num_kv_pairs=k, num_examples=1_000) for n, k in PAPER_TEST),
    )
    models: list[tuple[int, MixerSpec]] = []
    for d_model in (32, 64, 128):
        models.append((d_model, MixerSpec(name="attention", options={"num_heads": 2, "dropout": 0.1})))
    for d_model in (64, 128, 256):
        models.append((d_model, MixerSpec(name="linear_attention", options={"num_heads": 2})))
    for order in (3, 4, 5, 6):
        models.append((64, ramnet(order=order, head_v_dim=32, top_k=8)))
    return [
        run("paper", spec, d_model, data, TrainConfig(learning_rate=rate, batch_size=256, test_batch_size=32))
        for d_model, spec in models
        for rate in PAPER_RATES
    ]
