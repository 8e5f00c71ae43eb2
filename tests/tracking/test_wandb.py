"""What Weights & Biases is told, read back from the files of its offline mode."""

import json
import struct

import pytest

pytest.importorskip("wandb", reason="pip install 'mqar-bench[wandb]'")

import wandb
from wandb.proto.wandb_internal_pb2 import Record

from tests.tracking.following import expected, interrupt, small, tracked

BLOCK, HEAD = 32768, 7


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    wandb.teardown()  # it looks at the environment once


def records(path):
    """The records of a file: LevelDB's log format behind a header of 7 bytes."""
    data, at, whole = path.read_bytes(), HEAD, b""
    assert data.startswith(b":W&B")
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + HEAD])
        whole += data[at + HEAD : at + HEAD + size]
        at += HEAD + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def read(folder, run_id):
    """Of the last run of an id: how it was begun, its history as rows, its summary, its end."""
    wandb.teardown()  # its process may still be writing
    path = sorted(folder.glob(f"wandb/offline-run-*-{run_id}/*.wandb"), key=lambda path: path.stat().st_mtime_ns)[-1]
    run, end, rows, summary = None, None, [], {}
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                run = run or record.run
            case "history":
                rows.append(values(record.history.item))
            case "summary":
                summary |= values(record.summary.update)
            case "exit":
                end = record.exit.exit_code
    return run, rows, summary, end


def values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def assert_holds(rows, record):
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    for name, points in expected(record).items():
        assert [(row["step"], row[name]) for row in rows if name in row] == points, name


def test_it_holds_what_the_record_has(store, tmp_path):
    config = small()
    [record], notes = tracked(store, [config], "wandb")
    assert notes == []
    run, rows, summary, end = read(tmp_path, config.run_id)
    assert (run.project, run.entity, run.run_id) == ("mqar-bench", "", config.run_id)
    assert (run.display_name, run.run_group, run.job_type) == (
        f"linear_attention-{config.run_id}", "small-s", "train",
    )  # fmt: skip
    settings = values(run.config.update)
    assert settings["model.mixers.0.name"] == "linear_attention" and settings["data.train.1.input_seq_len"] == 32
    assert_holds(rows, record)
    assert summary["accuracy"] == record.accuracy and summary["provenance.device"] == record.provenance.device
    assert end == 0


def test_a_run_that_goes_on_is_the_same_there_with_every_step_once(store, tmp_path, monkeypatch):
    config = small()
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "them")
    interrupt(store, config, 6)
    [record], notes = tracked(store, [config], "wandb")
    run, rows, _, _ = read(tmp_path, config.run_id)
    assert notes == [] and record.resumed == 1
    assert (run.project, run.entity, run.run_id, run.resumed) == ("theirs", "them", config.run_id, False)
    assert_holds(rows, record)


def test_what_there_is_already_is_not_sent_again(monkeypatch):
    from mqar_bench.tracking import Point
    from mqar_bench.tracking.wandb import WeightsAndBiases

    sent = []

    class Run:
        starting_step = 3  # of a run that is resumed: the first that is not there

        def log(self, values, step):
            sent.append((step, values))

    tracker = WeightsAndBiases()
    tracker._run = Run()
    for i in range(5):
        tracker.log(Point(i, 10 * i, {"train/loss": 0.5}))
    assert sent == [(i, {"train/loss": 0.5, "step": 10 * i}) for i in (3, 4)]


def test_without_a_key_it_does_not_ask_for_one(store, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    [record], notes = tracked(store, [small()], "wandb")
    assert record.status == "done" and len(notes) == 1
    assert "RuntimeError: there is no API key: wandb login, or WANDB_API_KEY" in notes[0][1]
