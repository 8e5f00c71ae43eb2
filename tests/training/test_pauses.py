"""When a run is saved and stopped, and what it counts meanwhile."""

import pickle
import time

import pytest

from mqar_bench.tasks import MQARConfig
from mqar_bench.training import data as task_data
from mqar_bench.training.checkpoint import decode, encode
from mqar_bench.training.data import build_data
from mqar_bench.training.loop import run
from mqar_bench.training.session import Divergence, Stopped
from tests.training.pieces import place, small, stop_at, stopped


class Clock:
    """In place of the system's: ten seconds pass at a pause, ``slow`` ones while saving, ``setup`` ones for data."""

    def __init__(self, monkeypatch, config, slow=0.0, setup=0.0):
        self.now, self.slow, self.config, self.saved = 100.0, slow, config, []
        data = build_data(config.data)

        def shared_data(_):
            self.now += setup
            return data

        monkeypatch.setattr(task_data, "shared_data", shared_data)
        for clock in ("monotonic", "perf_counter"):
            monkeypatch.setattr(time, clock, lambda: self.now)

    def stop(self):
        self.now += 10
        return False

    def save(self, checkpoint):
        self.saved.append(checkpoint)
        self.now += self.slow

    @property
    def places(self):
        return [place(checkpoint, self.config) for checkpoint in self.saved]

    def times(self, checkpoint):
        tally = decode(checkpoint, self.config.run_id)["tally"]
        return tally["seconds"], tally["train_seconds"]


@pytest.mark.parametrize("slow", [0.0, 100.0])
def test_save_every_counts_from_the_start_and_from_the_end_of_the_last(monkeypatch, slow):
    config = small("short_conv")
    clock = Clock(monkeypatch, config, slow)
    run(config, save=clock.save, save_every=25, stop=clock.stop)
    assert clock.places == [(0, 3), (1, 0), (1, 3)]  # at 30, 60 and 90 s; 40 and 50 are within scoring
    clock = Clock(monkeypatch, config)
    run(config, save=clock.save, save_every=60, stop=clock.stop)
    assert clock.places == [(1, 0)]
    run(config, save=pytest.fail, save_every=91, stop=clock.stop)
    clock = Clock(monkeypatch, config)
    run(config, save=clock.save, stop=clock.stop)
    assert clock.places == [(0, 3), (1, 0), (1, 3)], "every 30 s by default"


def test_stop_is_asked_at_every_pause_and_not_once_the_run_is_over():
    asked = []
    run(small("short_conv"), stop=lambda: asked.append(None))
    assert len(asked) == 2 * (3 + 2) + 1
    asked.clear()
    run(small("short_conv", early_stopping_threshold=-1.0), stop=lambda: asked.append(None))
    assert len(asked) == 3 + 2


def test_stopping_does_not_save_as_well():
    with pytest.raises(Stopped):
        run(small("short_conv"), save=pytest.fail, save_every=0, stop=lambda: True)


def test_stopped_says_how_far_it_is_and_travels_between_processes():
    for call, step in ((1, 1), (5, 3), (6, 3), (9, 6)):
        with pytest.raises(Stopped, match=f"^stopped after step {step}$") as caught:
            run(small("short_conv"), stop=stop_at(call))
        sent = pickle.loads(pickle.dumps(caught.value))
        for error in (caught.value, sent):
            assert (error.step, error.fraction) == (step, step / 6) and str(error) == f"stopped after step {step}"
        assert sent.checkpoint == caught.value.checkpoint


def test_times_are_sums_over_the_pieces(monkeypatch):
    """All but training, so building, scoring and saving too, is in the seconds alone; work done twice counts twice."""
    config = small("short_conv")
    clock = Clock(monkeypatch, config, slow=100.0, setup=1000.0)
    record = run(config, save=clock.save, save_every=0, stop=clock.stop)
    assert (record.seconds, record.train_seconds) == (1000 + 11 * 10 + 7 * 100, 6 * 10)
    assert clock.times(clock.saved[0]) == (1010, 10)
    assert clock.times(clock.saved[3]) == (1000 + 6 * 10 + 3 * 100, 30)  # after scoring
    record = run(config, checkpoint=clock.saved[3], stop=clock.stop)
    assert (record.seconds, record.train_seconds) == (1360 + 1000 + 5 * 10, 60)
    assert record.tokens_per_second == 2 * 96 * 16 / 60
    with pytest.raises(Stopped) as caught:
        asked = iter(range(1, 6))
        run(config, stop=lambda: clock.stop() or next(asked) == 5)  # while scoring
    assert clock.times(caught.value.checkpoint) == (1050, 30)


def test_a_record_says_when_the_first_piece_began_and_how_many_there_were():
    config = small("short_conv")
    found = decode(stopped(config, 2), config.run_id)
    found["tally"].update(started_at="2020-01-01T00:00:00+00:00", resumed=4)
    record = run(config, checkpoint=encode(found))
    assert record.provenance.started_at == "2020-01-01T00:00:00+00:00" and record.resumed == 5


def test_divergence_names_the_step_of_the_whole_run():
    config = small("short_conv", learning_rate=1e30)
    with pytest.raises(Divergence, match=r"at step 1 \(epoch 0\)"):
        run(config, checkpoint=stopped(config, 1))


def test_a_run_goes_on_without_building_what_it_has_trained_on(monkeypatch):
    config = small("short_conv", data={"fresh": True})
    data = build_data(config.data)
    checkpoint = stopped(config, 9)
    monkeypatch.setattr(MQARConfig, "build", lambda *_, **__: pytest.fail("built"))
    assert run(config, checkpoint=checkpoint, data=data).steps == 6
