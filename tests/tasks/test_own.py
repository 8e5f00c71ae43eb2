"""A task of the user's own by its dotted path: chosen, set, drawn, recorded, refused."""

import json
import sys

import pytest
from typer.testing import CliRunner

from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.config import RunConfig, setting_names
from mqar_bench.config.overrides import apply_overrides
from mqar_bench.launching.ship import gather
from mqar_bench.records.store import Store
from mqar_bench.records.table import to_frame
from mqar_bench.tasks import MQARConfig
from mqar_bench.tasks.own import RECORDED, RecordedTask, load_task
from tests.launching.tiny import executed

HEAD = """
import numpy as np
from mqar_bench.tasks import JRTConfig, MQARConfig, QueryTask, Task


class Base(Task):
    vocab_size: int = 64
    num_examples: int = 64
    num_kv_pairs: int = 1

    @property
    def input_seq_len(self):
        return 4 * self.num_kv_pairs

    @property
    def label(self):
        return f"echo-{self.num_kv_pairs}"
"""

MINE = """
class Echo(Base):
    '''Say the first token again at the end.

    Args:
        shift: added to it.
    '''

    shift: int = 0

    def _draw(self, rng, filler, tokens):
        tokens[:] = rng.integers(0, 32, size=tokens.shape)
        at = np.arange(-self.num_kv_pairs, 0) + self.input_seq_len
        return np.tile(at, (len(tokens), 1)), np.repeat(tokens[:, :1] + self.shift, self.num_kv_pairs, axis=1)


class Wider(MQARConfig):
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of tasks to be found, in an empty folder; its name, which no other test has."""
    name = f"tasks_{abs(hash(tmp_path))}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text=MINE):
        (tmp_path / f"{name}.py").write_text(HEAD + text)
        return name

    yield write
    sys.modules.pop(name, None)


def small(name, **settings):
    task = {"name": name, "num_kv_pairs": 2} | settings
    values = {"data": {"train": [task], "test": [task]}, "model": {"vocab_size": 64, "d_model": 8}}
    return RunConfig.model_validate(values | {"train": {"max_epochs": 1, "batch_size": 32, "device": "cpu"}})


@pytest.mark.parametrize("name_first", [True, False])
def test_it_is_chosen_by_its_path_with_options_of_its_own(module, name_first):
    name = f"{module()}.Echo"
    pairs = [("data.train.0.name", name), ("data.train.0.shift", "3"), ("data.test", f'[{{"name": "{name}"}}]')]
    config = apply_overrides(RunConfig(), pairs if name_first else [pairs[1], pairs[0], pairs[2]])
    Echo = load_task(name)
    assert config.data.train == (Echo(num_examples=10_000, shift=3, num_kv_pairs=1),)  # whatever both have is kept
    assert config.data.test == (Echo(),)
    back = apply_overrides(config, [("data.train.0.name", "multiquery_ar")])
    assert back.data.train == (MQARConfig(num_examples=10_000),)


def test_it_comes_back_from_what_is_written(module):
    config = small(f"{module()}.Echo", shift=5)
    assert type(config.data.train[0]).__name__ == "Echo" and config.data.train[0].own
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert RunConfig.model_validate(config.model_dump(mode="json")).run_id == config.run_id
    assert config.run_id != small(f"{module()}.Echo").run_id


def test_a_task_derived_from_ours_is_another_task(module):
    name = f"{module()}.Wider"
    config = small(name, input_seq_len=16, vocab_size=64)
    assert config.data.test[0].name == name and config.data.test[0].own and not MQARConfig.own
    assert type(config.data.test[0]) is load_task(name) and setting_names(config.data.test) == ["L16-kv2"]
    longer = config.data.test[0].at_length(20)
    assert type(longer) is load_task(name) and (longer.input_seq_len, longer.vocab_size) == (20, 64)
    with pytest.raises(ValueError, match="has no input_seq_len that could be set"):
        small(name.replace("Wider", "Echo")).data.test[0].at_length(20)
    assert config.run_id != small("multiquery_ar", input_seq_len=16, vocab_size=64).run_id


def test_a_record_is_read_where_the_class_is_not(module, tmp_path):
    name = module()
    config = small(f"{name}.Echo", shift=2)
    result = executed(config)
    assert result.status == "done", result.traceback
    Store("results").write(result)
    here = to_frame([result])
    sys.modules.pop(name)
    (tmp_path / f"{name}.py").write_text("raise SystemExit('not for reading records')")
    (record,), problems = Store("results").results()
    assert problems == [] and isinstance(record.config.data.test[0], RecordedTask)
    assert to_frame([record]).equals(here) and here["accuracy/echo-2"].notna().all()
    assert record.run_id == config.run_id and record.config.data_name == config.data_name
    assert record.config.data.test[0].num_answers == 2 and record.model_dump_json() == result.model_dump_json()
    assert RunConfig.model_validate_json(record.config.model_dump_json(), context=RECORDED) == record.config
    listed = CliRunner().invoke(app, ["results"])
    assert listed.exit_code == 0 and config.run_id[:8] in listed.stdout
    with pytest.raises(ValueError, match="known from its record alone"):
        record.config.data.test[0].build(0)


