"""Records of runs that never were, through the classes of real ones, so that the columns of their table are right."""

import plots
from mqar_bench.config import RunConfig, setting_names
from mqar_bench.records.result import Epoch, Provenance, RunResult
from mqar_bench.records.table import to_frame

CONV = {"name": "short_conv"}


def config(
    mixer="attention", below=CONV, rate=1e-2, seed=1, sweep="fig3", scale="demo", d_model=64, data=None, **options
):
    """A run of ``mixer`` on top of ``below``; None for the mixer alone."""
    spec = {"name": mixer, "options": options}
    return RunConfig.model_validate(
        {
            "sweep": sweep,
            "scale": scale,
            "data": {"seed": seed} | (data or {}),
            "model": {"d_model": d_model, "mixers": [below, spec] if below else [spec]},
            "train": {"learning_rate": rate, "seed": seed},
        }
    )


def record(run, accuracy=0.5, state=4096, active=None, curve=(), device="cpu", threads=1, settings=None, **values):
    """What a run left behind; an ``accuracy`` of None is a failure. ``curve``: accuracies after epochs of 100 steps.

    ``settings`` are accuracies by setting; by default there is one, with ``accuracy``. One of ``language`` has losses.
    """
    provenance = Provenance(
        device=device, threads=threads, python="3", versions={}, git_commit=None, git_dirty=None, started_at="2026"
    )
    if accuracy is None:
        return RunResult(run_id=run.run_id, status="failed", config=run, provenance=provenance, error="Divergence: no")
    curve = curve or (accuracy,)
    done = {
        "accuracy": accuracy,
        "settings": {"L64-kv8": accuracy} if settings is None else settings,
        "epochs": tuple(Epoch(epoch=i, loss=1.0, accuracy=a, settings={}) for i, a in enumerate(curve)),
        "steps": 100 * len(curve),
        "state_size": state,
        "active_state_size": state if active is None else active,
        "num_parameters": 1000,
        "tokens_per_second": 1e5,
        "peak_memory_bytes": 2**30,
    }
    if run.sweep == "language":
        done["losses"] = {f"test-{kind}-L64": factor * (1 - accuracy) for kind, factor in (("hits", 3), ("rest", 5))}
    return RunResult(run_id=run.run_id, status="done", config=run, provenance=provenance, **(done | values))


def frame(*records):
    return to_frame(records, curves=True)


#: Of the data of every run: several numbers of pairs.
TEST = [{"num_kv_pairs": pairs} for pairs in (4, 8, 16)]


def scored(run, accuracy, **values):
    """A record that has an accuracy on each test setting, less with more pairs."""
    names = setting_names(run.data.test)
    return record(run, accuracy, settings={name: accuracy / 2**i for i, name in enumerate(names)}, **values)


def records(name):
    """Two seeds of two models of each sweep that the figure shows, and of other mixers."""
    for sweep in plots.sweeps(name):
        for seed in (1, 2):
            for top_k in (2, 4):
                run = config("ramnet", sweep=sweep, seed=seed, top_k=top_k, order=3, data={"test": TEST})
                yield scored(run, 0.3 * seed + 0.01 * top_k, state=4096 * top_k, curve=(0.5, 0.3 * seed + 0.4))
            yield scored(config("gla", sweep=sweep, seed=seed, data={"test": TEST}), 0.95, state=5000)
            yield record(config("gla", sweep=sweep, seed=seed, rate=1.0, data={"test": TEST}), None)
