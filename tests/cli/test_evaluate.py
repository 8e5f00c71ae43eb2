"""A trained model scored again, from the command line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import sweeps
from mqar_bench.analysis.evaluation import Evaluation
from mqar_bench.cli import app
from mqar_bench.config import RunConfig
from mqar_bench.launching import launch
from mqar_bench.records.store import Store
from mqar_bench.records.weights import read_header
from mqar_bench.training.loop import fit
from mqar_bench.training.weights import save_weights

TASK = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 40}


def tiny(mixer="ramnet", validation=(), **train):
    options = {"order": 2, "sub_dim": 4, "top_k": 3, "head_v_dim": 4} if mixer == "ramnet" else {}
    return RunConfig.model_validate(
        {
            "sweep": "grid",
            "scale": "tiny",
            "data": {"train": [TASK], "validation": validation, "test": [TASK, TASK | {"num_kv_pairs": 4}]},
            "model": {
                "vocab_size": 64,
                "d_model": 8,
                "mixers": [{"name": "short_conv"}, {"name": mixer, "options": options}],
                "max_position_embeddings": 32,
            },
            "train": {"max_epochs": 2, "batch_size": 8, "test_batch_size": 7, "learning_rate": 0.03, "device": "cpu"}
            | train,
        }
    )


CONFIG = tiny()
FILE = f"results/grid-tiny/{CONFIG.run_id}.safetensors"


@pytest.fixture(scope="module")
def trained():
    return fit(CONFIG)


@pytest.fixture
def cli(monkeypatch, tmp_path, trained):
    """Runs a command in a folder with a run that has kept its weights, and ``bare``, which has not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sweeps, "load", lambda *_: [CONFIG, BARE])
    save_weights(Path(FILE), *trained)
    Store("results").write(trained[1])
    Store("results").write(trained[1].model_copy(update={"run_id": BARE.run_id, "config": BARE}))
    threads = torch.get_num_threads()
    yield lambda *words: CliRunner().invoke(app, [str(word) for word in words])
    assert torch.get_num_threads() == threads


BARE = tiny(learning_rate=0.02)


@pytest.mark.parametrize(
    "run", ["grid/tiny/0", CONFIG.run_id, CONFIG.run_id[:7], FILE, FILE.replace("safetensors", "json")]
)
def test_the_record_s_accuracies_come_back_to_the_bit(cli, trained, run):
    result = cli("evaluate", run, "--json", "--out", "kept.jsonl")
    assert result.exit_code == 0 and result.stderr == ""
    evaluation = Evaluation.model_validate_json(result.stdout)
    assert (evaluation.settings, evaluation.accuracy) == (trained[1].settings, trained[1].accuracy)
    assert (evaluation.run_id, evaluation.config, evaluation.weights) == (CONFIG.run_id, CONFIG, FILE)
    assert evaluation.trained == trained[1].provenance
    assert evaluation.weights_sha256 == read_header(Path(FILE)).sha256
    assert Evaluation.model_validate_json(Path("kept.jsonl").read_text()) == evaluation


@pytest.mark.parametrize("settings", [{"validation": [TASK]}, {"mixer": "attention", "precision": "bfloat16"}])
def test_so_they_do_where_others_guide_training_and_in_bfloat16(cli, settings):
    (record,) = launch([tiny(**settings)], Store("other"), "inline", save_weights=True).done
    result = cli("evaluate", record.run_id, "--results", "other", "--json")
    assert json.loads(result.stdout)["settings"] == record.settings, result.stderr


def test_it_is_scored_with_as_many_threads_as_the_run_had(cli, trained):
    before = torch.get_num_threads()
    torch.set_num_threads(trained[1].provenance.threads + 1)
    try:
        values = json.loads(cli("evaluate", CONFIG.run_id, "--json").stdout)
        assert torch.get_num_threads() == trained[1].provenance.threads + 1
    finally:
        torch.set_num_threads(before)
    assert values["provenance"]["threads"] == trained[1].provenance.threads


def test_the_table_has_what_the_run_got_beside_it_where_that_is_the_same(cli, trained):
    result = cli("evaluate", CONFIG.run_id)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["setting", "examples", "tokens", "pairs", "accuracy", "in", "training"]
    for name, accuracy in trained[1].settings.items():
        (row,) = [line for line in lines if line[:1] == [name]]
        assert row == [name, "40", "16", name[-1], f"{accuracy:.4f}", f"{accuracy:.4f}"]
    assert f"accuracy {trained[1].accuracy:.4f}, the mean over 2 settings" in result.stdout
    assert f"weights: {FILE} of run {CONFIG.run_id}, ramnet lr=0.03 seed=123" in result.stdout
    mixed = cli("evaluate", CONFIG.run_id, "--data.test.1.num_kv_pairs", "3").stdout.splitlines()
    assert [line.split()[-1] for line in mixed[2:4]] == [f"{trained[1].settings['L16-kv2']:.4f}", "-"]
    assert "in training" not in cli("evaluate", CONFIG.run_id, "--data.seed", "7").stdout


