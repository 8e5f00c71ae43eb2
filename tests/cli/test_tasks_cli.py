"""Tasks on the command line: chosen, set, listed, trained on, and refused where they cannot be."""

import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.config import RunConfig
from mqar_bench.config.overrides import apply_overrides
from mqar_bench.config.settings import fields
from mqar_bench.records.store import Store
from mqar_bench.records.table import to_frame
from mqar_bench.tasks import TASKS, ForgettingConfig, MQARConfig, StackedConfig

SMALL: dict[str, dict[str, Any]] = {
    "multiquery_ar": {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2},
    "forgetting": {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_updates": 1},
    "compositional": {"vocab_size": 64, "input_seq_len": 24},
    "stacked": {"vocab_size": 64, "num_kv_pairs": 2},
    "jrt": {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2},
    "associative_retrieval": {"num_kv_pairs": 3, "value_size": 2},
    "associative_recall": {"vocab_size": 64, "input_seq_len": 15, "num_kv_pairs": 4},
    "circuits": {"input_seq_len": 9},
    "k_hop": {"vocab_size": 64, "input_seq_len": 24, "num_kv_pairs": 4},
    "multi_value_mqar": {"vocab_size": 64, "input_seq_len": 24, "num_kv_pairs": 3},
    "state_tracking": {"input_seq_len": 9, "group": "S3"},
    "distant_mqar": {"vocab_size": 64, "input_seq_len": 24, "num_kv_pairs": 2},
    "story_qa": {"vocab_size": 64, "input_seq_len": 24, "num_facts": 4},
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_can_be_trained_on_and_scored_among_all_others(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    train = {"name": name, "num_examples": 64} | SMALL[name]
    test = [{"name": each, "num_examples": 16} | SMALL[each] for each in TASKS]
    words = ["--data.train", json.dumps([train]), "--data.test", json.dumps(test), "--model.vocab_size", "64"]
    words += ["--model.d_model", "8", "--train.max_epochs", "2", "--train.batch_size", "32", "--train.device", "cpu"]
    result = CliRunner().invoke(app, ["run", *words])
    assert result.exit_code == 0, result.stderr
    (record,), problems = Store("results").results()
    assert not problems and record.status == "done" and record.steps == 4
    labels = [TASKS[each](**SMALL[each]).label for each in TASKS]
    assert list(record.settings) == labels and all(label in result.stdout for label in labels)
    assert to_frame([record])[f"accuracy/{labels[-1]}"].notna().all()
    assert record.config.data.train[0].name == name


def test_a_task_is_chosen_by_its_name_and_keeps_what_both_have():
    for pairs in (
        [("data.train.0.name", "forgetting"), ("data.train.0.num_updates", "2"), ("data.train.0.vocab_size", "100")],
        [("data.train.0.vocab_size", "100"), ("data.train.0.num_updates", "2"), ("data.train.0.name", "forgetting")],
    ):
        config = apply_overrides(RunConfig(), pairs)
        assert config.data.train == (ForgettingConfig(num_examples=10_000, num_updates=2, vocab_size=100),)
        assert config.data.test == RunConfig().data.test
    for name, cls in TASKS.items():
        config = apply_overrides(RunConfig(), [("data.test.0.name", name)])
        assert config.data.test == (cls(),)  # its own defaults, also where they differ
    config = apply_overrides(config, [("data.train.0", '{"name": "jrt", "num_passes": 3, "vocab_size": 100}')])
    config = apply_overrides(config, [("data.train.0.name", "stacked"), ("data.train.0.num_kv_pairs", "8")])
    assert config.data.train == (StackedConfig(num_passes=3, vocab_size=100),)
    config = apply_overrides(config, [("data.train.0.name", "multiquery_ar"), ("data.train.0.num_passes", "1")])
    assert config.data.train == (MQARConfig(vocab_size=100),)


@pytest.mark.parametrize(
    "pairs, message",
    [
        (
            [("data.train", '[{"name": "forgeting"}]')],
            "data.train.0.name: no task named 'forgeting': did you mean 'forg",
        ),
        ([("data.test.0.name", "forgetting_mqar")], "data.test.0.name: no task named .*: did you mean 'forgetting'"),
        ([("data.train.0.name", "mqar")], "no task named 'mqar': there are multiquery_ar, forgetting, compositional"),
        ([("data.train", '[{}, {"name": 3}]')], "^data.train.1.name: no task named 3: there are "),
        ([("data.train", '[{"nam": "jrt"}]')], "^no setting 'data.train.0.nam'; did you mean 'data.train.0.name'"),
        ([("data.train.0.nam", "jrt")], "^no setting 'data.train.0.nam'; did you mean 'data.train.0.name'"),
        ([("data.train", "[5]")], "^data.train.0: Input should be an object with fields .got 5.$"),
        ([("data.train.0.num_updates", "2")], "'data.train.0.num_updates'; the task 'multiquery_ar' has name, vocab"),
        ([("data.train.0.mode", "rewrite"), ("data.train.0.name", "jrt")], "'data.train.0.mode'; the task 'jrt' has"),
        (
            [("data.test", '[{"name": "stacked", "input_seq_len": 8}]')],
            "input_seq_len'; the task 'stacked' has name, v",
        ),
        (
            [("data.test", '[{"name": "jrt", "num_pases": 3}]')],
            "'data.test.0.num_pases'; did you mean 'data.test.0.num_pa",
        ),
        (
            [("data.test", '[{"name": "jrt", "num_passes": "x"}]')],
            "^data.test.0.num_passes: .*valid integer.* .got x.$",
        ),
        ([("data.test", '[{"name": "jrt", "num_passes": true}]')], "^data.test.0.num_passes: Input should be a number"),
        (
            [("data.train.0.name", "compositional"), ("data.train.0.num_kv_pairs", "8")],
            "^data.train.0: num_kv_pairs must be a square such as 4 or 9, got 8$",
        ),
        (
            [("data.train.0.name", "jrt"), ("data.sampler", "zoology")],
            "^data: sampler 'zoology' does not draw the task",
        ),
        (
            [("model.vocab_size", "10"), ("data", '{"test": [{"name": "jrt"}]}')],
            "^model.vocab_size is 10, but the task",
        ),
    ],
)
def test_a_mistake_about_a_task_is_one_line_that_names_it(pairs, message):
    with pytest.raises(UsageError, match=message) as error:
        apply_overrides(RunConfig(), pairs)
    assert "\n" not in str(error.value)


def test_every_field_of_every_task_is_listed_with_whose_it_is():
    listed = [setting for setting in fields() if setting.path.startswith("data.train.N.")]
    assert listed[0].path == "data.train.N.name" and listed[0].choices == tuple(TASKS)
    assert len(set(listed)) == len(listed)
    for name, cls in TASKS.items():
        for field, info in cls.model_fields.items():
            if field != "name":
                (setting,) = (
                    s
                    for s in listed
                    if s.path == f"data.train.N.{field}"
                    and (name in s.description.rpartition("[")[2] or not s.description.endswith("]"))
                )
                assert setting.default == (info.default if isinstance(info.default, str) else json.dumps(info.default))
                assert len(setting.description) > 10


def test_the_command_lists_them():
    result = CliRunner().invoke(app, ["run", "--list-fields"])
    assert result.exit_code == 0
    assert f"--data.test.N.name  {' | '.join(TASKS)} = multiquery_ar\n" in result.stdout
    assert "--data.test.N.mode  remember | rewrite = remember\n" in result.stdout


def test_tasks_are_listed_and_told():
    listed = CliRunner().invoke(app, ["tasks"])
    assert listed.exit_code == 0 and all(name in listed.stdout for name in TASKS)
    described = json.loads(CliRunner().invoke(app, ["tasks", "--format", "json"]).stdout)
    assert [task["name"] for task in described] == list(TASKS)
    for task in described:
        assert task["summary"] and {o["name"] for o in task["options"]} == set(TASKS[task["name"]].model_fields) - {
            "name"
        }
        assert all(option["description"] for option in task["options"])
    one = CliRunner().invoke(app, ["tasks", "forgetting"])
    assert "keys that are bound a second time" in one.stdout and "Deviations:" in one.stdout
    unknown = CliRunner().invoke(app, ["tasks", "forgettin"])
    assert (unknown.exit_code, unknown.stderr) == (2, "error: no task named 'forgettin': did you mean 'forgetting'?\n")
