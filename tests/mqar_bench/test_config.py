import pytest
from pydantic import ValidationError

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig


def test_the_id_is_the_content_and_nothing_else():
    base = RunConfig()
    assert base.run_id == RunConfig().run_id and len(base.run_id) == 12
    assert RunConfig(sweep="fig3", scale="demo", mixer="anything").run_id == base.run_id
    changed = [
        RunConfig(train=TrainConfig(learning_rate=2e-3)),
        RunConfig(data=DataConfig(seed=1)),
        RunConfig(
            model=ModelConfig(
                mixers=(MixerSpec(name="short_conv"), MixerSpec(name="attention", options={"bias": False}))
            )
        ),
    ]
    assert len({base.run_id, *(c.run_id for c in changed)}) == 4


def test_a_config_survives_json():
    config = RunConfig(model=ModelConfig(mixers=(MixerSpec(name="ramnet", options={"cape": True}),)))
    again = RunConfig.model_validate_json(config.model_dump_json())
    assert again == config and again.run_id == config.run_id


def test_the_mixer_is_named_after_the_last_one():
    assert RunConfig().mixer == "attention"
    assert RunConfig(mixer="mine").mixer == "mine"


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().model.d_model = 3


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: RunConfig(trian={}), "Extra inputs are not permitted"),
        (lambda: TrainConfig(lr=1), "Extra inputs are not permitted"),
        (lambda: TrainConfig(learning_rate=-1), "greater than 0"),
        (lambda: TrainConfig(learning_rate=float("nan")), "finite|greater"),
        (lambda: ModelConfig(mixers=()), "at least 1 item"),
        (
            lambda: RunConfig(model=ModelConfig(vocab_size=100)),
            "model.vocab_size is 100, but the task draws tokens below 8192",
        ),
        (
            lambda: RunConfig(model=ModelConfig(max_position_embeddings=32)),
            "is 32, but the longest sequence has 64 tokens",
        ),
        (lambda: RunConfig(train=TrainConfig(warmup_fraction=0.1)), "warmup_fraction needs"),
        (lambda: DataConfig(test=(MQARConfig(input_seq_len=63),)), "even"),
    ],
)
def test_mistakes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
