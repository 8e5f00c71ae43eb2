import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mqar_bench.basics.errors import UsageError
from mqar_bench.cli.launching import ExecutorName, Launcher
from mqar_bench.launching import Summary, launch, ray_core, sweep
from mqar_bench.launching.executor import Task
from mqar_bench.launching.worker import stream
from mqar_bench.records.result import ScreenRecord
from mqar_bench.records.store import Store, StoreError
from mqar_bench.training.loop import fit
from mqar_bench.training.session import Progress
from mqar_bench.training.weights import load_model
from tests.launching.family import descendants, is_running
from tests.launching.tiny import executed, tiny


class Recorder:
    """A watcher that remembers what it was told."""

    def __init__(self):
        self.told, self.closed, self.family = [], False, set()

    def start(self, configs, skipped):
        self.told.append(("start", len(configs), skipped))

    def progress(self, run_id, progress):
        self.told.append((run_id, progress))

    def note(self, run_id, text):
        self.told.append((run_id, "note", text))

    def retry(self, run_id, reason, attempt):
        self.told.append((run_id, "retry", attempt, reason))

    def drop(self, run_id):
        self.told.append((run_id, "drop"))

    def pause(self, run_id, fraction):
        self.told.append((run_id, "pause", fraction))

    def finish(self, result):
        self.told.append((result.run_id, result.status))
        self.family |= descendants(os.getpid())

    def close(self):
        self.closed = True


def outcome(summary):
    return len(summary.done), len(summary.skipped), len(summary.failed)


def test_what_is_done_is_skipped_and_a_grown_grid_runs_its_new_part(store):
    grid = [tiny(rate=1e-2), tiny(rate=2e-2)]
    first = launch([*grid, grid[0]], store, "inline")
    assert outcome(first) == (2, 0, 0)
    assert store.read(grid[0]) == first.done[0]
    grown = launch([tiny(rate=3e-2), *grid], store, "inline")
    assert outcome(grown) == (1, 2, 0)
    assert grown.done[0].config == tiny(rate=3e-2) and grown.skipped == first.done
    forced = launch(grid, store, "inline", force=True)
    assert outcome(forced) == (2, 0, 0)
    assert [r.accuracy for r in forced.done] == [r.accuracy for r in first.done]
    assert len(store.results()[0]) == 3


def test_what_another_sweep_has_done_is_taken_over(store, my_mixers):
    broken = tiny(f"{my_mixers}.Broken")
    launch([tiny(), broken], store, "inline")
    theirs, new = (config.model_copy(update={"sweep": "other"}) for config in (tiny(), tiny(rate=2e-2)))
    summary = launch([theirs, new, broken.model_copy(update={"sweep": "other"})], store, "inline")
    assert outcome(summary) == (1, 1, 1)  # a failed one is tried
    assert store.own(theirs) == store.read(tiny()).model_copy(update={"config": theirs}) == summary.skipped[0]
    assert store.own(tiny()).config.sweep == "tiny"
    assert outcome(launch([theirs], store, "inline", force=True)) == (1, 0, 0)


def test_what_wins_again_among_more_rates_says_so(store):
    run = tiny()
    few, more = (ScreenRecord(epochs=1, keep=1, rivals=dict.fromkeys(rates, 0.5)) for rates in ("ab", "abc"))
    done = launch([run], store, "inline", screens={run.run_id: few}).done[0]
    again = launch([run], store, "inline", screens={run.run_id: more})
    assert outcome(again) == (0, 1, 0) and done.screen == few
    assert store.read(run) == again.skipped[0] == done.model_copy(update={"screen": more})
    launch([run], store, "inline")  # without screening what is known stays
    assert store.read(run).screen == more


def test_a_run_that_fails_is_recorded_and_the_others_finish(store, my_mixers):
    configs = [tiny(f"{my_mixers}.Broken"), tiny(f"{my_mixers}.Missing"), tiny(rate=1e30), tiny(f"{my_mixers}.Base")]
    summary = launch(configs, store, "inline")
    assert outcome(summary) == (1, 0, 3)
    broken, missing, diverged = (store.read(config) for config in configs[:3])
    assert broken.status == "failed" and broken.error == "RuntimeError: this mixer"
    assert "is broken" in broken.traceback and "mixers_of_mine.py" in broken.traceback
    assert "has no 'Missing'" in missing.error
    assert diverged.error == "Divergence: the loss is nan at step 1 (epoch 0)"
    assert store.is_done(configs[3])
    assert outcome(launch(configs, store, "inline")) == (0, 1, 3)  # what failed is tried again


