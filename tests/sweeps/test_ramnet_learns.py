"""What makes RAM-Net learn: its defaults, behind a convolution and token-wise, against the same model without them."""

import pytest

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.loop import run
from sweeps import fig3


def accuracy(**options):
    """The demo's task and training, with 8 of 1024 slots."""
    spec = MixerSpec(name="ramnet", options={"order": 5, "sub_dim": 4, "head_v_dim": 32, "top_k": 8, **options})
    return run(fig3.run("demo", spec, 64, 1e-2)).accuracy


def token_wise(seed, **options):
    """The paper's design on 8 pairs in 64 tokens, 600 steps of 64 new sequences."""
    layers = ({"cape": True}, {})
    task = {"vocab_size": 520, "input_seq_len": 64, "num_kv_pairs": 8}
    return run(
        RunConfig(
            data=DataConfig(
                train=(MQARConfig(num_examples=3_840, **task),), test=(MQARConfig(**task),), seed=seed, fresh=True
            ),
            model=ModelConfig(
                vocab_size=520,
                mixers=tuple(MixerSpec(name="ramnet", options=layer | options) for layer in layers),
                embed_dropout=0.0,
            ),
            train=TrainConfig(
                max_epochs=10, batch_size=64, learning_rate=5e-3, schedule="cosine_step", warmup_fraction=0.1,
                grad_clip=1.0, seed=seed,
            ),
        )
    ).accuracy  # fmt: skip


@pytest.mark.slow
def test_eight_of_1024_slots_are_learnt():
    assert accuracy() > 0.98


@pytest.mark.slow
def test_without_more_slots_at_the_start_nothing_is_learnt():
    assert accuracy(train_top_k=8) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_papers_design_is_learnt(seed):
    assert token_wise(seed) > 0.9


@pytest.mark.slow
def test_the_papers_design_is_not_learnt_from_an_unaligned_start():
    assert token_wise(1, address_bias=False, aligned_values=False) < 0.2
