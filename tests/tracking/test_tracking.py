"""What trackers are told, whatever becomes of the run; and what becomes of the run when they fail."""

import math

import pytest

import mqar_bench.tracking.launch
from mqar_bench.basics.errors import UsageError
from mqar_bench.launching import launch
from mqar_bench.launching.screen import Screening
from mqar_bench.records.archive import pack
from mqar_bench.records.flat import name_scores
from mqar_bench.tracking import load_tracker
from tests.tracking.following import bits, expected, interrupt, small, tracked
from tests.tracking.trackers import Hangs, Keeps

MINE = "tests.tracking.trackers."


def by_name(points):
    found = {}
    for point in points:
        for name, value in point.values.items():
            found.setdefault(name, []).append((point.step, value))
    return found


def test_a_tracker_is_told_what_the_record_has(store):
    config = small(schedule="cosine_step", warmup_fraction=0.25)
    [record], notes = tracked(store, [config], MINE + "Keeps")
    run, points, ending = (each[config.run_id] for each in (Keeps.started, Keeps.points, Keeps.ended))
    assert notes == [] and record.status == "done"
    assert (run.group, run.job_type, run.step, run.folder) == ("small-s", "train", 0, store.folder(config))
    assert run.name == f"linear_attention-{config.run_id}"
    assert run.settings["model.mixers.0.name"] == "linear_attention" and run.settings["train.seed"] == 1
    assert [point.index for point in points] == list(range(len(points)))
    found = by_name(points)
    assert expected(record).items() <= found.items()
    assert len(found["train/loss"]) == record.steps == 12 and len(found["valid/accuracy"]) == 3
    assert found["epoch"] == [(s, (s - 1) // 4) for s in range(1, 13) for _ in range(2 if s % 4 == 0 else 1)]
    assert found["train/tokens"][-1] == (12, sum(record.curve.tokens))
    rates = [value for _, value in found["train/learning_rate"]]
    assert rates[:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    assert rates[-1] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 8 / 9)))
    assert (ending.status, ending.step) == ("done", 12)
    assert ending.summary["accuracy"] == ending.summary["test/accuracy"] == record.accuracy
    assert ending.summary["valid/accuracy"] == record.epochs[-1].accuracy
    assert ending.record == record.model_dump_json(indent=1)


def test_scores_are_named_as_in_zoology():
    tasks = small().data.validation
    scores = name_scores("valid", tasks, {"L16-kv2": 0.5, "L32-kv2": 1.0})
    assert scores["valid/accuracy"] == scores["valid/num_kv_pairs/accuracy-2"] == 0.75
    assert scores["valid/input_seq_len/accuracy-16"] == scores["valid/setting/accuracy-L16-kv2"] == 0.5


def test_a_run_and_its_record_are_the_same_without_a_tracker(store, tmp_path):
    [record], _ = tracked(store, [small()], MINE + "Keeps")
    [other], _ = tracked(type(store)(tmp_path / "other"), [small()])
    assert bits(record) == bits(other)


@pytest.mark.parametrize("step", [2, 4, 6, 7, 11])
def test_a_run_that_goes_on_is_told_from_its_beginning(store, tmp_path, step):
    config = small()
    tracked(type(store)(tmp_path / "whole"), [config], MINE + "Keeps")
    whole = Keeps.points[config.run_id]
    Keeps.forget()
    stopped = interrupt(store, config, step)
    [record], _ = tracked(store, [config], MINE + "Keeps")
    assert record.resumed == 1 and Keeps.started[config.run_id].step == stopped.step
    assert Keeps.points[config.run_id] == whole


def test_a_window_that_an_early_end_cuts_off_is_told_too(store):
    config = small(epochs=500, early_stopping_threshold=-1.0)  # windows of three epochs
    [record], _ = tracked(store, [config], MINE + "Keeps")
    assert len(record.epochs) == 1
    assert expected(record).items() <= by_name(Keeps.points[config.run_id]).items()


def test_a_run_that_fails_is_told_as_failed(store):
    config = small(mixer="nowhere.Mixer")
    [record], notes = tracked(store, [config], MINE + "Keeps")
    ending = Keeps.ended[config.run_id]
    assert record.status == ending.status == "failed" and notes == []
    assert ending.summary["error"] == record.error


