"""Small experiments whose numbers others have published; the figure of this name holds ours beside them."""

from __future__ import annotations

from collections.abc import Iterable

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from sweeps import fig3, protocols

SCALES = ("smoke", "laptop", "paper")

#: Pairs in 256 tokens, and widths, of the Log-Linear Attention paper's table.
LOG_LINEAR_PAIRS = (4, 8, 16, 32, 64)
LOG_LINEAR_WIDTHS = (16, 32, 64)


def configs(scale: str) -> list[RunConfig]:
    """Zoology's basic example, and one layer with and without a convolution, which decides whether it can recall; at
    paper, which takes a GPU, two gated mixers at three widths on up to 64 pairs."""
    if scale == "paper":
        return log_linear()
    if scale == "smoke":
        small = [basic_example(examples=256), *one_layer(protocols.data("smoke"), [1e-2])]
        return [run.model_copy(update={"scale": scale, "train": _short(run.train)}) for run in small]
    return [basic_example(examples=10_000), *one_layer(laptop_data(), (3e-3, 1e-2, 3e-2))]


def basic_example(examples: int) -> RunConfig:
    """Attention with MLPs and learned positions on 4 pairs in 64 tokens, vocabulary 256, width 128, batches of 32."""
    task = MQARConfig(vocab_size=256, input_seq_len=64, num_kv_pairs=4, num_examples=examples)
    return RunConfig(
        sweep="published",
        scale="laptop",
        mixer="basic example",
        data=DataConfig(train=(task,), test=(task.model_copy(update={"num_examples": max(64, examples // 10)}),)),
        model=ModelConfig(
            vocab_size=256,
            d_model=128,
            mixers=(MixerSpec(name="attention", options={"dropout": 0.1}),),
            state_mixer="mlp",
            max_position_embeddings=64,
        ),
        train=TrainConfig(max_epochs=64, batch_size=32, learning_rate=1e-3),
    )


def laptop_data() -> DataConfig:
    """The scale's task mix, tested on its 64 pairs alone: as many as in the source, where guessing among the values of
    a sequence gives 0.02, and in half as many tokens."""
    data = protocols.data("laptop")
    return data.model_copy(update={"test": tuple(task for task in data.test if task.num_kv_pairs == 64)})


def one_layer(data: DataConfig, rates: Iterable[float]) -> list[RunConfig]:
    """One layer and its MLP at the scale's training."""
    mamba2 = {"head_dim": 32, "state_size": 64} | fig3.MAMBA2_START
    models = {
        "1 layer, Mamba2": MixerSpec(name="mamba2", options=mamba2),
        "1 layer, Mamba2 without convolution": MixerSpec(name="mamba2", options=mamba2 | {"conv_kernel": 1}),
        "1 layer, attention": MixerSpec(name="attention"),
    }
    longest = max(task.input_seq_len for task in data.tasks)
    return [
        RunConfig(
            sweep="published",
            scale="laptop",
            mixer=name,
            data=data,
            model=ModelConfig(
                vocab_size=data.train[0].vocab_size,
                n_layers=1,
                mixers=(spec,),
                state_mixer="mlp",
                max_position_embeddings=longest if spec.name == "attention" else 0,
            ),
            train=protocols.training("laptop", rate),
        )
        for name, spec in models.items()
        for rate in rates
    ]


def log_linear() -> list[RunConfig]:
    """Two layers without MLP on 256 tokens at Zoology's released optimisation: of theirs we know length, pairs, widths
    and five seeds (``--seeds 5``), no more. Mamba2's N is the middle one of Zoology's sweep."""
    tasks = tuple(MQARConfig(input_seq_len=256, num_kv_pairs=pairs, num_examples=20_000) for pairs in LOG_LINEAR_PAIRS)
    data = DataConfig(train=tasks, test=tuple(task.model_copy(update={"num_examples": 1_000}) for task in tasks))
    models = {
        "Mamba2": (MixerSpec(name="mamba2", options={"state_size": 16}),),
        "Gated DeltaNet": (protocols.CONV, MixerSpec(name="gated_delta_net")),
    }
    return [
        RunConfig(
            sweep="published",
            scale="paper",
            mixer=f"{name}, width {width}",
            data=data,
            model=ModelConfig(vocab_size=tasks[0].vocab_size, d_model=width, n_layers=2, mixers=mixers),
            train=protocols.training("paper", rate),
        )
        for name, mixers in models.items()
        for width in LOG_LINEAR_WIDTHS
        for rate in protocols.PAPER_RATES
    ]


def _short(train: TrainConfig) -> TrainConfig:
    return train.model_copy(update={"max_epochs": 1})
