"""Settings as one would type them make the same run again."""

import pytest

import sweeps
from mqar_bench.config import RunConfig
from mqar_bench.config.differences import list_overrides
from mqar_bench.config.overrides import apply_overrides
from tests.tasks.settings import SETTINGS

CASES = {
    "defaults": {},
    "a label": {"mixer": "mine, with 3"},
    "a label like a number": {"mixer": "1e-3"},
    "a label like JSON text": {"mixer": '"x"'},
    "null": {"train": {"early_stopping_threshold": None, "grad_clip": 0.5}},
    "one mixer": {"model": {"mixers": [{"name": "gla", "options": {"expand_k": 2.0}}]}},
    "two mixers": {"model": {"mixers": [{"name": "short_conv", "options": {"kernel_size": 2}}, {"name": "ramnet"}]}},
    "data": {"data": {"shuffle": True, "seed": 5, "validation": [{}, {"num_kv_pairs": 4}]}},
}


def again(config):
    return apply_overrides(RunConfig(), list_overrides(config))


@pytest.mark.parametrize("name", CASES)
def test_what_differs_is_enough(name):
    config = RunConfig.model_validate(CASES[name])
    assert again(config) == config
    assert (list_overrides(config) == []) == (name == "defaults")


@pytest.mark.parametrize("sweep", sweeps.names())
def test_runs_of_sweeps_come_again(sweep):
    for scale in sweeps.scales(sweep):
        config = sweeps.load(sweep, scale)[-1]
        assert again(config).run_id == config.run_id and again(config).mixer == config.mixer


@pytest.mark.parametrize("name", SETTINGS)
def test_a_task_keeps_its_name(name):
    tasks = tuple(SETTINGS[name])
    config = RunConfig(data={"train": tasks, "test": tasks})
    assert again(config) == config


def test_it_is_short_where_little_differs():
    config = RunConfig.model_validate(
        {"model": {"mixers": [{"name": "short_conv"}, {"name": "ramnet", "options": {"top_k": 4}}]}}
    )
    assert list_overrides(config) == [("model.mixers.1.name", "ramnet"), ("model.mixers.1.options.top_k", "4")]
    assert list_overrides(config.model_copy(update={"sweep": "fig3", "scale": "demo"})) == list_overrides(config)
