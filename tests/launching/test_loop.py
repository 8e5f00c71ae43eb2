"""The loop over an executor that does what it is told."""

import time
from collections import deque

import pytest

from mqar_bench.config import RunConfig
from mqar_bench.launching import launch, sweep
from mqar_bench.launching.budget import Budget
from mqar_bench.launching.checkpoints import Checkpoints
from mqar_bench.launching.executor import Begun, GaveUp, Lost, Note, Paused, Saved
from mqar_bench.launching.watcher import Silent
from mqar_bench.launching.worker import failure
from mqar_bench.records.result import ScreenRecord
from mqar_bench.records.store import Store, StoreError
from mqar_bench.training.session import Progress
from tests.launching.grid import MADE, config, done


class Script:
    """An executor: for each submission of a seed the events of one attempt, a poll for each event.

    Of the runs under way it is the turn of the first, or of the last (-1), until that ends.
    """

    def __init__(self, slots=2, turn=0, **attempts):
        self.turn = turn
        self.slots, self.closed, self.most = slots, False, 0
        self.attempts = {int(seed[1:]): deque(each) for seed, each in attempts.items()}
        self.tasks, self.under_way = [], []

    def submit(self, task):
        self.tasks.append(task)
        attempts = self.attempts.get(task.config.train.seed)
        events = deque(attempts.popleft() if attempts else [done(task.config)])
        self.under_way.append((task.config, events))
        self.most = max(self.most, len(self.under_way))

    def poll(self, tell):
        of, events = self.under_way[self.turn]
        event = events.popleft()
        if not events:
            self.under_way.pop(self.turn)
        tell(of.run_id, done(of) if event == "done" else event)

    def close(self):
        self.closed = True


class Listener(Silent):
    def __init__(self):
        self.told = []

    def note(self, run_id, text):
        self.told.append(("note", text))

    def retry(self, run_id, reason, attempt):
        self.told.append(("retry", reason, attempt))

    def drop(self, run_id):
        self.told.append(("drop",))

    def pause(self, run_id, fraction):
        self.told.append(("pause", fraction))

    def finish(self, result):
        self.told.append((result.status, result.config.train.seed))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """Time passes in ``sleep`` alone, so that no other load on the machine can use up a budget."""

    class Clock:
        now, slept = 1000.0, 0.0

        def sleep(self, seconds):
            self.now += seconds
            self.slept += seconds

    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock


@pytest.fixture
def play(store, monkeypatch):
    """Launches runs of the given seeds on a script."""

    def start(script, *seeds, **settings):
        monkeypatch.setattr(sweep, "_make", lambda *_: script)
        return launch(
            [config(seed) for seed in seeds], store, watcher=(listener := Listener()), **settings
        ), listener.told

    return start


DEAD = Lost("the worker died", 2.0)
STEP = Progress(0.1, 0, 1.0, None)


def test_a_lost_run_goes_on_from_its_checkpoint(play, store):
    script = Script(s1=[[Progress(0.1, 0, 1.0, None), Saved(b"half", 0.5), DEAD], ["done"]])
    summary, told = play(script, 1, 2)
    assert [task.checkpoint for task in script.tasks if task.config.train.seed == 1] == [None, b"half"]
    assert ("retry", "the worker died", 2) in told
    (line,) = store.read(config(1)).retries
    assert line.startswith("attempt 1, 20") and line.endswith("the worker died")
    assert store.read(config(2)).retries == () and len(summary.done) == 2 and script.closed
    assert not Checkpoints(store).exists(config(1))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_run_that_is_always_lost_is_given_up(play, store, retries):
    script = Script(s1=[[Begun(), DEAD]] * 9)
    summary, _ = play(script, 1, 2, retries=retries)
    record = store.read(config(1))
    assert record.lost and record.error == "the worker died" and len(record.retries) == retries + 1
    assert len(summary.failed) == 1 and len(summary.done) == 1
    assert sum(task.config.train.seed == 1 for task in script.tasks) == retries + 1


def tries(script, seed):
    return sum(task.config.train.seed == seed for task in script.tasks)


