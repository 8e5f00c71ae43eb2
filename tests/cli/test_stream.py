"""A trained model read to long contexts, from the command line."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mqar_bench.analysis import streaming
from mqar_bench.analysis.stream_record import StreamEvaluation, read_stream
from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.cli.stream import parse_count
from mqar_bench.cli.streamed import show_context
from mqar_bench.config import RunConfig
from mqar_bench.records.store import Store
from mqar_bench.training.loop import fit
from mqar_bench.training.weights import save_weights

TASK = {"vocab_size": 32, "input_seq_len": 24, "num_kv_pairs": 2, "num_examples": 16}


def tiny(name):
    return RunConfig.model_validate(
        {
            "sweep": "grid",
            "scale": "tiny",
            "data": {"train": [TASK | {"name": name}], "test": [TASK | {"name": name}]},
            "model": {"vocab_size": 32, "d_model": 8, "mixers": [{"name": "linear_attention"}]},
            "train": {"max_epochs": 1, "batch_size": 8, "device": "cpu"},
        }
    )


DISTANT, PLAIN = tiny("distant_mqar"), tiny("multiquery_ar")
FILE = Path(f"results/grid-tiny/{DISTANT.run_id}.stream.json")
FEW = ["--from", "32", "--to", "200", "--examples", "5", "--rows", "2", "--piece", "60"]


@pytest.fixture(scope="module")
def trained():
    return [fit(DISTANT), fit(PLAIN)]


@pytest.fixture
def cli(monkeypatch, tmp_path, trained):
    """Runs a command in a folder with two runs that have kept their weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for model, result in trained:
        save_weights(Path(f"results/grid-tiny/{result.run_id}.safetensors"), model, result)
        Store("results").write(result)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_it_is_kept_beside_the_weights_and_shown(cli):
    result = cli("stream", DISTANT.run_id, *FEW)
    assert result.exit_code == 0, result.stderr
    evaluation = read_stream(FILE)
    assert [(entry.context, len(entry.correct)) for entry in evaluation.contexts] == [(32, 5), (128, 5), (200, 5)]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:3] == ["context", "examples", "accuracy"]
    for entry, line in zip(evaluation.contexts, lines[2:], strict=False):
        assert line[:3] == [str(entry.context), "5", f"{entry.accuracy:.4f}"] and line[-1] == "done"
    assert "distant_mqar, trained on 24 tokens at most; a guess is worth 0.0625" in result.stdout
    assert f"kept: {FILE}" in result.stdout
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["32", "128", "200"]
    again = cli("stream", DISTANT.run_id, *FEW, "--json")
    assert StreamEvaluation.model_validate_json(again.stdout).contexts == evaluation.contexts
    assert again.stderr == "3 of 3 contexts are there already\n"
    assert cli("stream", DISTANT.run_id, *FEW, "--json", "--quiet").stderr == ""
    assert cli("results").stderr == ""  # at home among records


def test_a_run_of_mqar_is_read_at_a_distance(cli):
    words = ["stream", PLAIN.run_id, *FEW, "--json", "--out", "a/b.json"]
    refused = cli(*words)
    assert refused.exit_code == 2 and "can be streamed: give --data.test.0.name distant_mqar or" in refused.stderr
    result = cli(*words, "--data.test.0.name", "distant_mqar", "--data.test.0.filler", "spare", "--data.seed", 7)
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["task"] == {
        "name": "distant_mqar", "vocab_size": 32, "num_examples": 5, "input_seq_len": 24, "num_kv_pairs": 2,
        "filler": "spare", "num_spare": 0,
    }  # fmt: skip
    assert StreamEvaluation.model_validate(values) == read_stream(Path("a/b.json"))


def test_a_time_budget_leaves_the_rest_to_the_same_command(cli, monkeypatch):
    calls = iter([False] * 6 + [True])
    with monkeypatch.context() as patch:
        patch.setattr("mqar_bench.cli.streamed.StreamLines.is_over", lambda self: next(calls))
        result = cli("stream", DISTANT.run_id, *FEW)
    assert result.exit_code == 3
    assert result.stderr.endswith("the time is over: 2 contexts are left; the same command goes on\n")
    assert [(entry.context, entry.status) for entry in read_stream(FILE).contexts] == [(32, "done"), (128, "partial")]
    assert cli("stream", DISTANT.run_id, *FEW, "--time-budget", "10h").exit_code == 0
    assert cli("stream", DISTANT.run_id, *FEW, "--force", "--time-budget", "1s").exit_code == 3  # it is over long since


def test_an_interruption_keeps_what_is_read(cli, monkeypatch):
    def interrupt(self, context, share):
        if context == 128:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mqar_bench.cli.streamed.StreamLines.progress", interrupt)
        result = cli("stream", DISTANT.run_id, *FEW)
    assert result.exit_code == 130
    assert result.stderr.endswith(f"interrupted: what is read is in {FILE}; the same command goes on\n")
    assert cli("stream", DISTANT.run_id, *FEW, "--json").stderr.startswith("1 of 3 contexts are there already\n")


def test_an_end_is_shown_with_its_reason(cli, monkeypatch):
    monkeypatch.setattr(streaming, "peak_memory", lambda device: 2**21)
    result = cli("stream", DISTANT.run_id, *FEW, "--memory", "100")
    assert result.exit_code == 0
    assert "32 tokens: ended: the state of 2 rows takes 0 MiB, more than the 0 MiB allowed" in result.stderr
    assert result.stdout.count("ended: ") == 3


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "which run? Give its id, SWEEP/SCALE/I or its .safetensors file first"),
        ("abc", "there is no file and no record 'abc' in results"),
        ("ID --to 10q", "--to '10q' is no size: give one such as 4096, 64k or 10M"),
        ("ID --to 1.0001k", "--to '1.0001k' is no size"),
        ("ID --from 4k --to 1k", "the last context is 1024, and the first is longer: 4096"),
        ("ID --from 4", "the first context is 4, and distant-L24-kv2-other needs 8 tokens"),
        ("ID --memory 0", "--memory '0' is no size"),
        ("ID --time-budget soon", "'soon' is no duration"),
        ("ID --out here.jsonl", "--out here.jsonl: the file must end in .json"),
        ("ID --out results.json", "results.json is there and holds something else"),
        ("ID --train.test_batch_size 3", "the model is trained already; what can be set is --data.test, --data.seed"),
        ("ID --data.test.0.vocab_size 64", "model.vocab_size is 32, but the task draws tokens below 64"),
        ("ID --rows 0", "Invalid value for '--rows'"),
        ("ID --quite yes", "no option --quite; did you mean --quiet?"),
    ],
)
def test_a_mistake_is_one_line(cli, words, message):
    Path("results.json").write_text("{}")
    result = cli("stream", *words.replace("ID", DISTANT.run_id).split())
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    "text, count",
    [("1", 1), ("4096", 4096), ("1k", 1024), ("1K", 1024), ("1.5M", 3 * 2**19), ("10M", 10 * 2**20), ("2G", 2**31)],
)
def test_sizes_are_read_and_shown(text, count):
    assert parse_count("--to", text) == count
    assert parse_count("--to", show_context(count)) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "0", "1T", "1e3", "0.3k", "1 k"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is no size"):
        parse_count("--to", text)
