"""Runs that keep their weights: beside the record, before it, and what becomes of those that have none."""

import sys

import pytest
import safetensors.torch
import torch

from mqar_bench.launching import launch, worker
from mqar_bench.launching.executor import Lost, Task, Trained
from mqar_bench.launching.screen import Screening
from mqar_bench.launching.worker import execute, failure, stream
from mqar_bench.records.result import ScreenRecord
from mqar_bench.records.store import Store, StoreError
from mqar_bench.records.weights import read_weights
from mqar_bench.training.loop import fit
from mqar_bench.training.weights import load_model
from tests.launching.grid import MADE, config, done
from tests.launching.test_launch import Recorder
from tests.launching.test_loop import Script, play  # noqa: F401  # a fixture
from tests.launching.tiny import tiny


def names(store):
    return sorted(path.name for path in store.root.rglob("*") if path.is_file() and path.name != ".claims")


def test_weights_are_those_of_the_trained_model_and_only_where_they_are_asked_for(store):
    plain, kept = tiny(rate=1e-3), tiny()
    launch([plain], store, "inline")
    summary = launch([kept], store, "inline", save_weights=True)
    assert names(store) == sorted([f"{plain.run_id}.json", f"{kept.run_id}.json", f"{kept.run_id}.safetensors"])
    weights, _ = read_weights(store.weights(kept))
    assert weights.result == summary.done[0] == store.read(kept)
    assert kept.run_id == tiny().run_id  # keeping is no part of what a run is
    model = fit(kept)[0].state_dict()
    for name, value in safetensors.torch.load_file(store.weights(kept)).items():
        assert torch.equal(value, model[name]), name


def test_the_weights_are_told_before_the_record(store):
    *_, weights, record = stream(Task(tiny(), save_weights=True), threads=1)
    assert isinstance(weights, Trained) and record.status == "done"
    assert not any(isinstance(event, Trained) for event in stream(Task(tiny()), threads=1))


def test_a_run_that_fails_leaves_no_weights(store, my_mixers):
    summary = launch([tiny(f"{my_mixers}.Broken"), tiny(rate=1e30)], store, "inline", save_weights=True)
    assert len(summary.failed) == 2 and not list(store.root.rglob("*.safetensors"))