def test_a_loss_of_all_is_not_counted_as_a_run_s_own(play, store):
    everything = Lost("Ray was lost", 2.0, blameless=True)
    script = Script(s1=[[Saved(b"half", 0.5), everything], [everything], [everything], ["done"]])
    summary, told = play(script, 1, 2, retries=0)
    assert len(summary.done) == 2 and tries(script, 1) == 4 and script.tasks[-1].checkpoint == b"half"
    assert [line.rpartition(": ")[2] for line in store.read(config(1)).retries] == ["Ray was lost"] * 3
    assert not any(kind == "retry" for kind, *_ in told)  # one line for all of them is told by others


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "never begun"])
def test_the_first_few_that_all_die_end_the_launch(play, store, begun):
    attempt = [Begun(), DEAD] if begun else [DEAD]
    script = Script(slots=1, **{f"s{seed}": [attempt] * 9 for seed in range(1, 10)})
    summary, told = play(script, *range(1, 10), retries=1)
    assert [task.config.train.seed for task in script.tasks] == [1, 1, 2, 2, 3, 3]
    assert summary.stopped == "3 runs in a row did not live to a first step (the worker died)"
    assert summary.in_vain == begun and summary.done == ()
    records = {result.config.train.seed: result for result in store.results()[0]}
    # what died in code that it had a part in may be to blame; of what has not come so far there is nothing to record
    assert set(records) == ({1, 2, 3} if begun else set()) and all(each.lost for each in records.values())
    assert {c.train.seed for c in summary.left} == set(range(1, 10)) - set(records)
    assert len(summary.failed) == len(records)


def test_a_single_run_that_never_begins_is_not_failed(play, store):
    summary, _ = play(Script(s1=[[DEAD]] * 9), 1, retries=2)
    assert len(summary.left) == 1 and summary.failed == () and store.results() == ([], []) and not summary.in_vain
    assert summary.stopped == "1 run in a row did not live to a first step (the worker died)"


def test_one_step_of_any_run_shows_that_the_others_died_by_themselves(play, store):
    script = Script(slots=1, s1=[[DEAD]] * 9, s2=[[DEAD]] * 9, s3=[[STEP, "done"]], s4=[[DEAD]] * 9, s5=[["done"]])
    summary, told = play(script, 1, 2, 3, 4, 5, retries=0)
    assert {result.config.train.seed for result in summary.failed} == {1, 2, 4} and len(summary.done) == 2
    assert summary.left == () and summary.stopped == ""
    order = [event for event in told if event[0] in ("failed", "done")]
    assert order == [("failed", 1), ("failed", 2), ("done", 3), ("failed", 4), ("done", 5)]


@pytest.mark.parametrize("last", ["done", Saved(b"half", 0.5)], ids=["done", "on its way"])
def test_what_runs_is_let_run_and_may_prove_that_runs_can(play, store, last):
    deaths = {f"s{seed}": [[DEAD]] * 9 for seed in range(2, 7)}
    script = Script(slots=4, turn=-1, s1=[[Begun(), Note("slow"), last, "done"][: 3 + (last != "done")]], **deaths)
    summary, _ = play(script, *range(1, 8), retries=0)
    # the fourth to sixth had died before it stepped, so that the seventh was begun only after that
    assert [task.config.train.seed for task in script.tasks] == list(range(1, 8))
    assert {result.config.train.seed for result in summary.failed} == set(range(2, 7))
    assert {result.config.train.seed for result in summary.done} == {1, 7} and summary.stopped == ""


def test_after_those_that_died_another_mixer_has_its_turn_first(play, store, monkeypatch):
    deaths = {f"s{seed}": [[Begun(), DEAD]] * 9 for seed in range(1, 5)}
    script = Script(slots=1, **deaths)
    monkeypatch.setattr(sweep, "_make", lambda *_: script)
    other = RunConfig(sweep="grid", mixer="another", train={"seed": 9})
    summary = launch([*map(config, range(1, 5)), other], store, retries=0)
    assert [task.config.train.seed for task in script.tasks] == [1, 9, 2, 3, 4]
    assert summary.done[0].config == other and len(summary.failed) == 4
    assert summary.left == () and summary.stopped == "" and not summary.in_vain  # it got to the end


def test_when_there_is_nothing_to_execute_runs_with_they_are_left(play, store):
    class Gone(Script):
        def poll(self, tell):
            of, events = self.under_way[0]
            if events == deque(["gone"]):
                tell(of.run_id, Lost("Ray was lost", 1.0, blameless=True))
                raise GaveUp("there is no Ray any more")
            super().poll(tell)

    script = Gone(slots=1, s2=[["gone"]])
    summary, _ = play(script, 1, 2, 3)
    assert summary.stopped == "there is no Ray any more" and not summary.in_vain and script.closed
    assert [c.train.seed for c in summary.left] == [2, 3] and len(summary.done) == 1 and summary.failed == ()


def test_while_no_slot_is_there_the_executor_is_asked_and_may_speak(play):
    class Late(Script):
        def poll(self, tell):
            if self.slots:
                super().poll(tell)
            else:
                tell("", Note("not yet"))
                self.slots = 1

    summary, told = play(Late(slots=0), 1)
    assert len(summary.done) == 1 and ("note", "not yet") in told