def test_short_runs_of_a_screening_are_of_another_job_type(store):
    tracked(store, [Screening(0.5, 1).short(small(epochs=2))], MINE + "Keeps")
    [run] = Keeps.started.values()
    assert (run.job_type, run.group) == ("screen", "small-s-screen")


def test_runs_in_ray_are_told_too(store):
    configs = [small(epochs=2, seed=seed) for seed in (1, 2)]
    records, notes = tracked(store, configs, MINE + "Keeps", executor="ray", jobs=1)
    assert notes == [] and len(records) == 2
    for record in records:
        assert expected(record).items() <= by_name(Keeps.points[record.run_id]).items()
        assert Keeps.ended[record.run_id].status == "done"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FailsToBeMade", "ImportError: a part of it"),
        ("FailsToStart", "ConnectionError: no network"),
        ("FailsToLog", "OSError: [Errno 28] No space left on device"),
        ("FailsToFinish", "RuntimeError: bad key"),
        ("Exits", "SystemExit: that is it"),
    ],
)
def test_a_run_goes_on_without_a_tracker_that_fails(store, tmp_path, name, said):
    config = small()
    [record], notes = tracked(store, [config], MINE + name)
    assert notes == [(config.run_id, f"goes on without {MINE + name}: {said}")]
    [other], _ = tracked(type(store)(tmp_path / "other"), [config])
    assert bits(record) == bits(other) == bits(store.read(config))


def test_the_others_are_told_when_one_tracker_fails(store, monkeypatch):
    other = type("Other", (Keeps,), {"started": {}, "points": {}, "ended": {}})
    monkeypatch.setattr("tests.tracking.trackers.Other", other, raising=False)
    [record], _ = tracked(store, [small()], MINE + "FailsToLog", MINE + "Other")
    assert expected(record).items() <= by_name(other.points[record.run_id]).items()


def test_a_tracker_that_fails_of_run_after_run_is_given_up(store):
    records, notes = tracked(store, [small(1, seed) for seed in range(5)], MINE + "FailsToStart")
    assert [record.status for record in records] == ["done"] * 5
    assert len(notes) == 3
    assert notes[2][1].startswith(f"runs go on without {MINE}FailsToStart, as 3 in a row did: ")


def test_a_tracker_that_hangs_is_left_to_itself(store, monkeypatch):
    monkeypatch.setattr(mqar_bench.tracking.launch, "CLOSE_SECONDS", 0.2)
    Hangs.ends.clear()
    [record], notes = tracked(store, [small(1)], MINE + "Hangs")
    assert record.status == "done"
    assert notes == [("", f"{MINE}Hangs has not taken all that it was told within 0 s: left to itself")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ("mlflow", "there is tensorboard, wandb, or one of your own"),
        ("nowhere.Mine", "No module named 'nowhere'"),
        (MINE + "Kept", "has no 'Kept': did you mean 'Keeps'"),
        ("math.sqrt", "does not define start, log, finish"),
    ],
)
def test_what_is_no_tracker_is_refused_before_anything_starts(store, name, said):
    with pytest.raises(UsageError, match=said):
        launch([small()], store, "inline", track=[name])
    assert not store.root.exists()


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused_with_the_name_of_its_extra(name, monkeypatch):
    monkeypatch.setattr("mqar_bench.tracking.load.find_version", lambda package: None)
    with pytest.raises(UsageError, match=rf"{name} is not installed: pip install 'mqar-bench\[{name}\]'"):
        load_tracker(name)


def test_records_are_read_and_packed_beside_what_trackers_leave(store):
    config = small()
    tracked(store, [config])
    left = store.folder(config) / "tensorboard" / config.run_id / "events.out.tfevents.1.host.2.0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"events")
    assert [record.run_id for record in store.results()[0]] == [config.run_id] and not store.results()[1]
    packed, problems = pack(store)
    assert not problems and packed[0].records == 1
    assert left.read_bytes() == b"events" and store.is_done(config)
