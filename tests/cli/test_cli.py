import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import mixers
import plots
import sweeps
from mqar_bench import launching
from mqar_bench.cli import app, look
from mqar_bench.cli.left_out import left_out
from mqar_bench.config import RunConfig
from mqar_bench.launching.checkpoints import Checkpoints
from mqar_bench.records.store import Store

ROOT = Path(__file__).parents[2]
TASK = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 64}
#: A run of a second, as dotted overrides.
TINY = [
    *("--data.train", json.dumps([TASK]), "--data.test", json.dumps([TASK]), "--model.vocab_size", "64"),
    *("--model.d_model=8", "--train.max_epochs=1", "--train.batch_size", "32", "--train.device", "cpu"),
]


def tiny(rate=1e-2, mixer="attention", scale="demo", epochs=1) -> RunConfig:
    return RunConfig.model_validate(
        {
            "sweep": "grid",
            "scale": scale,
            "data": {"train": [TASK], "test": [TASK]},
            "model": {"vocab_size": 64, "d_model": 8, "mixers": [{"name": mixer}]},
            "train": {"max_epochs": epochs, "batch_size": 32, "learning_rate": rate, "device": "cpu"},
        }
    )


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs a command in an empty folder; ``grid`` is a sweep there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    grid = {
        "demo": [tiny(1e-2), tiny(2e-2), tiny(mixer="linear_attention")],
        "broken": [tiny(scale="broken"), tiny(1e30, scale="broken")],
        "rates": [tiny(rate, scale="rates", epochs=2) for rate in (1e-2, 2e-2)] + [tiny(mixer="ramnet", scale="rates")],
    }

    def load(name, scale, seeds=1):
        if name != "grid":
            raise ValueError(f"no sweep named {name!r}")
        return grid[scale]

    monkeypatch.setattr(sweeps, "load", load)
    monkeypatch.setattr(sweeps, "names", lambda: ("grid",))
    monkeypatch.setattr(sweeps, "scales", lambda name: tuple(grid))
    monkeypatch.setattr(plots, "names", lambda: ("grid",))
    monkeypatch.setattr(plots, "sweeps", lambda name: ("grid",))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


SWEEP = ("sweep", "grid", "--scale", "demo", "--executor", "inline")


def test_sweep_then_again(cli):
    first = cli(*SWEEP)
    assert first.exit_code == 0, first.stderr
    assert "[3/3] linear_attention lr=0.01 seed=123 accuracy" in first.stderr
    table = [line.split() for line in first.stdout.splitlines()]
    best = max(Store("results").results(sweep="grid")[0][:2], key=lambda r: r.accuracy)
    row = ["attention", str(best.state_size), f"{best.config.train.learning_rate:g}", f"{best.accuracy:.3f}", "2"]
    assert row in table
    assert "3 done, 0 done before, 0 failed: results" in first.stdout
    again = cli(*SWEEP)
    assert again.exit_code == 0 and again.stderr == ""
    assert row in [line.split() for line in again.stdout.splitlines()]
    assert "0 done, 3 done before, 0 failed" in again.stdout
    assert "3 done, 0 done before" in cli(*SWEEP, "--force").stdout


def test_a_sweep_with_a_failed_run_exits_with_1_and_says_where(cli):
    result = cli("sweep", "grid", "--scale", "broken", "--executor", "inline", "--quiet")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "FAILED Divergence: the loss is nan at step" in result.stderr
    assert "1 done, 0 done before, 1 failed" in result.stdout
    path = result.stdout.splitlines()[-1].rpartition(": ")[2]
    assert "Divergence" in json.loads(Path(path).read_text())["traceback"]


def test_sweep_dry_run_trains_nothing(cli):
    result = cli(*SWEEP, "--dry-run")
    assert result.exit_code == 0 and not Path("results").exists()
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["1", tiny(2e-2).run_id, "-", "attention", "lr=0.02", "seed=123"]
    cli(*SWEEP)
    assert [line.split()[2] for line in cli(*SWEEP, "--dry-run").stdout.splitlines()] == ["done"] * 3