def test_a_run_that_fails_is_not_tried_again_in_the_same_launch(play, store):
    failed = failure(config(1), "ValueError: no", "trace", MADE.started_at)
    script = Script(s1=[[Saved(b"half", 0.5), failed], ["done"]])
    summary, _ = play(script, 1)
    assert len(script.tasks) == 1 and len(summary.failed) == 1 and not store.read(config(1)).lost
    assert not Checkpoints(store).exists(config(1))  # what made it fail may be in it
    assert len(play(script, 1)[0].done) == 1


def test_out_of_memory_means_fewer_at_a_time(play):
    script = Script(slots=3, s1=[[Lost("out of memory", 1.0, out_of_memory=True)]])
    _, told = play(script, 1, 2, 3, 4)
    assert script.most == 3 and ("note", "out of memory: from here on at most 2 at a time") in told
    script = Script(slots=1, s1=[[Lost("out of memory", 1.0, out_of_memory=True)]])
    summary, _ = play(script, 1, force=True)
    assert len(summary.done) == 1


def test_a_checkpoint_of_other_code_is_not_used_and_it_is_said(play, store, monkeypatch):
    checkpoints = Checkpoints(store)
    store.check_writable(config(1))
    checkpoints.write(config(1), b"half")
    assert checkpoints.read(config(1)) == (b"half", "")
    for path, content in ((checkpoints.path(config(1)), b'{"code": "old"}\nhalf'), (checkpoints.path(config(2)), b"{")):
        path.write_bytes(content)
    script = Script()
    _, told = play(script, 1, 2, 3)
    assert [task.checkpoint for task in script.tasks] == [None, None, None]
    notes = [text for kind, text in (t for t in told if t[0] == "note")]
    assert "starts from scratch: its checkpoint was made by other code" in notes
    assert "starts from scratch: its checkpoint is none of ours, or cut off" in notes and len(notes) == 2


def test_notes_of_a_run_are_handed_on(play):
    _, told = play(Script(s1=[[Note("something"), "done"]]), 1)
    assert ("note", "something") in told


def test_without_room_for_checkpoints_runs_go_on(play, store, monkeypatch):
    def refuse(*_):
        raise StoreError("no space")

    monkeypatch.setattr(Checkpoints, "write", refuse)
    summary, told = play(Script(s1=[[Saved(b"a", 0.1), Saved(b"b", 0.2), "done"]]), 1)
    assert len(summary.done) == 1
    assert [t for t in told if t[0] == "note"] == [("note", "goes on without checkpoints: no space")]


def test_without_room_for_a_record_the_launch_ends_and_keeps_what_it_has(play, store, monkeypatch):
    write, script = Store.write, Script(slots=1)

    def fill(self, result):
        if result.config.train.seed == 2:
            raise StoreError("cannot write: No space left on device")
        return write(self, result)

    monkeypatch.setattr(Store, "write", fill)
    with pytest.raises(StoreError, match="No space left"):
        play(script, 1, 2, 3)
    assert [r.config.train.seed for r in store.results()[0]] == [1] and script.closed


def test_when_the_time_is_over_runs_pause_and_the_rest_is_left(play, store, clock):
    class Slow(Script):
        def poll(self, tell):
            time.sleep(0.3)
            super().poll(tell)

    budget = Budget(1.0)  # half of which is kept for stopping
    script = Slow(s1=[[Progress(0.5, 0, 1.0, None), Paused(b"half", 0.5)]])
    summary, told = play(script, 1, 2, 3, budget=budget)
    assert all(0.3 < task.seconds <= 0.5 for task in script.tasks)
    assert summary.paused == 1 and [c.train.seed for c in summary.left] == [3, 1]
    assert [c.train.seed for c in (r.config for r in summary.done)] == [2] and ("pause", 0.5) in told
    assert Checkpoints(store).read(config(1)) == (b"half", "")
    script = Script()
    summary, _ = play(script, 1, 2, 3)
    assert len(summary.done) == 2 and script.tasks[0].checkpoint == b"half"
    assert script.tasks[0].seconds is None


def test_no_run_is_begun_that_would_not_fit(play, store, clock):
    store.write(done(config(1), seconds=8.0))  # it takes 8 s, and 7 are left
    script = Script()
    summary, _ = play(script, 1, 2, budget=Budget(10.0))
    assert script.tasks == [] and [c.train.seed for c in summary.left] == [2] and len(summary.skipped) == 1
    assert clock.slept == 0  # nothing to wait for
    summary, _ = play(script, 1, 2, budget=Budget(20.0))
    assert len(summary.done) == 1 and summary.left == ()


def test_how_a_run_was_chosen_is_in_its_record(play, store):
    screen = ScreenRecord(epochs=1, keep=1, rivals={"0.1": 0.5, "1": None})
    play(Script(), 1, 2, screens={config(1).run_id: screen})
    assert store.read(config(1)).screen == screen and store.read(config(2)).screen is None
