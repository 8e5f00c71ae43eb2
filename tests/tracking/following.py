"""Runs that are tracked, in one piece and in several."""

from itertools import accumulate

from mqar_bench.config import RunConfig
from mqar_bench.launching import launch
from mqar_bench.launching.checkpoints import Checkpoints
from mqar_bench.launching.watcher import Silent
from mqar_bench.records.flat import name_scores
from mqar_bench.training.loop import fit
from mqar_bench.training.session import Stopped


class Noted(Silent):
    def __init__(self):
        self.notes = []

    def note(self, run_id, text):
        self.notes.append((run_id, text))


def tracked(store, configs, *trackers, executor="inline", **settings):
    """The records of a launch, and what was noted."""
    watcher = Noted()
    summary = launch(configs, store, executor, track=trackers, watcher=watcher, **settings)
    return [*summary.done, *summary.failed], watcher.notes


def small(epochs=3, seed=1, mixer="linear_attention", **train) -> RunConfig:
    """Of four steps an epoch and two validation settings."""
    tasks = [{"vocab_size": 64, "input_seq_len": length, "num_kv_pairs": 2, "num_examples": 64} for length in (16, 32)]
    return RunConfig.model_validate(
        {
            "sweep": "small",
            "scale": "s",
            "data": {"train": tasks, "validation": tasks, "test": tasks[:1]},
            "model": {"vocab_size": 64, "d_model": 8, "mixers": [{"name": mixer}]},
            "train": {"max_epochs": epochs, "batch_size": 32, "device": "cpu", "seed": seed, **train},
        }
    )


def interrupt(store, config, step, measure=None):
    """Leave a checkpoint of a run after so many steps."""
    stops = 0

    def stop():
        nonlocal stops
        stops += 1
        return stops == step

    try:
        fit(config, measure=measure, stop=stop)
    except Stopped as stopped:
        Checkpoints(store).write(config, stopped.checkpoint)
        return stopped
    raise AssertionError("the run was over before")


def bits(record):
    """What must be the same however a run was executed."""
    kept = {"run_id", "status", "config", "epochs", "curve", "accuracy", "settings", "steps", "num_parameters"}
    return record.model_dump(include=kept)


def expected(record):
    """The scalars of a record by name, as (step, value) in order."""
    found: dict[str, list] = {}
    curve, a_epoch = record.curve, record.steps // len(record.epochs)
    for step, loss, accuracy in zip(accumulate(curve.steps), curve.loss, curve.accuracy, strict=True):
        found.setdefault("train/loss", []).append((step, loss))
        found.setdefault("train/accuracy", []).append((step, accuracy))
    for n, epoch in enumerate(record.epochs, start=1):
        for name, value in name_scores("valid", record.config.data.guides, epoch.settings).items():
            found.setdefault(name, []).append((n * a_epoch, value))
    return found
