"""Real processes, really killed. ``make soak`` goes on for longer."""

import os
import re
import signal
import sys
import time
from functools import partial

import pytest

from mqar_bench.launching import launch, loop
from mqar_bench.launching.executor import Task
from mqar_bench.launching.watcher import Silent
from mqar_bench.launching.worker import execute
from tests.launching.drivers import run_of
from tests.launching.family import CAN_WATCH, descendants, kill, part, wait_for_the_end_of, workers

pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="watches processes through /proc")
#: A machine with nothing else to do takes 1 to 3 seconds; a busy one may take as long as it did to start.
STOP_SECONDS = 15


@pytest.fixture
def here(folder, monkeypatch):
    """The folder, with its mixers found by this process."""
    monkeypatch.syspath_prepend(str(folder.path))
    yield folder
    sys.modules.pop("faulty", None)


@pytest.fixture
def family():
    """The processes that this one has started, gathered as runs end, and by now; none may be left."""
    before, seen = descendants(os.getpid()), set()
    yield lambda: seen.update(descendants(os.getpid()) - before)
    wait_for_the_end_of(seen)


class Watcher(Silent):
    """Remembers retries, and calls a function at every sign of life."""

    def __init__(self, call=lambda: None):
        self.call, self.retries = call, []

    def progress(self, run_id, progress):
        self.call()

    def retry(self, run_id, reason, attempt):
        self.retries.append((run_id, attempt, reason))

    def finish(self, result):
        self.call()


def executed_in_one_piece(config):
    """The record of a run made in this process."""
    events = []
    execute(Task(config), 1, events.append)
    return events[-1]


def numbers(record):
    return record.epochs, record.accuracy, record.settings, record.steps


def test_a_killed_worker_costs_what_came_after_its_checkpoint(here, family, monkeypatch):
    pytest.importorskip("ray")
    config = here.slow(0, epochs=60, pause=0.2)

    def kill_once():
        family()
        if here.checkpoints.exists(config) and len(here.begun()) == 1:
            kill(pid for _, pid, _ in here.begun())
            here.brake.unlink()

    monkeypatch.setattr(loop, "Task", partial(Task, save_every=0.3))
    summary = launch([config], here.store, jobs=1, watcher=(watcher := Watcher(kill_once)))
    (record,) = summary.done
    assert here.begins() == {0: 2} and record.resumed == 1
    assert [(run_id, attempt) for run_id, attempt, _ in watcher.retries] == [(config.run_id, 2)]
    reason = "WorkerCrashedError: the worker process died (killed, or crashed in native code)"
    assert watcher.retries[0][2] == reason and [line.partition(": ")[2] for line in record.retries] == [reason]
    assert numbers(here.store.read(config)) == numbers(executed_in_one_piece(config))
    assert not here.checkpoints.exists(config) and here.leftovers() == []


def test_whatever_a_mixer_does_the_others_finish(here, family, capfd):
    pytest.importorskip("ray")
    (here.path / "raises_on_import.py").write_text("raise RuntimeError('no such day')\n")
    (here.path / "quits_on_import.py").write_text("import os\nos._exit(3)\n")
    failing = {
        "faulty.Killed": "WorkerCrashedError: the worker process died",
        "faulty.Crashes": "WorkerCrashedError: the worker process died",
        "faulty.Quits": "WorkerCrashedError: the worker process died",
        "quits_on_import.Mixer": "WorkerCrashedError: the worker process died",
        "faulty.Exits": "SystemExit: enough",
        "faulty.Missing": "MixerError: mixer 'faulty.Missing': module 'faulty' has no 'Missing'",
        "raises_on_import.Mixer": "RuntimeError: no such day",
    }
    fine = ["faulty.Slow", "faulty.Prints", "faulty.LeavesThreads", "faulty.SharesData"]
    configs = [run_of(name) for pair in zip(failing, [*fine, *fine], strict=False) for name in pair]
    summary = launch(configs, here.store, jobs=2, retries=0, watcher=Watcher(family))
    errors = {r.config.mixer: r.error for r in summary.failed}
    assert {name: error[: len(failing[name])] for name, error in errors.items()} == failing
    assert {r.config.mixer for r in summary.failed if r.lost} == set(list(failing)[:4])
    assert {r.config.mixer for r in summary.done} == set(fine)
    assert capfd.readouterr() == ("", "")  # Ray has nothing to say


def test_a_mixer_that_exits_does_not_end_the_driver(here):
    configs = [run_of("faulty.Exits"), run_of("faulty.Slow")]
    summary = launch(configs, here.store, "inline")
    assert [r.error for r in summary.failed] == ["SystemExit: enough"] and len(summary.done) == 1


