"""Records of one run from different machines: what is rounding, and what is another result."""

import pytest

from mqar_bench.config import RunConfig
from mqar_bench.launching.executor import Task
from mqar_bench.launching.worker import execute
from mqar_bench.records.differ import Difference, find_difference, origin, rounding
from mqar_bench.records.result import Epoch, Provenance, RunResult

TASKS = [{"input_seq_len": 64, "num_kv_pairs": 4, "num_examples": 100}, {"num_kv_pairs": 8, "num_examples": 1000}]
CONFIG = RunConfig.model_validate({"data": {"train": TASKS, "test": TASKS}, "train": {"batch_size": 64}})
#: 64 sequences of 64 tokens a batch: 4 * 64 * 2**-24.
ROUNDING = 2**-16
SETTINGS = {"L64-kv4": 0.5, "L64-kv8": 0.25}
#: Of 400 and of 8,000 answers.
ONE = {"L64-kv4": 1 / 400, "L64-kv8": 1 / 8000}
EPOCHS = tuple(Epoch(epoch=i, loss=2.0, accuracy=0.375, settings=SETTINGS, losses={"y": 3.0}) for i in range(2))


def record(**changes) -> RunResult:
    values = {
        "accuracy": 0.375,
        "settings": SETTINGS,
        "losses": {"x": 3.0},
        "epochs": EPOCHS,
    }
    provenance = Provenance(
        device="cpu", threads=1, python="3", versions={}, git_commit=None, git_dirty=None, started_at="2026"
    )
    return RunResult(run_id=CONFIG.run_id, status="done", config=CONFIG, provenance=provenance, **{**values, **changes})


def epochs(**changes):
    """The record's epochs, the last of them changed."""
    first, last = record().epochs
    return {"epochs": (first, last.model_copy(update=changes))}


def test_the_tolerance_follows_from_the_tokens_of_a_batch():
    assert rounding(CONFIG) == ROUNDING
    larger = {"train": {"batch_size": 256}, "data": {"train": [{"input_seq_len": 256}]}}
    assert rounding(RunConfig.model_validate(larger)) == 4 * ROUNDING


ROUNDED = {
    "nothing": {},
    "a loss": epochs(loss=2 * (1 + 0.9 * ROUNDING)),
    "one answer of few": {"settings": SETTINGS | {"L64-kv4": 0.5 + ONE["L64-kv4"]}},
    "three answers of many": {"settings": SETTINGS | {"L64-kv8": 0.25 - 3 * ONE["L64-kv8"]}},
    "one answer of each": {"accuracy": 0.375 + (ONE["L64-kv4"] + ONE["L64-kv8"]) / 2},
    "answers in an epoch": epochs(accuracy=0.375 + ONE["L64-kv8"], settings=SETTINGS | {"L64-kv8": 0.25 + 1 / 8000}),
    "a test's loss": {"losses": {"x": 3 * (1 + 0.9 * ROUNDING)}},
    "an epoch's loss on what guides it": epochs(losses={"y": 3 * (1 + 0.9 * ROUNDING)}),
    "losses not kept before": {"epochs": tuple(e.model_copy(update={"losses": {}}) for e in EPOCHS)},
    "other things than numbers": {"seconds": 9.0, "tokens_per_second": 1.0, "resumed": 1},
}


@pytest.mark.parametrize("what", ROUNDED)
def test_what_is_equal_to_rounding_does_not_differ(what):
    changed = record(**ROUNDED[what])
    assert find_difference(record(), changed) is None and find_difference(changed, record()) is None


DIFFERENT = {
    "a loss": (epochs(loss=2 * (1 + 1.1 * ROUNDING)), ("loss of epoch 1", "2", "2.00003")),
    "an accuracy": ({"accuracy": 0.38}, ("accuracy", "0.375", "0.38")),
    "several answers of few": (
        *({"settings": SETTINGS | {"L64-kv4": 0.5 + 2 * ONE["L64-kv4"]}},),
        ("accuracy on L64-kv4", "0.5", "0.505"),
    ),
    "many answers of many": (
        *({"settings": SETTINGS | {"L64-kv8": 0.25 + 6 * ONE["L64-kv8"]}},),
        ("accuracy on L64-kv8", "0.25", "0.25075"),
    ),
    "an epoch's accuracy": (epochs(accuracy=0.5), ("accuracy of epoch 1", "0.375", "0.5")),
    "an epoch's setting": (
        *(epochs(settings=SETTINGS | {"L64-kv8": 0.3}),),
        ("accuracy of epoch 1 on L64-kv8", "0.25", "0.3"),
    ),
    "a test's loss": ({"losses": {"x": 3.1}}, ("loss on x", "3", "3.1")),
    "a test without a loss": ({"losses": {}}, ("loss on x", "3", "none")),
    "an epoch's loss on what guides it": (epochs(losses={"y": 3.1}), ("loss of epoch 1 on y", "3", "3.1")),
    "how long it was": ({"epochs": record().epochs[:1]}, ("epochs", "2", "1")),
    "a setting that is not there": ({"settings": {"L64-kv4": 0.5}}, ("accuracy on L64-kv8", "0.25", "none")),
    "a setting more": ({"settings": SETTINGS | {"x": 0.0}}, ("accuracy on x", "none", "0")),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_the_first_number_that_differs_is_shown_in_digits_that_do(what):
    changes, (number, here, there) = DIFFERENT[what]
    assert find_difference(record(), record(**changes)) == Difference(number, here, there)
    assert find_difference(record(**changes), record()) == Difference(number, there, here)


def test_as_many_digits_are_shown_as_tell_the_numbers_apart():
    tiny = RunConfig.model_validate({"data": {"train": TASKS, "test": TASKS}, "train": {"batch_size": 1}})
    here, there = (
        record(epochs=(Epoch(epoch=0, loss=loss, accuracy=0, settings={}),)).model_copy(update={"config": tiny})
        for loss in (1.2345678, 1.2345712)
    )
    assert find_difference(here, there) == Difference("loss of epoch 0", "1.234568", "1.234571")


def test_where_the_numbers_come_from():
    provenance = record().provenance
    assert origin(provenance) == "cpu, 1 thread"
    assert origin(provenance.model_copy(update={"threads": 16, "device": "Xeon"})) == "Xeon, 16 threads"


@pytest.mark.parametrize("mixer", ["attention", "linear_attention", "gla", "delta_net"])
def test_a_short_run_with_other_threads_differs_by_rounding_alone(mixer):
    """Whatever machine this is: in eight steps nothing is multiplied up, nor does one of these choose among slots."""
    task = {"vocab_size": 64, "input_seq_len": 32, "num_kv_pairs": 4, "num_examples": 128}
    config = RunConfig.model_validate(
        {
            "data": {"train": [task], "test": [task]},
            "model": {"vocab_size": 64, "d_model": 32, "mixers": [{"name": "short_conv"}, {"name": mixer}]},
            "train": {"max_epochs": 2, "batch_size": 32, "device": "cpu"},
        }
    )
    records = []
    for threads in (1, 2, 3):
        events = []
        execute(Task(config), threads, events.append)
        records.append(events[-1])
    assert [r.provenance.threads for r in records] == [1, 2, 3]
    assert [find_difference(records[0], other) for other in records] == [None] * 3
    execute(Task(config.model_copy(update={"train": config.train.model_copy(update={"seed": 7})})), 1, events.append)
    assert find_difference(records[0], events[-1]) is not None, "another seed"
