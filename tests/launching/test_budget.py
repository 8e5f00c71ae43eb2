import time

import pytest

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.launching.budget import Budget, Durations, parse_duration
from mqar_bench.records.result import Provenance, RunResult


@pytest.mark.parametrize(
    "text, seconds",
    [("90", 90), ("90s", 90), ("9m", 540), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), ("0.5", 0.5)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "9 m", "m", "-9m", "1:30", "9min", "1e3", "0s", "nan"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="duration"):
        parse_duration(text)


def test_a_budget_keeps_time_for_stopping():
    for seconds, margin in ((20.0, 5.0), (200.0, 10.0), (3600.0, 15.0), (2.0, 1.0)):
        left = Budget(seconds).left
        assert seconds - margin - 0.5 < left <= seconds - margin
    assert Budget(100.0, started=time.monotonic() - 90).left < 6
    with pytest.raises(UsageError, match="must be positive"):
        Budget(0)


def test_room_for_a_run():
    budget = Budget(100.0, started=time.monotonic() - 45)  # 50 of 100 are left
    assert budget.has_room(40.0, False) and not budget.has_room(60.0, False)
    assert budget.has_room(None, False)  # nobody knows
    assert budget.has_room(60.0, True)  # goes on from where it was
    assert budget.has_room(101.0, False)  # would otherwise never be begun
    over = Budget(100.0, started=time.monotonic() - 99)
    assert not over.has_room(0.1, False) and not over.has_room(None, True)


def config(mixer="attention", rate=1e-3, epochs=2, d_model=64) -> RunConfig:
    model = {"d_model": d_model, "mixers": [{"name": mixer}]}
    return RunConfig.model_validate({"model": model, "train": {"learning_rate": rate, "max_epochs": epochs}})


def record(of, seconds, status="done") -> RunResult:
    made = Provenance(
        device="", threads=1, python="", versions={}, git_commit=None, git_dirty=None, started_at="2026-01-01T00:00:00"
    )
    return RunResult(run_id=of.run_id, status=status, config=of, provenance=made, seconds=seconds)


def test_expected_durations_come_from_the_likest_runs():
    durations = Durations([record(config(rate=1e-3), 10.0), record(config(rate=1e-3), 5.0, status="failed")])
    assert durations.expect(config(rate=1e-2)) == 10.0  # learning rate and seed do not matter
    assert durations.expect(config("linear_attention", epochs=4)) == 20.0  # nothing better is known
    durations.add(record(config("linear_attention"), 30.0))
    assert durations.expect(config("linear_attention", d_model=32)) == 30.0
    assert durations.expect(config(rate=1e-2)) == 10.0
    assert Durations().expect(config()) is None
