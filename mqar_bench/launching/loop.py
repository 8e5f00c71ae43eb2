"""The runs of a launch on their way through an executor, and what becomes of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mqar_bench.config import RunConfig
from mqar_bench.launching.budget import Budget, Durations
from mqar_bench.launching.checkpoints import Checkpoints
from mqar_bench.launching.claims import Claims
from mqar_bench.launching.executor import Begun, Event, Executor, GaveUp, Lost, Note, Paused, Saved, Task, Trained
from mqar_bench.launching.watcher import Watcher
from mqar_bench.launching.worker import failure
from mqar_bench.records.result import RunResult, ScreenRecord, now
from mqar_bench.records.store import Store, StoreError
from mqar_bench.tracking import Tracking
from mqar_bench.training.session import Measured, Progress

#: How often to look whether runs of another process have ended.
ELSEWHERE_SECONDS = 1.0
#: So many runs, one after another, that are lost before their first step are enough: none after them fares better.
FEW = 3


@dataclass
class Run:
    """A run that is not over yet.

    ``lost`` has a line for each attempt that was lost, of which ``tries`` were not for the loss of all that ran; in one
    of them the run was ``begun``, and in the last it had ``stepped``. ``weights`` have come, and its record not yet.
    """

    config: RunConfig
    lost: list[str] = field(default_factory=list)
    tries: int = 0
    begun: bool = False
    stepped: bool = False
    weights: bytes | None = None

    @property
    def id(self) -> str:
        return self.config.run_id


class Loop:
    """The runs of a launch on their way through the executor.

    A run that is lost before its first step, as often as it may be, says little: it may be the run that kills its
    process, or a machine on which none can live. The next run that comes to its first step decides: then those before
    it are recorded as failed. If ``FEW`` have gone that way, of other mixers where there are any, and none has come to
    a step since, no more are begun, and what is left is left undone. The few are recorded as failed only if each of
    them was begun, that is, died in code that it had a part in; where a process did not come so far, there is nothing
    to record of the run.
    """

    def __init__(
        self,
        configs: Iterable[RunConfig],
        store: Store,
        claims: Claims,
        workers: Executor,
        watcher: Watcher,
        known: Mapping[str, RunResult],
        retries: int,
        budget: Budget | None,
        force: bool,
        screens: Mapping[str, ScreenRecord],
        save_weights: bool = False,
        retrain: bool = False,
        tracking: Tracking | None = None,
    ) -> None:
        self.store, self.claims, self.workers, self.watcher = store, claims, workers, watcher
        self.known, self.retries, self.budget, self.force, self.screens = known, retries, budget, force, screens
        self.save_weights, self.retrain, self.tracking = save_weights, retrain, tracking
        self.checkpoints = Checkpoints(store)
        self.durations = Durations()
        self.started = datetime.now(UTC)
        self.waiting = deque(Run(config) for config in configs)
        self.running: dict[str, Run] = {}
        self.taken: deque[Run] = deque()  # by another process
        self.done: list[RunResult] = []
        self.failed: list[RunResult] = []
        self.elsewhere: list[RunResult] = []
        self.undecided: list[tuple[Run, Lost]] = []
        self.left: list[RunConfig] = []
        self.stopped = ""  # for another reason than that the time is over
        self.in_vain = False  # whether it will be the same again
        self.paused = 0
        self.most: int | None = None  # at a time, after a machine ran out of memory
        self.looked = time.monotonic()
        self.can_save = True

    def run(self) -> None:
        try:
            while self.running or ((self.waiting or self.taken) and not self.stopped):
                while not self.stopped and len(self.running) < self._slots() and (run := self._next()) is not None:
                    self._submit(run)
                if not self.running and self._is_over():
                    break
                if self.running or (self.waiting and not self._slots()):
                    self.workers.poll(self._hear)
                else:  # what is left is under way elsewhere
                    time.sleep(ELSEWHERE_SECONDS)
                self._look_elsewhere()
            self._decide()
        except GaveUp as error:
            self.stopped = str(error)
        rest = (*self.waiting, *self.taken, *(run for run, _ in self.undecided))
        self.left = [run.config for run in rest] + self.left
        if not self.left:
            self.stopped, self.in_vain = "", False

    def _is_over(self) -> bool:
        """Whether nothing that waits will be begun any more, for lack of time."""
        if self.budget is None:
            return False
        return self.budget.left <= 0 or (bool(self.waiting) and self._slots() > 0)

    def _slots(self) -> int:
        return self.workers.slots if self.most is None else min(self.most, self.workers.slots)

    def _next(self) -> Run | None:
        """The next run that can be begun now, claimed; it leaves the queue."""
        mixers = {run.config.mixer for run, _ in self.undecided}
        for run in sorted(self.waiting, key=lambda run: run.config.mixer in mixers):
            if self.budget is not None and not self._has_room(run):
                continue
            self.waiting.remove(run)
            if self.claims.take(run.config):
                return run
            self.taken.append(run)
            if len(self.taken) == 1:
                self.watcher.note("", "another process is at work on some of these runs; they are waited for")
        return None

    def _has_room(self, run: Run) -> bool:
        assert self.budget is not None
        return self.budget.has_room(self.durations.expect(run.config), self.checkpoints.exists(run.config))

    def _submit(self, run: Run) -> None:
        if not self.force and (result := self._ended_elsewhere(run)) is not None:
            self._accept(run, result)
            return
        self.checkpoints.remove_torn(run.config)
        checkpoint, problem = self.checkpoints.read(run.config)
        if problem:
            self.watcher.note(run.id, f"starts from scratch: {problem}")
        seconds = None if self.budget is None else self.budget.left
        self.running[run.id], run.stepped, run.weights = run, False, None
        task = Task(run.config, checkpoint, seconds, save_weights=self.save_weights, measure=bool(self.tracking))
        self.workers.submit(task)

    def _hear(self, run_id: str, event: Event) -> None:
        if isinstance(event, Note):
            self.watcher.note(run_id, event.text)
            return
        run = self.running[run_id]
        if isinstance(event, Progress | Saved | Trained | Paused | RunResult) and not run.stepped:
            run.stepped = True
            self._record_undecided()  # it was not the machine, then
            self.stopped = ""
        match event:
            case Begun():
                run.begun = True
            case Progress():
                self.watcher.progress(run_id, event)
            case Measured():
                if self.tracking:
                    self.tracking.measure(run.config, event)
            case Saved():
                self._save(run, event.checkpoint)
            case Trained():
                run.weights = event.weights
            case Paused():
                self._save(run, event.checkpoint)
                self._drop(run)
                self.left.append(run.config)
                self.paused += 1
                if self.tracking:
                    self.tracking.pause(run_id)
                self.watcher.pause(run_id, event.fraction)
            case Lost():
                self._lose(run, event)
            case RunResult():
                self._record(run, event)

    def _save(self, run: Run, checkpoint: bytes) -> None:
        try:
            self.checkpoints.write(run.config, checkpoint)
        except StoreError as error:  # records matter more: they may still fit
            if self.can_save:
                self.watcher.note(run.id, f"goes on without checkpoints: {error}")
            self.can_save = False

    def _lose(self, run: Run, event: Lost) -> None:
        run.lost.append(f"attempt {len(run.lost) + 1}, {now()}: {event.reason}")
        if event.out_of_memory:
            self.most = max(1, len(self.running) - 1)
            self.watcher.note("", f"out of memory: from here on at most {self.most} at a time")
        del self.running[run.id]  # still claimed
        run.tries += not event.blameless
        if run.tries <= self.retries:
            self.waiting.appendleft(run)
            if event.blameless:
                self.watcher.drop(run.id)
            else:
                self.watcher.retry(run.id, event.reason, len(run.lost) + 1)
        elif run.stepped:
            self._record_lost(run, event)
        else:
            self.watcher.drop(run.id)
            self.undecided.append((run, event))
            if len(self.undecided) == FEW:
                self.stopped = self._describe_undecided()

    def _decide(self) -> None:
        """What to record, now that nothing is begun any more, of runs that were lost before their first step."""
        if self.undecided and all(run.begun for run, _ in self.undecided):
            self.in_vain = bool(self.stopped)
            self._record_undecided()
        elif self.undecided:
            self.stopped = self._describe_undecided()

    def _describe_undecided(self) -> str:
        count = f"{len(self.undecided)} run{'s' if len(self.undecided) > 1 else ''} in a row"
        return f"{count} did not live to a first step ({self.undecided[-1][1].reason})"

    def _record_undecided(self) -> None:
        while self.undecided:
            self._record_lost(*self.undecided.pop(0))

    def _record_lost(self, run: Run, event: Lost) -> None:
        started_at = (datetime.now(UTC) - timedelta(seconds=event.seconds)).isoformat(timespec="seconds")
        result = failure(run.config, event.reason, "\n".join(run.lost), started_at, event.seconds, lost=True)
        self._record(run, result)

    def _record(self, run: Run, result: RunResult) -> None:
        result = result.model_copy(update={"retries": tuple(run.lost), "screen": self.screens.get(run.id)})
        if result.status == "done" and run.weights is not None:  # first, so that no record lacks them
            self.store.write_weights(run.config, run.weights)
        if result.status == "done" or result.run_id not in self.known:
            self.store.write(result)
        if self.tracking:
            self.tracking.end(result)
        self.checkpoints.remove(run.config)  # of a failed run too: what made it fail may be in it
        self._drop(run)
        self.durations.add(result)
        (self.done if result.status == "done" else self.failed).append(result)
        self.watcher.finish(result)

    def _drop(self, run: Run) -> None:
        self.running.pop(run.id, None)
        self.claims.release(run.config)

    def _look_elsewhere(self) -> None:
        """Whether runs that another process had are free by now: ended, or left behind."""
        if time.monotonic() - self.looked < ELSEWHERE_SECONDS:
            return
        self.looked = time.monotonic()
        for run in list(self.taken):
            if self.claims.take(run.config):
                self.taken.remove(run)
                if (result := self._ended_elsewhere(run)) is not None:
                    self._accept(run, result)
                else:
                    self.claims.release(run.config)
                    self.waiting.appendleft(run)

    def _ended_elsewhere(self, run: Run) -> RunResult | None:
        """The record that another process has written of a run since this launch began: of a failure too."""
        result = self.store.own(run.config)
        if result is None or result.status == "done":
            return None if self.retrain and not self._has_weights(run) else result
        ended = datetime.fromisoformat(result.provenance.started_at) + timedelta(seconds=result.seconds)
        return result if ended > self.started else None

    def _has_weights(self, run: Run) -> bool:
        return self.store.weights(run.config).is_file()

    def _accept(self, run: Run, result: RunResult) -> None:
        self.claims.release(run.config)
        if self.save_weights and result.status == "done" and not self._has_weights(run):
            self.watcher.note(run.id, "was done by another process, which kept no weights")
        (self.elsewhere if result.status == "done" else self.failed).append(result)
        self.watcher.finish(result)
