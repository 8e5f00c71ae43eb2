"""With --json every command prints one JSON value on standard output and nothing else, whatever becomes of it."""

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.launching import launch
from mqar_bench.records.store import Store
from mqar_bench.tasks import MQARConfig
from tests.text.words import write_text

ROOT = Path(__file__).parents[2]
#: Print something else than text for people: a Python file.
WITHOUT = {"export-zoology"}
#: In the test of reports below, in tests/doctor, and in test_compare.py.
TRIED_ELSEWHERE = {"reproduce", "report", "doctor", "compare"}
SWEEP = """\
from pathlib import Path
from mqar_bench import read_config

def configs():
    return [read_config(path) for path in sorted(Path("configs").glob("*.json"))]
"""
TASK = MQARConfig(vocab_size=32, num_examples=32, input_seq_len=16, num_kv_pairs=2)


def config(**model):
    return RunConfig(
        data=DataConfig(train=(TASK,), test=(TASK,)),
        model=ModelConfig(vocab_size=32, d_model=8, **model),
        train=TrainConfig(max_epochs=1, batch_size=16),
    )


RUN = config()
RAMNET = config(mixers=(MixerSpec(name="ramnet", options={"order": 2, "sub_dim": 2, "top_k": 2, "num_heads": 1}),))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the records and the weights of two runs."""
    folder = tmp_path_factory.mktemp("trained")
    store = Store(folder / "results")
    assert len(launch([RUN, RAMNET], store, "inline", save_weights=True).done) == 2
    return folder


@pytest.fixture
def cli(trained, tmp_path, monkeypatch):
    """Runs ``mqar-bench``, and says what it printed and its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("results").symlink_to(trained / "results")
    Path("configs").mkdir()
    Path("configs/0.json").write_text(RUN.model_dump_json())
    Path("mine.py").write_text(SWEEP)
    write_text(Path("text.txt"), words=6000)

    def call(words, code=0):
        result = CliRunner().invoke(app, [*words.split(), "--json"])
        assert result.exit_code == code, result.stderr
        return json.loads(result.stdout)

    return call


CASES = [
    ("sweep mine.py --dry-run", lambda v: [run["status"] for run in v] == [None]),
    (
        "sweep mine.py --executor inline --results new",
        lambda v: (v["exit_code"], [run["outcome"] for run in v["runs"]]) == (0, ["done"]),
    ),
    (
        "language text.txt --scale smoke --vocab-size 300 --mixer attention --executor inline --results new"
        " --export models",
        lambda v: (
            (v["exit_code"], [run["outcome"] for run in v["runs"]], v["exported"])
            == (0, ["done"], {"attention": "models/attention"})
        ),
    ),
    (f"run --from-record {RUN.run_id}", lambda v: v["run_id"] == RUN.run_id and v["status"] == "done"),
    (f"run --from-record {RUN.run_id} --dry-run", lambda v: RunConfig.model_validate(v) == RUN),
    ("run --list-fields", lambda v: "train.learning_rate" in {field["path"] for field in v}),
    ("results", lambda v: {row["run_id"] for row in v} == {RUN.run_id, RAMNET.run_id}),
    ("results list --columns mixer", lambda v: sorted(row["mixer"] for row in v) == ["attention", "ramnet"]),
    ("results pack --dry-run", lambda v: [(one["records"], one["folded"]) for one in v] == [(2, 2)]),
    ("results import {trained} --results new", lambda v: (v["new"], v["conflicts"]) == (2, [])),
    (f"show {RUN.run_id}", lambda v: v["run_id"] == RUN.run_id),
    ("plot curves --sweep adhoc", lambda v: len(v["files"]) == 3 and "accuracy" in v["table"][0]),
    (f"evaluate {RUN.run_id}", lambda v: v["run_id"] == RUN.run_id),
    (
        f"stream {RUN.run_id} --to 64 --from 16 --examples 4 --data.test.0.name distant_mqar",
        lambda v: [entry["status"] for entry in v["contexts"]] == ["done", "done"],
    ),
    (f"trace {RAMNET.run_id}", lambda v: v["examples"] == 16 and all(Path(file).is_file() for file in v["files"])),
    ("mixers", lambda v: "ramnet" in {mixer["name"] for mixer in v}),
    ("mixers ramnet", lambda v: v["name"] == "ramnet"),
    ("tasks", lambda v: "forgetting" in {task["name"] for task in v}),
    ("check short_conv", lambda v: v["failed"] == []),
    ("state-size", lambda v: v[0]["total"] > 0),
    (
        "perf address --device cpu --batch 1 --length 8 --heads 1 --width 4 --order 2 --top-k 2 --repeats 3"
        " --seconds-per-row 0 --no-peers",
        lambda v: v["perf_schema_version"] == 1,
    ),
]


@pytest.mark.parametrize(("words", "right"), CASES, ids=[words for words, _ in CASES])
def test_a_command_prints_json_and_nothing_else(cli, trained, words, right):
    assert right(cli(words.replace("{trained}", str(trained / "results"))))


def test_reports_are_named_with_what_is_in_them(cli):
    Path("copy").mkdir()
    Path("copy/fig3-demo.jsonl").symlink_to(ROOT / "results" / "fig3-demo.jsonl")
    values = cli("reproduce fig3 --scale demo --no-train --results copy")
    assert values["reports"] == ["copy/REPORT.md", "copy/report.html"]
    assert values["figures"][0]["claims"][0]["answer"]
    values = cli("report fig3 --scale demo --results copy")
    assert values == {"report": "report.html", "figures": ["fig3"], "runs": 24}


def test_a_failed_sweep_says_which_and_why(cli):
    diverges = RUN.model_copy(update={"train": RUN.train.model_copy(update={"learning_rate": 1e30, "max_epochs": 9})})
    Path("configs/0.json").write_text(diverges.model_dump_json())
    values = cli("sweep mine.py --executor inline --results new", code=1)
    assert values["exit_code"] == 1 and values["runs"][0]["outcome"] == "failed" and values["runs"][0]["error"]


@pytest.mark.parametrize("command", ["mixers", "tasks", "state-size"])
def test_the_old_way_still_does(cli, command):
    assert json.loads(CliRunner().invoke(app, [command, "--format", "json"]).stdout) == cli(command)


def test_csv_is_not_json(cli):
    result = CliRunner().invoke(app, ["results", "--json", "--format", "csv"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: --json and --format csv exclude each other\n"


def leaves(command, path=()):
    """Every command, by its words."""
    below = getattr(command, "commands", None)
    if not below:
        yield " ".join(path), command
    for name, each in (below or {}).items():
        yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_it_and_is_tried(name):
    flags = {option: parameter for parameter in COMMANDS[name].params for option in parameter.opts}
    assert ("--json" in flags) == (name not in WITHOUT)
    if name not in WITHOUT:
        assert flags["--json"].is_flag and not flags["--json"].hidden
        assert name in TRIED_ELSEWHERE or any(words.startswith(name) for words, _ in CASES)