def test_its_module_is_sent_along(module, tmp_path):
    name = module("import parts\n" + MINE)
    (tmp_path / "parts.py").write_text("")
    gather([small(f"{name}.Echo")], tmp_path / "sent")
    assert {f"{name}.py", "parts.py", "mqar_bench"} <= {path.name for path in (tmp_path / "sent").iterdir()}
    sys.modules.pop("parts")


def test_the_command_tells_of_it_and_draws_an_example(module):
    name = module()
    told = CliRunner().invoke(app, ["tasks", f"{name}.Echo"]).stdout
    assert told.startswith("Say the first token again at the end.\n") and "added to it." in told
    lines = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.startswith("    ")}
    tokens, labels = lines["token"], lines["label"]
    assert len(lines["position"]) == len(tokens) == 4 and labels == tokens[:1]
    described = json.loads(CliRunner().invoke(app, ["tasks", f"{name}.Echo", "--format", "json"]).stdout)
    assert described["name"] == f"{name}.Echo" and described["options"][-1]["name"] == "shift"


@pytest.mark.parametrize(
    "text, name, message",
    [
        ("", "Echoo", "data.train.0: task '.*Echoo': module '.*' has no 'Echoo'; did you mean 'Echo'"),
        ("", "np", "np' is not a class derived from mqar_bench.tasks.Task"),
        ("", "JRTConfig", "JRTConfig' is one of ours: give it as 'jrt'"),
        ("class Half(Base): pass", "Half", "Half' cannot be drawn: it does not define _draw"),
        (
            "class No(Echo):\n num_answers = property(lambda s: 1.5)",
            "No",
            "num_answers of the task .*No' must be an integer",
        ),
        ("class No(Echo):\n label = property(lambda s: 3)", "No", "label of the task .*No' must be printable text"),
        ("class No(Echo):\n slices = ('x',)", "No", "slices of the task .*No': it has no x"),
        ("class No(Echo):\n a: list = []", "No", "unhashable type: 'list'; take a tuple in place of a list"),
        ("class No(Echo):\n def _draw(self, r, f, t): return 1", "No", "must return positions and answers, got 1"),
        ("class No(Echo):\n def _draw(self, r, f, t): return t, t", "No", "positions of shape .2, 1. .*got .2, 4."),
        ("class No(Echo):\n def _draw(self, r, f, t): return t[:, :1] + 4, t[:, :1]", "No", "positions from 4 to 4"),
        ("class No(Echo):\n def _draw(self, r, f, t): return t[:, :1], t[:, :1] - 1", "No", "answers from -1 to -1"),
        ("class No(Echo):\n def _draw(self, r, f, t): t[0, 0] = 64; return t[:, :1] * 0, t[:, :1] * 0", "No", "to 64;"),
        ("class No(Echo):\n def _draw(self, r, f, t): return t[:, 0:1], t[:, 9:].mean('x')", "No", "TypeError.* line"),
        ("class No(Echo):\n n: int = 1\n def _draw(self, r, f, t): return t[:, :1], t[:, :1] + next(C)", "No", "alone"),
    ],
    ids=lambda text: text[:50] if isinstance(text, str) else "",
)
def test_a_mistake_is_one_line(module, text, name, message):
    path = f"{module(MINE + text + chr(10) + 'C = iter(range(9))' + chr(10))}.{name}"
    with pytest.raises(UsageError, match=message) as error:
        apply_overrides(RunConfig(), [("data.train", json.dumps([{"name": path}]))])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("shfit", "3", "^no setting 'data.train.0.shfit'; did you mean 'data.train.0.shift'?"),
        ("mode", "3", "^no setting 'data.train.0.mode'; the task 'tasks_.*Echo' has name, vocab_size"),
        ("shift", "x", r"^data.train.0.shift: Input should be a valid integer.* \(got x\)$"),
        ("shift", "true", "^data.train.0.shift: Input should be a number"),
        ("num_kv_pairs", "0", "^data.train.0: input_seq_len must be at least 1, got 0$"),
    ],
)
def test_a_wrong_option_is_refused_by_name(module, field, value, message):
    path = f"{module()}.Echo"
    with pytest.raises(UsageError, match=message):
        apply_overrides(RunConfig(), [("data.train.0.name", path), (f"data.train.0.{field}", value)])
    if value.isdigit():
        with pytest.raises(UsageError, match=message):
            task = {"name": path, field: int(value)}
            apply_overrides(RunConfig(), [("data.train", json.dumps([task]))])


def test_a_name_of_its_own_is_refused_where_the_class_is_made(module):
    name = module("from typing import Literal\nclass Mine(Base):\n    name: Literal['mine'] = 'mine'\n")
    with pytest.raises(TypeError, match=f"^{name}.Mine: a task of your own goes by this path; leave out its field"):
        load_task(f"{name}.Mine")
