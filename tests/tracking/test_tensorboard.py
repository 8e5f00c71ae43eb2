"""Event files, read back with TensorBoard's own reader."""

import json

import pytest

pytest.importorskip("tensorboard", reason="pip install 'mqar-bench[tensorboard]'")

from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from mqar_bench.tracking import Point, TrackedRun
from mqar_bench.tracking.points import Points
from mqar_bench.tracking.tensorboard import TensorBoard
from tests.tracking.following import bits, expected, interrupt, small, tracked


def folder(store, config):
    return store.folder(config) / "tensorboard" / config.run_id


def read(store, config):
    return EventAccumulator(str(folder(store, config)), size_guidance={SCALARS: 0, TENSORS: 0}).Reload()


def assert_holds(events, record):
    """Each number of the record, once."""
    for name, points in expected(record).items():
        found = events.Scalars(name)
        assert len(found) == len(points), name
        assert {event.step: event.value for event in found} == pytest.approx(dict(points), rel=1e-6), name


def test_it_holds_what_the_record_has(store):
    config = small()
    [record], notes = tracked(store, [config], "tensorboard")
    assert notes == []
    events = read(store, config)
    assert_holds(events, record)
    for name, value in {"accuracy": record.accuracy, "state_size": record.state_size, "steps": 12}.items():
        assert [(e.step, e.value) for e in events.Scalars(f"summary/{name}")] == [(12, pytest.approx(value))]
    [text] = events.Tensors("record")
    assert json.loads(text.tensor_proto.string_val[0]) == json.loads(record.model_dump_json())


def test_it_has_hyperparameters_and_how_the_run_ended(store):
    runs = {"done": small(), "failed": small(mixer="nowhere.Mixer")}
    tracked(store, runs.values(), "tensorboard")
    for status, config in runs.items():
        about = read(store, config).PluginTagToContent("hparams")
        start = HParamsPluginData.FromString(about["_hparams_/session_start_info"]).session_start_info.hparams
        assert start["train.learning_rate"].number_value == config.train.learning_rate
        assert start["model.mixers.0.name"].string_value == config.mixer
        assert "data.seed" in start and not any(name.startswith("data.train.") for name in start)
        end = HParamsPluginData.FromString(about["_hparams_/session_end_info"]).session_end_info
        assert end.status == {"done": 1, "failed": 2}[status]


@pytest.mark.parametrize("step", [2, 4, 6, 7])
def test_a_run_that_goes_on_after_a_crash_has_every_step_once(store, step):
    config, points, told = small(), Points(small()), []
    interrupt(store, config, step, measure=lambda measured: told.extend(points.add(measured)))
    before = TensorBoard()
    before.start(TrackedRun(config, "", "", "train", store.folder(config), 0))
    for point in told[1:]:  # one is missing, say for a full disk
        before.log(point)
    before.log(Point(99, told[-1].step + 1, {"train/loss": 7.0}))  # was not in the checkpoint yet
    [record], notes = tracked(store, [config], "tensorboard")
    assert notes == [] and record.resumed == 1
    assert_holds(read(store, config), record)


def test_a_run_that_begins_anew_takes_back_what_is_there(store):
    config = small()
    tracked(store, [config], "tensorboard")
    [record], _ = tracked(store, [config], "tensorboard", force=True)
    assert_holds(read(store, config), record)
    assert len(list(folder(store, config).iterdir())) == 2


def test_a_full_disk_costs_a_line(store, monkeypatch):
    config = small()
    monkeypatch.setattr(
        "mqar_bench.tracking.tensorboard._EventFile.write",
        lambda self, event: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    [record], notes = tracked(store, [config], "tensorboard")
    assert [text for _, text in notes] == ["goes on without tensorboard: OSError: [Errno 28] No space left on device"]
    assert bits(store.read(config)) == bits(record)