def test_a_time_budget_ends_it_with_3_and_the_same_command_goes_on(cli):
    over = cli(*SWEEP, "--time-budget", "0.001s")
    assert over.exit_code == 3 and Store("results").results() == ([], [])
    assert "the time is over: 3 runs are left; the same command goes on" in over.stderr
    assert "3 left" in over.stdout
    Checkpoints(Store("results")).path(tiny(1e-2)).write_bytes(b"")
    assert "3 runs are left, 1 has a checkpoint" in cli(*SWEEP, "--time-budget", "0.001s").stderr
    assert cli(*SWEEP, "--time-budget", "1h").exit_code == 0
    assert len(Store("results").results()[0]) == 3


def test_select_screens_and_repeats_the_best_rate_with_fresh_seeds(cli):
    words = ("sweep", "grid", "--scale", "rates", "--executor", "inline", "--select", "2", "--screen-share", "0.5")
    first = cli(*words)
    assert first.exit_code == 0 and "screening: 2 short runs" in first.stderr and "in full: 4 runs" in first.stderr
    store = Store("results")
    full = store.results(scale="rates")[0]
    assert sorted((r.config.mixer, r.config.train.seed) for r in full) == [
        (mixer, 123 + i) for mixer in ("attention", "ramnet") for i in (1, 2)
    ]
    record = next(r for r in full if r.config.mixer == "attention").screen
    short = {r.run_id: r for r in store.results(scale="rates-screen")[0]}
    assert set(record.runs.values()) == set(short) and record.seed == 123
    assert {r.config.train.seed for r in short.values()} == {123}
    assert "0 done, 4 done before" in cli(*words).stdout
    # of every model a rate was chosen, so that nothing lacks
    assert left_out(store, full, "grid", "rates") == []
    assert len(left_out(store, full[:2], "grid", "rates")) > 0


def test_of_many_runs_that_are_left_out_a_few_are_named(tmp_path):
    lines, runs = left_out(Store(tmp_path), [], "fig3", "paper", most=8), len(sweeps.load("fig3", "paper"))
    assert len(lines) == 9 and lines[0] == f"{runs} of {runs} runs of fig3 at paper are not done"
    assert lines[-1] == "and so on: `mqar-bench sweep fig3 --scale paper --dry-run` names them all"


def test_screening_runs_the_best_learning_rate_in_full(cli):
    words = ("sweep", "grid", "--scale", "rates", "--executor", "inline", "--screen", "--screen-share", "0.5")
    first = cli(*words)
    assert first.exit_code == 0, first.stderr
    assert "screening: 2 short runs" in first.stderr and "in full: 2 of 3 runs" in first.stderr
    store = Store("results")
    short = {r.config.train.learning_rate: r.accuracy for r in store.results(scale="rates-screen")[0]}
    full = {r.config.mixer: r for r in store.results(scale="rates")[0]}
    best = max(short, key=lambda rate: (short[rate], -rate))
    assert full["attention"].config.train.learning_rate == best
    assert full["attention"].screen.rivals == {f"{rate:g}": short[rate] for rate in sorted(short)}
    assert full["ramnet"].screen is None
    again = cli(*words)
    assert again.exit_code == 0 and "0 done, 2 done before" in again.stdout
    listed = cli(*words, "--dry-run").stdout.splitlines()
    assert len(listed) == 4 and all(" done " in line for line in listed)
    assert look._read_records("grid", ["grid"], None, Path("results"))[1] == "rates"  # what plot draws


