"""A launch and the process that drives Ray for it, which is lost in every way there is: see ``fake_child``."""

import io
import os
import pickle
import shutil
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from mqar_bench.basics.errors import UsageError
from mqar_bench.launching import launch, ray_parent, ray_process
from mqar_bench.launching.budget import Budget
from mqar_bench.launching.executor import Begun, Lost, Saved
from mqar_bench.launching.progress import Lines
from mqar_bench.launching.ray_child import Died, Ready, Refused
from mqar_bench.records.result import RunResult
from mqar_bench.records.store import Store
from mqar_bench.training.session import Progress
from tests.launching import fake_child
from tests.launching.family import CAN_WATCH, descendants, session
from tests.launching.grid import config, done

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="watches processes through /proc")

CALL = f"""
import json, runpy, sys
sys.argv = ["", str(json.loads(sys.argv[1])[0]), {{folder!r}}]
runpy.run_path({fake_child.__file__!r}, run_name="__main__")
"""


class Stage:
    """A store, and children that play their part."""

    def __init__(self, folder):
        self.folder, self.store = folder, Store(folder / "results")
        self.lives = []

    def life(self, *polls, first=None, slots=2, loss="exits"):
        """What a child says: to each poll events by seed. A ``first`` of False is silence, then the loss."""
        first = pickle.dumps(Ready(slots, self.folder) if first is None else first) if first is not False else None
        plain = [[pickle.dumps((config(seed).run_id, event)) for seed, event in events] for events in polls]
        self.lives.append((first, pickle.dumps(slots), plain, loss))

    def launch(self, *seeds, **settings):
        """The summary, and the lines shown."""
        (self.folder / "lives").write_bytes(pickle.dumps(self.lives))
        out = io.StringIO()
        watcher = Lines(Console(file=out, width=1000))
        try:
            self.summary = launch([config(seed) for seed in seeds], self.store, watcher=watcher, **settings)
        finally:
            self.lines = out.getvalue().splitlines()
        return self.summary

    @property
    def started(self):
        file = self.folder / "started"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    def heard(self, life):
        """What a child was asked, pickled."""
        return (self.folder / f"heard-{life}").read_bytes()

    def records(self):
        return {result.config.train.seed: result for result in self.store.results()[0]}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_process, "PROGRAM", CALL.format(folder=str(tmp_path)))
    monkeypatch.setattr(ray_process, "ANSWER_SECONDS", 3.0)
    monkeypatch.setattr(ray_process, "START_SECONDS", 60.0)
    monkeypatch.setattr(ray_parent, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(ray_parent, "TRY_SECONDS", 0.05)
    stage = Stage(tmp_path)
    before = descendants(os.getpid())
    yield stage
    assert descendants(os.getpid()) <= before
    assert [pid for leader in stage.started for pid in session(leader)] == []  # nothing is left of any of them


HOW = {
    "exits": "the process that drives it ended with code 3",
    "aborts": "the process that drives it was ended by signal 6",
    "is_terminated": "the process that drives it was ended by signal 15",
    "is_killed": "the process that drives it was ended by signal 9",
    "raises": "RuntimeError: no such day",
    "hangs": "no answer within 3 s",
    "closes_the_pipe": "the process that drives it does not answer",
    "stops_in_the_middle": "the process that drives it ended with code 3",
    "hangs_in_the_middle": "no answer within 3 s",
}
assert list(HOW) == [loss.__name__ for loss in fake_child.LOSSES]


@pytest.mark.parametrize("loss", HOW)
def test_whatever_becomes_of_it_the_launch_goes_on(stage, loss):
    saved = [(1, Begun()), (1, Progress(0.5, 0, 1.0, None)), (1, Saved(b"half", 0.5))]
    stage.life(saved, loss=loss)
    stage.life([(1, done(config(1))), (2, done(config(2)))])
    summary = stage.launch(1, 2, retries=0)  # which it does not count as
    assert len(summary.done) == 2 and summary.failed == summary.left == () and len(stage.started) == 2
    told = f"[0/2] Ray was lost ({HOW[loss]}): 2 runs go back to the last checkpoint, and a new one starts"
    assert [line for line in stage.lines if "accuracy" not in line] == [told]
    assert b"half" not in stage.heard(0) and b"half" in stage.heard(1)
    for record in stage.records().values():
        (line,) = record.retries
        assert line.startswith("attempt 1, ") and line.endswith(f"Ray was lost: {HOW[loss]}")


@pytest.mark.parametrize("is_there", [True, False], ids=["once it is there", "as it starts"])
def test_it_is_not_tried_for_ever(stage, is_there):
    for _ in range(ray_parent.MOST_LOSSES):
        stage.life([(1, Begun()), (1, Progress(0.1, 0, 1.0, None))], first=None if is_there else False)
    summary = stage.launch(1, 2)
    assert [c.train.seed for c in summary.left] == [1, 2] and summary.done == summary.failed == ()
    assert stage.records() == {} and len(stage.started) == ray_parent.MOST_LOSSES and not summary.in_vain
    if is_there:
        assert summary.stopped == (
            "Ray was lost 3 times in a row without a record or a checkpoint in between:"
            f" the process that drives it ended with code 3; its logs are in {stage.folder}"
        )
    else:
        assert summary.stopped == "Ray did not start: the process that drives it ended with code 3 (tried 3 times)"
    assert len(stage.lines) == ray_parent.MOST_LOSSES - 1  # the last is for whoever launched it to tell


@pytest.mark.parametrize("kept", [Saved(b"half", 0.5), done(config(1))], ids=["a checkpoint", "a record"])
def test_what_is_kept_in_between_counts(stage, kept):
    for i in range(2 * ray_parent.MOST_LOSSES - 2):
        stage.life([(1, kept)] if i == ray_parent.MOST_LOSSES - 1 else [])
    stage.life([(2, done(config(2)))] if isinstance(kept, RunResult) else [(1, done(config(1))), (2, done(config(2)))])
    assert len(stage.launch(1, 2).done) == 2


def test_one_that_hangs_as_it_starts_is_ended(stage, monkeypatch):
    monkeypatch.setattr(ray_process, "START_SECONDS", 1.0)
    stage.life(first=False, loss="hangs")
    stage.launch(1, budget=Budget(5.0))
    assert stage.lines[0] == "[0/1] Ray did not start: it did not start within 1 s; tried again in 0 s"


@pytest.mark.parametrize("was_there", [False, True], ids=["at first", "later"])
def test_what_the_user_has_to_mend(stage, was_there):
    reason = "cannot start Ray on this machine: no such day; wait for another"
    if was_there:
        stage.life()
    for _ in range(ray_parent.MOST_LOSSES - was_there):
        stage.life(first=Refused(reason))
    if not was_there:
        with pytest.raises(UsageError, match=f"^{reason}$"):
            stage.launch(1)
        assert len(stage.started) == 1 and stage.lines == []
    else:  # it may yet be mended: the same command, later
        summary = stage.launch(1)
        assert summary.stopped == f"{reason} (tried 3 times)" and len(summary.left) == 1


def test_a_dead_agent_is_named(stage):
    (stage.folder / "raylet.err").write_text("exited immediately, agent_name = runtime_env_agent.\nThe raylet fate ...")
    stage.life()
    stage.life([(1, done(config(1)))])
    assert len(stage.launch(1).done) == 1
    assert "(its runtime_env_agent ended, and with it all the rest): 1 run goes back" in stage.lines[0]


def test_what_the_process_says_of_its_end_is_told(stage):
    died = Died("its gcs_server was ended by signal 9")
    stage.life()
    first, slots, _, loss = stage.lives.pop()
    stage.lives.append((first, slots, [[pickle.dumps(died)]], loss))
    stage.life([(1, done(config(1)))])
    assert len(stage.launch(1).done) == 1
    assert "Ray was lost (its gcs_server was ended by signal 9): " in stage.lines[0]


@pytest.fixture
def head():
    """Something that listens, as a cluster's head does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server):
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_is_joined_again(stage, head):
    stage.life([(1, Begun())])
    stage.life(first=False)  # not yet
    stage.life(first=Refused("cannot join it"))
    stage.life([(1, done(config(1)))])
    assert len(stage.launch(1, address=(address := address_of(head))).done) == 1
    told = f"[0/1] the Ray cluster at {address} was lost (the process that drives it ended with code 3): "
    again = f"[0/1] joined the Ray cluster at {address} again"
    back = "1 run goes back to the last checkpoint, and it is tried again for 5 min"
    assert stage.lines[:-1] == [told + back, again] and len(stage.started) == 4


def test_a_cluster_that_does_not_come_back(stage, head, monkeypatch):
    monkeypatch.setattr(ray_parent, "REJOIN_SECONDS", 1.0)
    address = address_of(head)
    stage.life([(1, Begun())])
    head.close()
    summary = stage.launch(1, 2, address=address)
    assert summary.stopped == f"the Ray cluster at {address} has not come back within 1 s: connection refused"
    assert len(summary.left) == 2 and stage.records() == {} and len(stage.started) == 1  # no process for every try
    assert f"{address} was lost (connection refused): " in stage.lines[0]


def test_the_time_is_over_while_a_cluster_is_away(stage, head):
    stage.life([(1, Begun())])
    address, began = address_of(head), time.monotonic()
    head.close()
    summary = stage.launch(1, 2, address=address, budget=Budget(4.0))
    assert time.monotonic() - began < 30 and summary.stopped == "" and len(summary.left) == 2


@pytest.mark.parametrize("is_there", [True, False], ids=["once it is there", "as it starts"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_nothing_answers(stage, monkeypatch, is_there, times):
    monkeypatch.setattr(ray_process, "ANSWER_SECONDS", 60.0)
    stage.life(first=None if is_there else False, loss="hangs")

    listens = True

    def press(number, frame):
        if listens:  # what comes later than expected must not end the tests
            raise KeyboardInterrupt

    def interrupt():
        while not stage.started or (is_there and not (stage.folder / "heard-0").exists()):
            time.sleep(0.01)
        for _ in range(times):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    began, thread = time.monotonic(), threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, press)
    try:
        with pytest.raises(KeyboardInterrupt):
            try:
                thread.start()
                stage.launch(1)
            finally:
                listens = False
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 30


def test_little_space_is_told_at_first_and_none_with_a_loss(stage, monkeypatch):
    free = iter([100 * 2**20])
    monkeypatch.setenv("RAY_TMPDIR", str(stage.folder))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free, 2**20)))
    stage.life([(1, Begun()), (1, Progress(0.1, 0, 1.0, None)), (1, Lost("it died", 1.0))], [(1, Begun())])
    stage.life([(1, done(config(1)))])
    assert len(stage.launch(1).done) == 1
    folder = f"Ray's temporary folder {stage.folder} has"
    first, second, third, _ = stage.lines
    assert first == f"[0/1] {folder} 100 MiB free: once it is full, no run can start"
    assert second.endswith(f"RETRY, attempt 2: it died; {folder} 1 MiB free")
    assert third.startswith(f"[0/1] Ray was lost (the process that drives it ended with code 3; {folder} 1 MiB free): ")
