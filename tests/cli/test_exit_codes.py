"""What each exit code means: the table of the README, held for every code by a command that ends so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app, results
from mqar_bench.cli.launching import INTERRUPTED, RUNS_LEFT
from mqar_bench.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.session import Divergence

ROOT = Path(__file__).parents[2]
CODES = (0, 1, 2, RUNS_LEFT, INTERRUPTED)
TASK = MQARConfig(vocab_size=32, num_examples=32, input_seq_len=16, num_kv_pairs=2)
CONFIG = RunConfig(
    data=DataConfig(train=(TASK,), test=(TASK,)),
    model=ModelConfig(vocab_size=32, d_model=8),
    train=TrainConfig(max_epochs=2, batch_size=16),
)
MIXER = "from mixers import SequenceMixer\nclass Bare(SequenceMixer):\n    pass\n"


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Runs ``mqar-bench`` in a folder with a config and a mixer that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Path("config.json").write_text(CONFIG.model_dump_json())
    Path("bare_mixer.py").write_text(MIXER)
    return lambda words: CliRunner().invoke(app, words.split())


def fail(*_, **__):
    raise Divergence("the training loss became NaN at step 1")


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_0_is_done(cli):
    result = cli("run --config config.json --quiet")
    assert (result.exit_code, result.stderr) == (0, "")


def test_1_is_something_that_failed(cli, monkeypatch):
    assert cli("check bare_mixer.Bare").exit_code == 1
    monkeypatch.setattr("mqar_bench.launching.worker.fit", fail)
    result = cli("run --config config.json --quiet")
    assert result.exit_code == 1 and "failed: Divergence" in result.stdout


def test_1_is_a_reader_who_has_gone(cli):
    words = [sys.executable, "-m", "mqar_bench", "run", "--list-fields"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("words", ["nothing", "sweep fig33 --scale demo", "run --train.seed x", "results", "show abc"])
def test_2_is_a_mistake(cli, words):
    result = cli(words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_3_is_that_runs_are_left(cli):
    result = cli("run --config config.json --quiet --time-budget 0.001s")
    assert result.exit_code == RUNS_LEFT == 3
    assert "the time is over: 1 run is left" in result.stderr


def test_130_is_interrupted(cli, monkeypatch):
    monkeypatch.setattr(results, "read_records", interrupt)
    assert cli("results").exit_code == INTERRUPTED == 130
    monkeypatch.setattr("mqar_bench.launching.launch", interrupt)
    result = cli("run --config config.json")
    assert result.exit_code == 130 and "the same command resumes" in result.stderr


def test_the_codes_are_in_the_readme_and_in_help(cli):
    table = re.search(r"\n\| exit code \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tuple(map(int, re.findall(r"^\| (\d+) \|", table.group(), re.MULTILINE))) == CODES
    shown = " ".join(cli("--help").stdout.split()).partition("Exit codes: ")[2]
    assert tuple(map(int, re.findall(r"\d+", shown))) == CODES


def test_no_command_ends_with_another():
    used = set()
    for path in (ROOT / "mqar_bench" / "cli").glob("*.py"):
        for given in re.findall(r"(?:typer\.Exit|sys\.exit)\((.*?)\)(?: from None)?$", path.read_text(), re.MULTILINE):
            used |= set(re.findall(r"\b\d+\b|\b[A-Z_]{4,}\b", given))
    assert used == {"0", "1", "2", "RUNS_LEFT", "INTERRUPTED"}