@pytest.mark.parametrize("step", ["write_weights", "write"])
def test_killed_before_or_after_the_weights_the_run_is_done_again_from_its_checkpoint(store, monkeypatch, step):
    """In between there are weights without a record, never the other way round; what is repeated is the end."""
    run = tiny(epochs=4)
    monkeypatch.setattr(worker, "SAVE_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Store, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            launch([run], store, "inline", save_weights=True)
    assert names(store) == [f"{run.run_id}.ckpt"] + [f"{run.run_id}.safetensors"] * (step == "write")
    summary = launch([run], store, "inline", save_weights=True)
    assert [result.resumed for result in summary.done] == [1]
    assert names(store) == [f"{run.run_id}.json", f"{run.run_id}.safetensors"]
    model = fit(run)[0].state_dict()
    for name, value in load_model(store.weights(run)).state_dict().items():
        assert torch.equal(value, model[name]), name


def test_without_room_for_weights_there_is_no_record_either(store, monkeypatch):
    def fill(*_):
        raise StoreError("cannot write: No space left on device")

    monkeypatch.setattr(Store, "write_weights", fill)
    with pytest.raises(StoreError, match="No space left"):
        launch([tiny()], store, "inline", save_weights=True)
    assert not list(store.root.rglob("*.json"))


def test_weights_of_an_attempt_that_is_lost_are_not_kept(play, store):  # noqa: F811
    failed = failure(config(1), "ValueError: no", "trace", MADE.started_at)
    script = Script(s1=[[Trained(b"first"), Lost("died", 1.0)], ["done"]], s2=[[Trained(b"second"), "done"]])
    script.attempts[3] = type(script.attempts[1])([[Trained(b"third"), failed]])
    play(script, 1, 2, 3, save_weights=True)
    assert all(task.save_weights for task in script.tasks)
    assert [path.read_bytes() for path in store.root.rglob("*.safetensors")] == [b"second"]


def lines(told):
    return [text for _, what, text in (t for t in told if t[1] == "note")]


def test_what_is_done_without_weights_is_counted_and_left(store):
    grid = [tiny(rate=rate) for rate in (1e-3, 2e-3, 3e-3)]
    launch(grid[:2], store, "inline")
    watcher = Recorder()
    summary = launch(grid, store, "inline", save_weights=True, watcher=watcher)
    assert (len(summary.done), len(summary.skipped)) == (1, 2)
    left = "2 runs that are done have no weights: left as they are; --retrain-without-weights trains them"
    assert lines(watcher.told) == [left] and watcher.told[1] == ("", "note", left)  # before anything else
    assert len(list(store.root.rglob("*.safetensors"))) == 1
    watcher = Recorder()
    assert len(launch(grid[1:], store, "inline", save_weights=True, watcher=watcher).skipped) == 2
    assert lines(watcher.told) == ["1 run that is done has no weights: left; --retrain-without-weights trains it"]


def test_they_are_trained_again_when_asked_and_those_with_weights_are_not(store):
    grid = [tiny(rate=rate) for rate in (1e-3, 2e-3)]
    launch(grid[:1], store, "inline")
    launch(grid[1:], store, "inline", save_weights=True)
    screen = ScreenRecord(epochs=1, keep=1, rivals={"0.001": 0.5})
    store.write(store.read(grid[0]).model_copy(update={"screen": screen}))
    before = store.weights(grid[1]).read_bytes()
    watcher = Recorder()
    summary = launch(grid, store, "inline", retrain_without_weights=True, watcher=watcher)
    assert [r.config for r in summary.done] == grid[:1] and [r.config for r in summary.skipped] == grid[1:]
    assert lines(watcher.told) == ["1 run that is done has no weights: trained again"]
    assert store.read(grid[0]).screen == screen and store.weights(grid[0]).exists()
    assert store.weights(grid[1]).read_bytes() == before
    again = Recorder()
    assert len(launch(grid, store, "inline", retrain_without_weights=True, watcher=again).skipped) == 2
    assert again.told == []


def test_what_another_sweep_has_kept_counts(store):
    launch([tiny()], store, "inline", save_weights=True)
    theirs = tiny().model_copy(update={"sweep": "other"})
    watcher = Recorder()
    assert len(launch([theirs], store, "inline", save_weights=True, watcher=watcher).skipped) == 1
    assert watcher.told == []


def test_a_run_that_another_process_ends_without_weights_is_named(play, store):  # noqa: F811
    class Elsewhere(Script):
        def submit(self, task):
            super().submit(task)
            store.write(done(config(2)))  # while this one runs

    _, told = play(Elsewhere(slots=1), 1, 2, save_weights=True)
    assert ("note", "was done by another process, which kept no weights") in told
    script = Elsewhere(slots=1)
    play(script, 1, 2, retrain_without_weights=True)
    assert [task.config.train.seed for task in script.tasks] == [1, 2]


def test_a_retraining_that_fails_leaves_the_record(store, my_mixers, monkeypatch):
    run = tiny(f"{my_mixers}.Base")
    launch([run], store, "inline")
    before = store.read(run)
    monkeypatch.setattr(sys.modules[my_mixers].Base, "forward", lambda self, x: 1 / 0)
    assert len(launch([run], store, "inline", retrain_without_weights=True).failed) == 1
    assert store.read(run) == before


def test_a_mixer_that_cannot_be_kept_fails_alone_before_training(store, my_mixers, tmp_path):
    with open(tmp_path / "mixers_of_mine.py", "a") as file:
        file.write("\n\nclass Remembers(Base):\n    def get_extra_state(self):\n        return 1\n\n")
        file.write("    def set_extra_state(self, state):\n        pass\n")
    events = []
    execute(Task(tiny(f"{my_mixers}.Remembers"), save_weights=True), 1, events.append)
    (record,) = events
    assert "in its state_dict is a int, and only plain tensors can be kept as weights" in record.error
    execute(Task(tiny(f"{my_mixers}.Remembers")), 1, events.append)
    assert events[-1].status == "done"


def test_short_runs_of_a_screening_keep_none(store):
    from mqar_bench.cli.launching import ExecutorName, Launcher

    grid = [tiny(rate=rate, epochs=4) for rate in (1e-3, 2e-3)]
    launcher = Launcher(store, ExecutorName.inline, True, False, None, {"save_weights": True})
    (result,) = launcher.launch_screened(grid, Screening(0.5)).done
    assert [path.stem for path in store.root.rglob("*.safetensors")] == [result.run_id]
