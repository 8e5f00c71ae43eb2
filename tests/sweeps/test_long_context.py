"""The sweeps of long contexts: what they train, and that they do."""

import re
from collections import Counter
from pathlib import Path

import pytest

import sweeps
from mqar_bench.training.data import build_data
from mqar_bench.training.loop import run

SMOKE = [config for name in ("segments", "long_context_slots") for config in sweeps.load(name, "smoke")]


@pytest.mark.parametrize("config", SMOKE, ids=lambda config: f"{config.sweep}-{config.mixer}-{config.run_id[:4]}")
def test_a_smoke_run_trains(config):
    record = run(config)
    assert record.status == "done" and set(record.settings) and record.epochs[-1].loss > 0
    assert record.steps == config.train.max_epochs * build_data(config.data).count_batches(config.train.batch_size)


def test_segments_are_pairs_and_their_stages_armts():
    configs = sweeps.load("segments", "laptop")
    for config in configs:
        segments, task = config.train.segments, config.data.train[0]
        assert {at - 1 for at in segments.stages} <= {1, 2, 3, 5, 10, 20, 40, 50}
        assert task.at_length(segments.size * 51).num_kv_pairs == 50 and task.at_length(10).num_kv_pairs == 1
    assert {config.mixer for config in configs} == {
        "armt", "ramnet", "delta_net", "attention", "ARMT, gradients over 4", "ARMT, one stage",
    }  # fmt: skip
    one, two = (next(c for c in configs if c.mixer == name) for name in ("armt", "ARMT, one stage"))
    tokens = [config.tokens_after(config.train.max_epochs) for config in (one, two)]
    assert 0.9 < tokens[1] / tokens[0] <= 1


def test_without_filler_training_has_as_many_steps_on_nothing_but_pairs():
    configs = sweeps.load("long_context_slots", "laptop")
    with_filler, without = configs[0], configs[len(configs) // 2]
    assert max(task.input_seq_len for task in with_filler.data.train) == 1024
    assert all(task.input_seq_len == task.least_length for task in without.data.train + without.data.validation)
    assert with_filler.model == without.model and with_filler.data.test == without.data.test
    for part in ("train", "validation"):
        of_pairs = [Counter(), Counter()]
        for examples, config in zip(of_pairs, (with_filler, without), strict=True):
            for task in getattr(config.data, part):
                examples[task.num_kv_pairs] += task.num_examples
        assert of_pairs[0] == of_pairs[1] != {}
    assert all(task.num_examples % with_filler.train.batch_size == 0 for task in without.data.train)


def test_the_readme_trains_a_ramnet_and_reads_it():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    trained, read = re.search(r"run --base (\S+) --save-weights && mqar-bench stream (\S+) --to 1M", text).groups()
    name, scale, index = trained.split("/")
    config = sweeps.load(name, scale)[int(index)]
    assert trained == read and config.mixer == "ramnet" and config.train.learning_rate == 1e-2
    assert config.trained_length == 1024 and config.data.test[0].name == "distant_mqar"