def test_a_sweep_goes_on_whatever_ends_its_driver(folder, drive):
    pytest.importorskip("ray")
    quick = [folder.slow(tag) for tag in range(3)]
    long = [folder.slow(tag, epochs=150, pause=0.2) for tag in (3, 4)]
    start = partial(drive, [*quick, *long], "--jobs", 2, save_every=0.5)

    def under_way(*tags):
        """Begun by this driver, and the long ones have a checkpoint that it wrote."""
        begun = {tag for tag, _, session in folder.begun() if session in driver.sessions}
        written = [path.stat().st_mtime_ns for path in folder.store.root.rglob("*.ckpt")]
        return begun.issuperset(tags) and sum(time_ns > driver.began_ns for time_ns in written) == len(long)

    driver = start()
    started = driver.until(lambda: under_way(0, 1, 2, 3, 4))
    asked = time.monotonic()
    driver.interrupt(signal.SIGINT, signal.SIGINT, pause=0.5)  # the second one while it stops
    assert driver.end() == 130 and time.monotonic() - asked < max(STOP_SECONDS, started)
    kept = f"3 of 5 runs are done, in {folder.store.root}, 2 more have a checkpoint"
    told = f"interrupted: {kept}; the same command resumes"
    assert driver.err.splitlines()[-1] == told and driver.out == ""
    assert "Traceback" not in driver.err and folder.done() == {0, 1, 2} and folder.leftovers() == []

    driver = start()
    started = driver.until(lambda: under_way(3, 4))
    asked = time.monotonic()
    driver.process.send_signal(signal.SIGTERM)
    assert driver.end() == 130 and time.monotonic() - asked < max(STOP_SECONDS, started)
    assert driver.err.splitlines() == ["3 of 5 runs are done already", told]

    driver = start()
    started = driver.until(lambda: under_way(3, 4))
    assert workers(driver.family())
    assert driver.kill() < max(STOP_SECONDS, started)

    folder.brake.unlink()
    driver = start()
    assert driver.end() == 0, driver.err
    assert folder.done() == {0, 1, 2, 3, 4}
    assert folder.begins() == {0: 1, 1: 1, 2: 1, 3: 4, 4: 4}
    for config in long:  # from checkpoint to checkpoint, each of at most half a second before the end
        record = folder.store.read(config)
        assert record.resumed == 3 and record.retries == () and record.steps == 300
    assert list(folder.store.root.rglob("*.ckpt")) == []


def test_ray_may_die_under_a_sweep(folder, drive):
    """One of its helpers, which takes all of it along. ``make soak`` kills each of its processes."""
    pytest.importorskip("ray")
    configs = [folder.slow(tag, epochs=100, pause=0.2) for tag in range(2)]
    driver = drive(configs, "--jobs", 2, "--retries", 0, save_every=0.5)
    driver.until(lambda: all(map(folder.checkpoints.exists, configs)))
    (agent,) = (pid for pid in driver.family() if part(pid) == "ray::RuntimeEnvAgent")
    kill([agent])
    driver.until(lambda: folder.begins() == {0: 2, 1: 2})
    folder.brake.unlink()
    assert driver.end() == 0, driver.err
    assert folder.done() == {0, 1} and folder.begins() == {0: 2, 1: 2}
    told, *rest = driver.err.splitlines()
    lost = r"\[0/2\] Ray was lost \((.+)\): 2 runs go back to the last checkpoint, and a new one starts"
    assert (found := re.fullmatch(lost, told)), told  # which part is in words of Ray's, which may change
    assert len(rest) == 2 and all("accuracy" in line for line in rest)  # Ray itself has nothing to say
    for config in configs:
        record = folder.store.read(config)
        assert record.resumed == 1 and record.steps == 200 and len(record.retries) == 1
        assert record.retries[0].endswith(f": Ray was lost: {found[1]}")


def test_ctrl_c_while_ray_starts(folder, drive):
    pytest.importorskip("ray")
    driver = drive([folder.slow(0)])
    driver.until(lambda: any(part(pid) == "gcs_server" for pid in driver.family()))
    asked = time.monotonic()
    driver.interrupt(signal.SIGINT)
    assert driver.end() == 130 and time.monotonic() - asked < STOP_SECONDS
    told = f"interrupted: 0 of 1 runs are done, in {folder.store.root}; the same command resumes"
    assert driver.err.splitlines() == [told]


def test_two_drivers_execute_each_run_once(folder, drive):
    configs = [folder.slow(tag, epochs=4, pause=0.05) for tag in range(12)]
    start = partial(drive, configs, "--executor", "inline", "--cpus-per-run", 1)
    drivers = start(), start()
    assert [driver.end() for driver in drivers] == [0, 0], [driver.err for driver in drivers]
    assert folder.begins() == dict.fromkeys(range(12), 1) and folder.done() == set(range(12))
    assert {session for _, _, session in folder.begun()} == {driver.pid for driver in drivers}
    for driver in drivers:
        assert "another process is at work on some of these runs; they are waited for" in driver.err
        own = sum(session == driver.pid for _, _, session in folder.begun())
        assert f"{own} done, {12 - own} done before, 0 failed" in driver.out


def test_what_a_killed_driver_had_is_taken_over(folder, drive):
    configs = [folder.slow(tag, epochs=40, pause=0.2) for tag in range(2)]
    start = partial(drive, configs, "--executor", "inline", "--cpus-per-run", 1, save_every=0.5)
    first = start()
    first.until(lambda: folder.checkpoints.exists(configs[0]))
    second = start()
    second.until(lambda: set(folder.begins()) == {0, 1})  # waits for the run of the first
    first.kill()
    folder.brake.unlink()
    assert second.end() == 0, second.err
    assert folder.begins() == {0: 2, 1: 1} and folder.done() == {0, 1}
    assert folder.store.read(configs[0]).resumed == 1 and folder.store.read(configs[1]).resumed == 0
