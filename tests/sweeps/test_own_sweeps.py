"""Sweeps of the user's own, by file and by dotted name, in a folder of their own."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.records.store import Store

HEAD = """
from mqar_bench import RunConfig
from mqar_bench.config import MixerSpec

TASK = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 64}


def run(rate=1e-2, name="attention", task=TASK, **train):
    return RunConfig.model_validate({
        "data": {"train": [task], "test": [task]},
        "model": {"vocab_size": 64, "d_model": 8, "mixers": [{"name": name}]},
        "train": {"max_epochs": 1, "batch_size": 32, "learning_rate": rate, "device": "cpu"} | train,
    })
"""
LINE = HEAD.count("\n") + 1  # the first of what follows it
TWO = "def configs():\n    return [run(1e-2), run(2e-2)]\n"
SCALES = "SCALES = ('small', 'large')\ndef configs(scale):\n    return [run(1e-2, seed=len(scale))]\n"
PARTS = """
from torch import nn

from mqar_bench.tasks import MQARConfig


class Mine(nn.Module):
    def __init__(self, d_model, layer_idx=None):
        super().__init__()
        self.inner = nn.Linear(d_model, d_model)

    def forward(self, x):
        return self.inner(x)

    def state_size(self, sequence_length):
        return 1


class Task(MQARConfig):
    pass