def test_a_failed_second_try_does_not_take_a_done_record(store, my_mixers, monkeypatch):
    config = tiny(f"{my_mixers}.Base")
    launch([config], store, "inline")
    monkeypatch.setattr(sys.modules[my_mixers].Base, "forward", lambda self, x: 1 / 0)
    assert outcome(launch([config], store, "inline", force=True)) == (0, 0, 1)
    assert store.is_done(config)


def test_interrupting_keeps_what_is_done(store, my_mixers):
    configs = [tiny(), tiny(f"{my_mixers}.Interrupts"), tiny(rate=2e-2)]
    watcher = Recorder()
    with pytest.raises(KeyboardInterrupt):
        launch(configs, store, "inline", watcher=watcher)
    assert [r.config for r in store.results()[0]] == [configs[0]] and watcher.closed
    assert outcome(launch([configs[0], configs[2]], store, "inline")) == (1, 1, 0)


def test_a_watcher_hears_of_everything_in_order(store):
    config = tiny(epochs=2)
    launch([config], store, "inline", watcher=(watcher := Recorder()))
    assert watcher.told[0] == ("start", 1, 0) and watcher.told[-1] == (config.run_id, "done")
    reports = [progress for _, progress in watcher.told[1:-1]]
    assert [(p.epoch, p.fraction) for p in reports if p.accuracy is not None][-1] == (1, 1.0)
    launch([config, tiny()], store, "inline", watcher=(watcher := Recorder()))
    assert watcher.told[0] == ("start", 2, 1)
    launch([config], store, "inline", watcher=(watcher := Recorder()))
    assert watcher.told == []  # nothing to watch


def test_a_folder_that_cannot_be_written_is_found_out_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sweep, "_make", lambda *_: pytest.fail("started"))
    with pytest.raises(StoreError, match="Not a directory"):
        launch([tiny()], Store(tmp_path / "file"), "inline")


@pytest.mark.parametrize(
    ("mixer", "options", "device", "message"),
    [
        ("attention", {}, "cuda", "train.device is cuda, but torch sees no CUDA device; use cpu or auto"),
        ("ramnet", {"backend": "triton"}, "auto", "model.mixers.0: RAM-Net's triton engine needs a CUDA device"),
    ],
    ids=["device", "engine"],
)
@pytest.mark.parametrize("executor", ["ray", "inline"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="it could")
def test_what_this_machine_cannot_do_is_found_out_before_training(
    store, monkeypatch, executor, mixer, options, device, message
):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    config = tiny(mixer, **options)
    config = config.model_copy(update={"train": config.train.model_copy(update={"device": device})})
    with pytest.raises(UsageError, match=f"^{message}"):
        launch([tiny(), config], store, executor)
    assert store.results() == ([], [])


def test_mistakes(store, monkeypatch):
    for arguments, message in (
        ({"executor": "tune"}, "no executor named 'tune': there is ray, inline"),
        ({"executor": "inline", "jobs": 2}, "inline executor has one run at a time"),
        ({"executor": "ray", "gpus_per_run": 1.5}, "at most 1, or whole"),
    ):
        with pytest.raises(UsageError, match=message):
            launch([tiny()], store, **arguments)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="ray is not installed: pip install ray, or use --executor inline"):
        launch([tiny()], store, "ray")
    assert store.results() == ([], [])


@pytest.mark.parametrize(
    "stopped, in_vain, failed, code",
    [
        ("", False, False, 3),
        ("", False, True, 3),
        ("there is no Ray", False, True, 3),  # trying again may help
        ("3 runs died", True, True, 1),  # trying again is of no use
    ],
)
def test_why_runs_are_left_and_the_exit_code(store, capsys, my_mixers, stopped, in_vain, failed, code):
    launcher = Launcher(store, ExecutorName.inline, True, False, None, {})
    lost = launch([tiny(f"{my_mixers}.Broken")], store, "inline").failed if failed else ()
    summary = Summary(failed=lost, left=(tiny(), tiny(rate=2e-2)), stopped=stopped, in_vain=in_vain)
    assert launcher.exit_code(summary) == code
    why = f"stopped: {stopped}" if stopped else "the time is over"
    assert capsys.readouterr().err == f"{why}: 2 runs are left; the same command goes on\n"
    assert launcher.exit_code(Summary(failed=lost)) == len(lost) and capsys.readouterr().err == ""