def test_other_lengths_and_tasks_are_scored(cli):
    test = [TASK | {"input_seq_len": 32, "num_kv_pairs": 6}, TASK | {"name": "forgetting", "num_updates": 1}, TASK]
    result = cli(
        "evaluate", CONFIG.run_id, "--json", f"--data.test={json.dumps(test)}", "--train.test_batch_tokens", 64
    )
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert [name[:7] for name in values["settings"]] == ["L32-kv6", "forgett", "L16-kv2"]
    assert values["config"]["train"]["test_batch_tokens"] == 64 and values["run_id"] == CONFIG.run_id
    assert RunConfig.model_validate(values["config"]).run_id != CONFIG.run_id
    assert values["accuracy"] == sum(values["settings"].values()) / 3


def test_the_batch_budget_changes_no_accuracy_here(cli, trained):
    result = cli("evaluate", CONFIG.run_id, "--json", "--train.test_batch_size", "1")
    assert json.loads(result.stdout)["settings"] == pytest.approx(trained[1].settings, abs=0.05)


def test_evaluations_are_kept_whole_and_nothing_else_is_overwritten(cli):
    for count in (1, 2):
        assert "kept: a/b.jsonl" in cli("evaluate", CONFIG.run_id, "--out", "a/b.jsonl").stdout
        assert [json.loads(line)["run_id"] for line in Path("a/b.jsonl").read_text().splitlines()] == [
            CONFIG.run_id
        ] * count
    with open("a/b.jsonl", "a") as file:
        file.write('{"evaluation_schema_version": 1}')  # without the end of its line
    cli("evaluate", CONFIG.run_id, "--out", "a/b.jsonl")
    assert len([json.loads(line) for line in Path("a/b.jsonl").read_text().splitlines()]) == 4
    for _ in range(2):
        assert cli("evaluate", CONFIG.run_id, "--out", "results/one.json").exit_code == 0
    assert Evaluation.model_validate_json(Path("results/one.json").read_text()).run_id == CONFIG.run_id
    assert cli("results").stderr == ""  # at home among records
    record = Path(FILE).with_suffix(".json")
    before = record.read_bytes()
    refused = cli("evaluate", CONFIG.run_id, "--out", record)
    assert refused.exit_code == 2 and "holds something else than evaluations" in refused.stderr
    assert record.read_bytes() == before


def test_weights_of_another_training_than_the_record_are_noted(cli, trained):
    Store("results").write(trained[1].model_copy(update={"accuracy": 0.9}))
    result = cli("evaluate", FILE)
    assert result.exit_code == 0 and result.stderr.count("\n") == 1
    assert "note: the weights are of another training than the record in results: accuracy" in result.stderr


def test_a_file_needs_no_record(cli, trained):
    Path(FILE).rename("mine.safetensors")
    result = cli("evaluate", "mine.safetensors", "--results", "none", "--json")
    assert json.loads(result.stdout)["settings"] == trained[1].settings


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "which run? Give its id, SWEEP/SCALE/I or its .safetensors file first"),
        ("--json", "which run?"),
        ("abc", "there is no file and no record 'abc' in results"),
        ("none.safetensors", "cannot read none.safetensors: No such file"),
        ("grid/tiny/9", "the last part must be a run from 0 to 1"),
        ("BARE", "are not in results: `mqar-bench run --from-record BARE --retrain-without-weights` trains it again"),
        ("grid/tiny/1", "`mqar-bench run --base grid/tiny/1 --retrain-without-weights` trains it again and keeps them"),
        (
            "ID --train.learning_rate 1",
            "--train.learning_rate: the model is trained already; what can be set is --data",
        ),
        ("ID --data.train.0.input_seq_len 32", "--data.train.0.input_seq_len: the model is trained already"),
        ("ID --model.d_model 8", "--model.d_model: the model is trained already"),
        ("ID --data {}", "--data: the model is trained already"),
        ("ID --data.test.0.inputs 3", "no setting 'data.test.0.inputs'"),
        ("ID --data.test.0.vocab_size 128", "model.vocab_size is 64, but the task draws tokens below 128"),
        ("ID --data.test.0.input_seq_len 48", "max_position_embeddings is 32, but the longest sequence has 48 tokens"),
        ("ID --data.test.0.num_kv_pairs 9", "num_kv_pairs"),
        ("ID --data.seed 1 --data.seed 2", "--data.seed is given twice"),
        ("ID stray", "unexpected argument 'stray'"),
        ("ID --devise cpu", "no option --devise; did you mean --device?"),
        ("ID --device gpu", "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        ("ID --out here.txt", "--out here.txt: the file must end in .json, or in .jsonl to add a line"),
        ("ID --out results.json", "--out results.json: the file is there and holds something else"),
        ("broken.safetensors", "broken.safetensors is no file of weights, or it is cut off or damaged"),
    ],
)
def test_a_mistake_is_one_line(cli, words, message, monkeypatch):
    Path("broken.safetensors").write_bytes(Path(FILE).read_bytes()[:-1])
    Path("results.json").write_text("{}")
    monkeypatch.setattr("mqar_bench.analysis.evaluation.evaluate_weights", None)
    result = cli("evaluate", *words.replace("ID", CONFIG.run_id).replace("BARE", BARE.run_id).split())
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message.replace("BARE", BARE.run_id) in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_here_is_one_line(cli):
    result = cli("evaluate", CONFIG.run_id, "--device", "cuda")
    assert result.exit_code == 2 and "which is not here: --device cpu" in result.stderr