"""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Runs a command in an empty folder; what it has imported is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield lambda *words: CliRunner().invoke(app, [*map(str, words)])
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(body, path="my_sweep.py", head=HEAD):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(head + body)
    return path


def told(result):
    """The sweep and the scale that a command says it runs."""
    return re.search("note: its runs are those of sweep (.*) at scale (.*)\n", result.stderr).groups()


def test_a_file_runs_resumes_and_is_found_again_by_its_name(cli):
    write(TWO)
    first = cli("sweep", "my_sweep.py", "--executor", "inline")
    assert first.exit_code == 0 and "2 done, 0 done before" in first.stdout, first.stderr
    name, scale = told(first)
    assert scale == "custom" and re.fullmatch(r".*-my_sweep-[0-9a-f]{6}", name)
    again = cli("sweep", "./my_sweep.py", "--executor", "inline")
    assert "0 done, 2 done before" in again.stdout
    listed = cli("sweep", "my_sweep.py", "--dry-run", "--quiet")
    assert listed.stdout.count("done") == 2 and listed.stderr == ""
    assert cli("results", "my_sweep.py").stdout == cli("results", name).stdout
    assert cli("results", "pack", "my_sweep.py").exit_code == 0 and Path(f"results/{name}-custom.jsonl").is_file()
    assert cli("plot", "fig3", "--sweep", "my_sweep.py").exit_code == 0
    assert pd.read_csv("figures/fig3.csv")["runs"].tolist() == [2]
    based = json.loads(cli("run", "--base", "my_sweep.py/1", "--dry-run").stdout)
    assert based["train"]["learning_rate"] == 2e-2 and based["sweep"] == name


def test_a_run_with_a_task_of_its_own_is_shown_and_scored_again(cli):
    write(PARTS, "own_parts.py", "")
    task = 'TASK | {"name": "own_parts.Task"}'
    write(f"def configs():\n    return [run(1e-2), run(2e-2, task={task})]\n")
    trained = cli("sweep", "my_sweep.py", "--executor", "inline", "--save-weights")
    assert trained.exit_code == 0, trained.stderr
    for module in ("own_parts", "my_sweep"):
        sys.modules.pop(module, None)
    result = next(r for r in Store("results").results()[0] if r.config.train.learning_rate == 2e-2)
    assert result.run_id in cli("show", "my_sweep.py/1").stdout
    scored = cli("evaluate", "my_sweep.py/1", "--json")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["settings"] == result.settings
    assert "in training" in cli("evaluate", result.run_id).stdout
    assert cli("evaluate", "my_sweep.py/9").stderr == (
        "error: my_sweep.py/9: the last part must be a run from 0 to 1\n"
    )


@pytest.mark.parametrize("words", [("--seeds", "2"), ("--screen", "--screen-share", "0.5")], ids=" ".join)
def test_options_of_a_sweep_are_its_too(cli, words):
    write(TWO.replace("e-2)", "e-2, max_epochs=2)"))
    result = cli("sweep", "my_sweep.py", "--executor", "inline", *words)
    assert result.exit_code == 0, result.stderr
    assert len(Store("results").results()[0]) == (4 if "--seeds" in words else 3)


def test_a_dotted_name_is_the_same_sweep_as_its_file(cli):
    write("", "my_package/__init__.py", "")
    write("from . import rates\ndef configs():\n    return [run(rate) for rate in rates.ALL]\n", "my_package/mine.py")
    write("ALL = [1e-2, 2e-2]", "my_package/rates.py", "")
    by_name = cli("sweep", "my_package.mine", "--executor", "inline")
    assert by_name.exit_code == 0, by_name.stderr
    assert told(by_name)[0].startswith("my_package-mine-")
    assert "2 runs" not in cli("results", "my_package.mine").stderr
    assert len(cli("results", "my_package/mine.py", "--format", "csv").stdout.splitlines()) == 3


def test_scales(cli):
    write(SCALES)
    small = cli("sweep", "my_sweep.py", "--scale", "small", "--executor", "inline")
    assert small.exit_code == 0 and told(small)[1] == "small", small.stderr
    assert json.loads(cli("run", "--base", "my_sweep.py/large/0", "--dry-run").stdout)["scale"] == "large"
    write(SCALES.replace(", 'large'", ","), "one.py")
    assert told(cli("sweep", "one.py", "--dry-run"))[1] == "small"
    assert cli("run", "--base", "one.py/0", "--dry-run").exit_code == 0


def test_what_the_configs_say_of_sweep_and_scale_is_replaced(cli):
    write("import sweeps\ndef configs():\n    return sweeps.load('fig3', 'smoke')[:2]\n")
    result = cli("sweep", "my_sweep.py", "--executor", "inline")
    assert result.exit_code == 0, result.stderr
    assert {(r.config.sweep, r.config.scale) for r in Store("results").results()[0]} == {told(result)}


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_mixers_and_tasks_beside_it_and_in_it_are_found(cli, tmp_path, executor):
    if executor == "ray":
        pytest.importorskip("ray")
    write(PARTS, "deep/own_parts.py", "")
    body = "import own_parts\nclass Other(own_parts.Mine):\n    pass\n\n\n"
    body += "def configs():\n    task = own_parts.Task(**TASK)\n"
    body += "    return [run(name='own_parts.Mine', task=task), run(name='with_own_parts.Other', task=task)]\n"
    write(body, "deep/with_own_parts.py")
    result = cli("sweep", "deep/with_own_parts.py", "--executor", executor, *(["--jobs", "1"] * (executor == "ray")))
    assert result.exit_code == 0, result.stdout + result.stderr
    records = Store("results").results()[0]
    assert [record.status for record in records] == ["done", "done"]
    assert {record.config.data.test[0].name for record in records} == {"own_parts.Task"}


def test_an_exported_one_comes_back(cli):
    write("import sweeps\ndef configs():\n    return sweeps.load('fig3', 'paper')[:1]\n")
    exported = cli("export-zoology", "my_sweep.py")
    assert exported.exit_code == 0, exported.stderr
    write(exported.stdout, "theirs.py", "")
    theirs = cli("sweep", "theirs.py", "--dry-run")
    assert theirs.exit_code == 0 and told(theirs)[1] == "zoology", theirs.stderr


CASES = {
    "syntax": ("x = (\n", ":{0}: SyntaxError: '(' was never closed"),
    "import": ("import no_such_thing\n", ":{0}: ModuleNotFoundError: No module named 'no_such_thing'"),
    "raised": ("def configs():\n    return [run(1 / 0)]\n", ":{1}: ZeroDivisionError: division by zero"),
    "exits": ("def configs():\n    raise SystemExit('enough')\n", ":{1}: SystemExit: enough"),
    "none": ("def configs():\n    pass\n", ":{0}: configs() must return a list of RunConfigs, got None"),
    "generator": ("def configs():\n    yield run()\n", ":{0}: configs() must return a list of RunConfigs, got gener"),
    "element": ("def configs():\n    return [run(), 3]\n", ":{0}: configs(): entry 1 is no RunConfig but int 3"),
    "empty": ("def configs():\n    return []\n", ":{0}: configs() returned an empty list"),
    "equal": ("def configs():\n    return [run(), run(3), run()]\n", ":{0}: configs(): entries 0 and 2 are the"),
    "value": (
        "def configs():\n    return [run(seed='x')]\n",
        ": ValidationError: RunConfig.train.seed: Input should be a valid integer, unable to parse string as an"
        " integer (got 'x')",
    ),
    "field": ("def configs():\n    return [run(sed=1)]\n", "RunConfig.train.sed: Extra inputs are not permitted"),
    "mixer": (
        "def configs():\n    return [run(name='ramnt')]\n",
        ":{0}: configs(): entry 0: model.mixers.0: no mixer named 'ramnt': did you mean 'ramnet'?",
    ),
    "mixer's module": (
        "def configs():\n    return [run(name='broken.Mine')]\n",
        ":{0}: configs(): entry 0: {folder}/broken.py:2: ZeroDivisionError: division by zero",
    ),
    "imported": ("import broken\n", ":{0}: {folder}/broken.py:2: ZeroDivisionError: division by zero"),
    "takes a scale": ("def configs(scale):\n    return []\n", ":{0}: the module has no SCALES, so configs takes no"),
    "takes none": ("SCALES = ('a',)\ndef configs():\n    pass\n", ":{1}: the module has SCALES, so configs takes"),
    "text": ("SCALES = ('a')\ndef configs(s):\n    pass\n", ": SCALES must be a tuple of names: ('a',)"),
    "name": ("SCALES = ('a b',)\ndef configs(s):\n    pass\n", ": SCALES has 'a b'; a scale is named in letters"),
    "neither": ("", " has no list `configs` of Zoology's TrainConfig, nor a function `configs(scale)` "),
    "a list": ("configs = [run()]\n", "entry 0 is of type RunConfig; a sweep of RunConfigs has a function"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_with_its_place(cli, tmp_path, case):
    body, message = CASES[case]
    write("\n1 / 0\n", "broken.py", "")
    write(body)
    result = cli("sweep", "my_sweep.py")
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1, result.output
    assert result.stderr.startswith("error: my_sweep.py")
    assert message.format(LINE, LINE + 1, folder=tmp_path) in result.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        ("sweep scales.py", "sweep 'scales.py' needs a scale: --scale small, large"),
        ("sweep scales.py --scale smal", "sweep 'scales.py' has no scale 'smal': did you mean 'small'?"),
        ("sweep plain.py --scale demo", "--scale demo: plain.py has no scales"),
        ("sweep plain", "no sweep named 'plain': did you mean the file plain.py?"),
        ("sweep plain.py --ignore-unknown-fields", "is for experiment files of Zoology; 'plain.py' is none"),
        ("sweep none.py", "there is no file none.py"),
        ("sweep my_packag.x", "there is no module 'my_packag'"),
        ("sweep folder.plan", "there is no module 'folder.plan': did you mean 'plain'?"),
        ("run --base plain.py/2", "--base plain.py/2: the last part must be a run from 0 to 1"),
        ("run --base plain.py/custom/0", "--scale custom: plain.py has no scales"),
        ("run --base scales.py/0", "sweep 'scales.py' needs a scale"),
        ("results plain.py", "no records: there is no folder results"),
    ],
    ids=lambda text: text if len(text) < 40 else "",
)
def test_a_mistake_on_the_command_line(cli, words, message):
    write(TWO, "plain.py")
    write(TWO, "folder/plain.py")
    write(SCALES, "scales.py")
    result = cli(*words.split())
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1, result.output
    assert result.stderr.startswith("error: ") and message in result.stderr