def test_threads_are_those_asked_for_and_then_as_before():
    before = torch.get_num_threads()
    record = executed(tiny(), before + 1)
    assert record.provenance.threads == before + 1 and torch.get_num_threads() == before


def test_stream_gives_reports_then_the_record(my_mixers):
    *reports, record = stream(Task(tiny(epochs=2)), threads=1)
    assert [p.epoch for p in reports if p.accuracy is not None] == [0, 1]
    assert record.status == "done"
    with pytest.raises(AttributeError):  # a fault outside of the run does not hang its reader
        list(stream(Task(None), threads=1))


class FakeRay:
    """A Ray of four CPUs and one GPU that somebody else has started."""

    def __init__(self):
        self.options = None

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}, {"Alive": False, "Resources": {"CPU": 9.0}}]

    def remote(self, function):
        return SimpleNamespace(options=lambda **options: setattr(self, "options", options))


@pytest.mark.parametrize(
    "jobs, cpus, gpus, slots",
    [(None, 1, 0.0, 4), (None, 3, 0.0, 1), (2, 1, 0.0, 2), (9, 1, 0.0, 4), (None, 1, 0.25, 4), (None, 1, 0.3, 3)],
)
def test_as_many_runs_at_a_time_as_fit(monkeypatch, jobs, cpus, gpus, slots):
    ray = FakeRay()
    monkeypatch.setattr(ray_core, "import_ray", lambda: ray)
    assert ray_core.RayExecutor((), None, jobs, cpus, gpus).slots == slots
    assert (ray.options["num_cpus"], ray.options["num_gpus"], ray.options["max_retries"]) == (cpus, gpus, 0)


def test_more_than_there_is_would_wait_for_ever(monkeypatch):
    monkeypatch.setattr(ray_core, "import_ray", FakeRay)
    with pytest.raises(UsageError, match="a run asks for 5 CPU, but no machine has more than 4"):
        ray_core.RayExecutor(cpus_per_run=5)
    with pytest.raises(UsageError, match="a run asks for 2 GPU, but no machine has more than 1"):
        ray_core.RayExecutor(gpus_per_run=2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="watches processes through /proc")
def test_ray(store, my_mixers):
    pytest.importorskip("ray")
    good = [tiny(f"{my_mixers}.Base", rate=rate, epochs=2) for rate in (1e-3, 1e-2)]
    configs = [good[0], tiny(f"{my_mixers}.Broken"), tiny(f"{my_mixers}.Dies"), good[1]]
    watcher = Recorder()
    summary = launch(configs, store, "ray", jobs=2, save_weights=True, watcher=watcher)
    assert outcome(summary) == (2, 0, 2) and watcher.closed
    assert {r.run_id for r in summary.done} == {config.run_id for config in good}
    assert store.read(configs[1]).error == "RuntimeError: this mixer"
    assert "mixers_of_mine.py" in store.read(configs[1]).traceback
    dead = store.read(configs[2])
    assert dead.lost and dead.error.startswith("WorkerCrashedError: the worker process died")
    assert [line.partition(",")[0] for line in dead.retries] == ["attempt 1", "attempt 2", "attempt 3"]
    assert [told[1:3] for told in watcher.told if told[0] == dead.run_id and told[1] == "retry"] == [
        ("retry", 2),
        ("retry", 3),
    ]
    assert store.read(good[0]).provenance.threads == 1
    reports = [told for told in watcher.told if isinstance(told[1], Progress)]
    assert {run_id for run_id, progress in reports if progress.fraction == 1} == {c.run_id for c in good}
    here = executed(good[0])
    assert [e.loss for e in store.read(good[0]).epochs] == [e.loss for e in here.epochs]  # as in this process
    kept = {path.stem for path in store.root.rglob("*.safetensors")}
    assert kept == {config.run_id for config in good}
    model = fit(good[0])[0].state_dict()
    assert all(torch.equal(v, model[k]) for k, v in load_model(store.weights(good[0])).state_dict().items())
    assert watcher.family  # the processes of Ray, none of which may be left
    deadline = time.monotonic() + 20
    while left := {pid for pid in watcher.family if is_running(pid)}:
        assert time.monotonic() < deadline, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        time.sleep(0.1)
