import pytest
from pydantic import ValidationError

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig, StackedConfig

PAIRS = ModelConfig(input_type="continuous", learnable_word_embeddings=False)


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


LATER = {"embedding_init_type": "spherical", "learnable_word_embeddings": False, "input_type": "continuous"}


def test_settings_that_came_later_leave_earlier_runs_as_they_were():
    """The id is that of before them; what is not as by default is written down, and counts."""
    default = RunConfig()
    assert default.run_id == "5a18be33259f"
    assert not LATER.keys() & default.model_dump()["model"].keys()
    assert RunConfig(model=ModelConfig(**{name: ModelConfig.model_fields[name].default for name in LATER})) == default
    for name, value in LATER.items():
        model = ModelConfig(**{name: value})
        assert model.model_dump()[name] == value and ModelConfig.model_validate_json(model.model_dump_json()) == model
    spherical = RunConfig(model=ModelConfig(embedding_init_type="spherical"))
    assert len({default.run_id, spherical.run_id, RunConfig(model=ModelConfig(state_mixer="glu")).run_id}) == 3


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
        (
            lambda: RunConfig(model=ModelConfig(input_type="continuous")),
            "model.input_type 'continuous' reads fixed embeddings: set model.learnable_word_embeddings to false",
        ),
        (
            lambda: RunConfig(model=PAIRS),
            "model.input_type 'continuous' reads the task 'stacked' alone, and the data have 'multiquery_ar'",
        ),
        (
            lambda: RunConfig(model=PAIRS, data=DataConfig(train=(StackedConfig(),), test=(StackedConfig(),))),
            "model.vocab_size is 8192, .* must be twice the keys of the task at vocab_size 8192: 178",
        ),
        (lambda: ModelConfig(embedding_init_type="round"), "'default', 'spherical' or 'normal'"),
        (lambda: RunConfig(train=TrainConfig(warmup_fraction=0.1)), "warmup_fraction needs"),
        (lambda: RunConfig(train=TrainConfig(min_learning_rate=1e-4)), "min_learning_rate needs"),
        (lambda: DataConfig(test=(MQARConfig(input_seq_len=63),)), "even"),
        (lambda: RunConfig(mixer="two\nlines"), "a label is printable text, not 'two"),
    ],
)
def test_mistakes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "kind, field, most",
    [
        (ModelConfig, "vocab_size", 2**24),
        (ModelConfig, "d_model", 2**16),
        (ModelConfig, "n_layers", 1024),
        (ModelConfig, "mlp_hidden_mult", 1024),
        (ModelConfig, "max_position_embeddings", 2**20),
        (TrainConfig, "max_epochs", 10**6),
        (TrainConfig, "batch_size", 2**20),
        (TrainConfig, "test_batch_size", 2**20),
        (TrainConfig, "learning_rate", 1e38),
        (TrainConfig, "weight_decay", 1e38),
        (TrainConfig, "grad_clip", 1e38),
    ],
)
def test_sizes_end_where_nothing_sensible_lies_above(kind, field, most):
    assert getattr(kind(**{field: most}), field) == most
    with pytest.raises(ValidationError, match="less than or equal to"):
        kind(**{field: most * 2})


@pytest.mark.parametrize("field, most", [("vocab_size", 2**24), ("num_examples", 10**8), ("input_seq_len", 2**20)])
def test_a_segment_ends_where_nothing_sensible_lies_above(field, most):
    rest = {"vocab_size": 2**24, "num_examples": 1, "input_seq_len": 32}
    assert getattr(MQARConfig(**{**rest, field: most}), field) == most
    with pytest.raises(ValidationError, match=f"{field} must be at most {most}, got {2 * most}"):
        MQARConfig(**{**rest, field: 2 * most})


def test_a_segment_fits_in_memory():
    with pytest.raises(ValidationError, match="are 6400000000 tokens, and a segment has at most 4294967296"):
        MQARConfig(num_examples=10**8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"d_model": 8}, "d_model is no option: the model sets it"),
        ({"layer_idx": 0}, "layer_idx is no option"),
        ({"a": float("nan")}, "'a' must be JSON .*, got nan"),
        ({"a": {"b": [1.0, float("inf")]}}, "'a.b.1' must be JSON .*, got inf"),
        ({"a": "\ud800"}, "'a' must be JSON"),
        ({"a": object}, "'a' must be JSON"),
        ({"a": {1: 2}}, "'a' must be JSON"),
        ({"a": eval("[" * 50 + "]" * 50)}, "10 levels at most"),
    ],
)
def test_options_that_would_not_survive_a_record_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        MixerSpec(name="ramnet", options=options)


def test_options_may_be_any_json():
    options = {"a": [1, "x", None, {"b": (True, 1.5)}], "é": "é"}
    config = RunConfig(model=ModelConfig(mixers=(MixerSpec(name="ramnet", options=options),)))
    assert RunConfig.model_validate_json(config.model_dump_json()).run_id == config.run_id


@pytest.mark.parametrize("kind, field", [(ModelConfig, "d_model"), (TrainConfig, "grad_clip"), (MQARConfig, "power_a")])
def test_a_truth_value_is_no_number(kind, field):
    with pytest.raises(ValidationError, match="Input should be a number"):
        kind(**{field: True})
    assert TrainConfig(decay_all=True).decay_all is True