@pytest.mark.parametrize(
    "words, message",
    [
        (("--time-budget", "soon"), "'soon' is no duration: give one such as 90s, 9m or 1h30m"),
        (("--screen", "--screen-share", "2"), "must be between 0 and 1, got 2"),
        (("--select", "2", "--screen"), "--select N screens, and says how many seeds there are"),
        (("--select", "2", "--seeds", "2"), "leave out --screen and --seeds"),
        (("--address", "auto"), "the inline executor has one run at a time, here"),
        (("--retries", "-1"), "--retries"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_mistakes_of_a_launch(cli, words, message):
    result = cli(*SWEEP, *words)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and message in result.stderr and result.stderr.count("\n") == 1


def test_ctrl_c_exits_with_130_and_says_what_is_kept(cli, monkeypatch):
    from mqar_bench.launching import inline

    execute = inline.execute

    def second_is_interrupted(task, *arguments):
        if task.config == tiny(2e-2):
            raise KeyboardInterrupt
        return execute(task, *arguments)

    monkeypatch.setattr(inline, "execute", second_is_interrupted)
    result = cli(*SWEEP)
    assert result.exit_code == 130
    assert "interrupted: 1 of 3 runs are done, in results; the same command resumes" in result.stderr
    assert [record.config for record in Store("results").results()[0]] == [tiny(1e-2)]


def test_run_and_skip(cli):
    result = cli("run", *TINY)
    assert result.exit_code == 0, result.stderr
    (record,) = Store("results").results()[0]
    assert (record.config.sweep, record.config.model.d_model) == ("adhoc", 8)
    assert f"accuracy {record.accuracy:.3f} (L16-kv2 {record.accuracy:.3f})" in result.stdout
    path = result.stdout.splitlines()[-1].removeprefix("record: ")
    assert json.loads(Path(path).read_text())["run_id"] == record.run_id
    assert "done before" in cli("run", *TINY).stdout
    assert Store("results").results()[0] == [record]
    assert "done before" not in cli("run", *TINY, "--force").stdout
    assert Store("results").results()[0] != [record]


def test_run_dry_run_prints_a_config_to_start_from(cli):
    result = cli("run", *TINY, "--model.mixers.1.name", "ramnet", "--model.mixers.1.options.top_k", 4, "--dry-run")
    assert result.exit_code == 0 and not Path("results").exists()
    Path("c.json").write_text(result.stdout)
    config = RunConfig.model_validate_json(result.stdout)
    assert config.model.mixers[1].options == {"top_k": 4} and config.mixer == "ramnet"
    assert cli("run", "--config", "c.json", "--dry-run").stdout == result.stdout
    changed = json.loads(cli("run", "--config", "c.json", "--train.seed", 7, "--dry-run").stdout)
    assert changed["train"]["seed"] == 7 and changed["model"] == json.loads(result.stdout)["model"]


def test_run_from_a_sweep_or_a_record(cli):
    same = RunConfig.model_validate_json(cli("run", "--base", "grid/demo/1", "--dry-run").stdout)
    assert same == tiny(2e-2)
    changed = RunConfig.model_validate_json(cli("run", "--base", "grid/demo/1", "--train.seed", 9, "--dry-run").stdout)
    assert (changed.train.seed, changed.train.learning_rate) == (9, 2e-2)
    assert (changed.sweep, changed.scale) == ("adhoc", "custom")  # not a run of that sweep any more
    listed = cli("run", "--base", "grid/demo/1", "--train.seed", 9, "--sweep", "grid", "--dry-run")
    assert json.loads(listed.stdout)["sweep"] == "grid"
    cli(*SWEEP)
    run_id = tiny(2e-2).run_id
    for name in (run_id, run_id[:8], f"results/grid-demo/{run_id}.json"):
        assert RunConfig.model_validate_json(cli("run", "--from-record", name, "--dry-run").stdout) == tiny(2e-2)


def test_a_run_that_fails_shows_why(cli):
    result = cli("run", *TINY, "--train.learning_rate", "1e30")
    assert result.exit_code == 1
    assert "failed: Divergence: the loss is nan" in result.stdout and "Traceback" in result.stderr


def test_list_fields_and_version(cli):
    listed = cli("run", "--list-fields").stdout
    assert "--train.schedule  cosine_epoch | cosine_step | constant = cosine_epoch" in listed
    assert cli("--version").stdout.startswith("mqar-bench ")


def test_results_formats(cli):
    cli("sweep", "grid", "--scale", "broken", "--executor", "inline")
    Path("results/grid-broken/foreign.json").write_text("{}")
    table = cli("results", "grid")
    assert table.exit_code == 0 and "attention" in table.stdout and tiny().run_id[:8] in table.stdout
    assert table.stderr.count("\n") == 1 and "skipped results/grid-broken/foreign.json" in table.stderr
    rows = list(csv.DictReader(io.StringIO(cli("results", "--format", "csv").stdout)))
    assert {row["status"] for row in rows} == {"done", "failed"} and len(rows) == 2
    objects = json.loads(cli("results", "--format", "json").stdout)
    assert [o["run_id"] for o in objects] == [row["run_id"] for row in rows]
    failed, done = sorted(objects, key=lambda o: o["status"] == "done")
    assert failed["accuracy"] is None and failed["state_size"] is None and "Divergence" in failed["error"]
    assert isinstance(done["state_size"], int) and done["accuracy/L16-kv2"] == done["accuracy"]
    some = cli("results", "--format", "csv", "--columns", "mixer, accuracy/L16-kv2").stdout.splitlines()
    assert some[0] == "mixer,accuracy/L16-kv2" and len(some) == 3
    assert "learning rate" in cli("results", "--columns", "learning_rate").stdout


def test_plot(cli, monkeypatch):
    drawn = []

    def make_figure(name, frame, columns):
        drawn.append((name, frame))
        return SimpleNamespace(save=lambda out: [out / "grid.pdf"])

    monkeypatch.setattr(plots, "make_figure", make_figure)
    cli("run", "--base", "grid/demo/0")
    result = cli("plot", "grid", "--out", "figs")
    assert result.exit_code == 0 and result.stdout == "figs/grid.pdf\n"
    assert "note: 2 of 3 runs of grid at demo are not done" in result.stderr
    name, frame = drawn[0]
    assert name == "grid" and list(frame["run_id"]) == [tiny().run_id]
    cli("sweep", "grid", "--scale", "broken", "--executor", "inline")
    result = cli("plot", "grid")
    assert result.exit_code == 2
    assert result.stderr == "error: there are records of grid at broken, demo: choose one with --scale\n"
    assert cli("plot", "grid", "--scale", "broken").exit_code == 0
    assert set(drawn[-1][1]["scale"]) == {"broken"}
    for path in Path("results/grid-demo").iterdir():
        path.write_text(path.read_text().replace('"status": "done"', '"status": "failed"'))
    assert cli("plot", "grid").exit_code == 0 and set(drawn[-1][1]["scale"]) == {"broken"}  # the one with done runs
    monkeypatch.setattr(plots, "make_figure", lambda *_: (_ for _ in ()).throw(ValueError("nothing to draw")))
    assert cli("plot", "grid", "--scale", "demo").stderr.endswith("error: nothing to draw\n")


def test_mixers(cli):
    listed = cli("mixers").stdout
    assert all(name in listed for name in mixers.names())
    assert "top_k" in cli("mixers", "ramnet").stdout
    one = json.loads(cli("mixers", "ramnet", "--format", "json").stdout)
    assert [o["name"] for o in one["options"]] == [o.name for o in mixers.describe("ramnet")]
    assert {o["name"]: o["default"] for o in one["options"]}["top_k"] == 8
    assert len(json.loads(cli("mixers", "--format", "json").stdout)) == len(mixers.names())


@pytest.mark.parametrize(
    "words, message",
    [
        ("sweep gird --scale demo", "no sweep named 'gird'"),
        ("sweep grid", "sweep 'grid' needs a scale: --scale demo, broken, rates"),
        ("swep grid", "No such command 'swep'. Did you mean 'sweep'?"),
        ("sweep grid --scale demo --executor tune", "'tune' is not one of 'ray', 'inline'"),
        ("sweep grid --scale demo --jobs 0", "'--jobs'"),
        ("sweep grid --scale demo --executor inline --jobs 2", "inline executor"),
        ("sweep grid --scale demo --executor inline --results file/x", "cannot write to file/x/grid-demo: Not a direc"),
        ("run --train.learning_rat 1", "did you mean 'train.learning_rate'"),
        ("run --train.learning_rate -1", "train.learning_rate: Input should be greater than 0 (got -1)"),
        ("run --model.mixers.1.name ramnt", "no mixer named 'ramnt': did you mean 'ramnet'"),
        ("run --model.mixers.1.options.heads 3", "no option 'heads'; did you mean 'num_heads'"),
        ("run --froce", "no option --froce; did you mean --force"),
        ("run stray", "unexpected argument 'stray'"),
        ("run --config none.json", "cannot read none.json: No such file"),
        ("run --config file", "file is not JSON"),
        ("run --from-record abc", "no file and no record 'abc' in results"),
        ("run --base grid/demo/3", "must be a run from 0 to 2"),
        ("run --base gird/demo/3", "no sweep named 'gird'"),
        ("run --base grid/demo/0 --config file", "exclude each other"),
        ("results", "no records: there is no folder results"),
        ("results --results empty", "no records in empty: there is none"),
        ("results --format xml", "'xml' is not one of"),
        ("plot gird", "no figure named 'gird': did you mean 'grid'?"),
        ("plot grid", "no folder results"),
        ("mixers ramnt", "did you mean 'ramnet'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(cli, words, message):
    Path("file").write_text("")
    Path("empty").mkdir()
    result = cli(*words.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and result.stdout == ""
    assert message in result.stderr


def test_no_records_of_that_name(cli):
    cli("run", *TINY)
    assert cli("results", "adhok").stderr == "error: no records of sweep adhok in results: there is adhoc at custom\n"
    assert "no records of sweep adhoc at scale x" in cli("results", "adhoc", "--scale", "x").stderr
    assert "no column 'acuracy': did you mean 'accuracy'" in cli("results", "--columns", "acuracy").stderr


def test_what_is_no_mistake_of_the_users_keeps_its_traceback(cli, monkeypatch):
    def broken(*_, **__):
        raise ValueError("a fault of ours")

    monkeypatch.setattr(launching, "launch", broken)
    result = cli(*SWEEP)
    assert isinstance(result.exception, ValueError) and "error:" not in result.stderr


def python(*words, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", *words]  # -P: the current folder is not on the path, as for a console script
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom mqar_bench.cli import app\ntry:\n    app(['run', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'ray', 'matplotlib', 'pandas', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    result = python("-c", code, cwd=tmp_path)
    assert "Usage" in result.stdout and result.stderr == "set()\n"


def test_a_mixer_of_the_users_own_folder(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nclass Mine(nn.Module):\n"
        "    def __init__(self, d_model, layer_idx=None):\n        super().__init__()\n"
        "        self.linear = nn.Linear(d_model, d_model)\n"
        "    def forward(self, x): return self.linear(x)\n"
        "    def state_size(self, sequence_length): return 0\n"
    )
    words = ("run", *TINY, "--model.mixers", '[{"name": "mine.Mine"}]', "--results", "out", "--cpus-per-run", "1")
    result = python("-m", "mqar_bench", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (record,) = Store(tmp_path / "out").results()[0]
    assert record.config.mixer == "mine.Mine" and record.provenance.threads == 1
    assert record.state_size == 0 and record.active_state_size is None  # it does not say
    assert "[1/1] mine.Mine lr=0.001 seed=123 accuracy" in result.stderr
