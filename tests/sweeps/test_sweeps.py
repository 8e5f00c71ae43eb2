from collections import defaultdict

import pytest

import mixers
import sweeps
from mqar_bench.analysis.state_size import count_state
from mqar_bench.training.data import build_data
from mqar_bench.training.model import LanguageModel

CASES = [pytest.param(name, scale, id=f"{name}-{scale}") for name in sweeps.names() for scale in sweeps.scales(name)]


@pytest.mark.parametrize("name, scale", CASES)
def test_every_run_is_valid_distinct_and_labelled(name, scale):
    configs = sweeps.load(name, scale)
    assert len({c.run_id for c in configs}) == len(configs) > 0
    assert {(c.sweep, c.scale) for c in configs} == {(name, scale)}
    assert [c.run_id for c in configs] == [c.run_id for c in sweeps.load(name, scale)]
    for config in configs:
        for spec in config.model.mixers:
            mixers.build(spec.name, config.model.d_model, **spec.options)


def test_the_paper_scale_is_zoologys_released_protocol():
    configs = sweeps.load("fig3", "paper")
    data, train = configs[0].data, configs[0].train
    assert all(c.data == data for c in configs)
    assert [(t.input_seq_len, t.num_kv_pairs, t.num_examples) for t in data.train] == [
        (64, 4, 100_000), (128, 8, 20_000), (256, 16, 20_000), (256, 32, 20_000), (256, 64, 20_000),
    ]  # fmt: skip
    assert [(t.input_seq_len, t.num_kv_pairs) for t in data.test] == [
        (64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256),
    ]  # fmt: skip
    assert {t.num_examples for t in data.test} == {1000} and data.test[0].vocab_size == 8192
    assert (train.max_epochs, train.batch_size) == (32, 256)
    assert (train.weight_decay, train.early_stopping_threshold) == (0.1, 0.99)
    assert train.schedule == "cosine_epoch" and train.grad_clip is None and not data.shuffle and not data.fresh
    rates = sorted({c.train.learning_rate for c in configs})
    assert rates == pytest.approx([10**e for e in (-3, -2.5, -2, -1.5)], rel=1e-4)


def test_the_demo_compares_at_equal_state_size():
    """RAM-Net at two sizes or more, and linear attention of at least the larger one's state beside it."""
    sizes = {}
    for config in sweeps.load("fig3", "demo"):
        size = LanguageModel(config.model).state_size(config.sequence_length)
        sizes.setdefault(config.mixer, set()).add(size)
    assert {"attention", "linear_attention", "ramnet"} <= set(sizes)
    assert len(sizes["ramnet"]) >= 2
    assert max(sizes["linear_attention"]) >= max(sizes["ramnet"])


def test_smoke_data_is_tiny():
    data = build_data(sweeps.load("fig3", "smoke")[0].data)
    assert sum(len(s) for s in (*data.train, *data.test)) < 500


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sweeps.load("fig33", "demo"), "no sweep named 'fig33': did you mean 'fig3'?"),
        (lambda: sweeps.load("fig3", "demoo"), "has no scale 'demoo': did you mean 'demo'?"),
        (lambda: sweeps.scales("zzz"), "no sweep named 'zzz': there is fig3"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_fig3_has_every_architecture_at_several_state_sizes(scale):
    sizes = defaultdict(set)
    for model in {config.model.model_dump_json(): config.model for config in sweeps.load("fig3", scale)}.values():
        sizes[model.mixers[1].name].add(count_state(model, 512).total)
    assert set(sizes) == set(mixers.names()) - {"short_conv"}
    assert all(len(found) >= 2 for found in sizes.values())
