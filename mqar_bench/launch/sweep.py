"""Run what the store does not hold yet, and record each run as soon as it ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mqar_bench.config import RunConfig
from mqar_bench.errors import UsageError
from mqar_bench.launch.budget import Budget, Durations
from mqar_bench.launch.checkpoints import Checkpoints
from mqar_bench.launch.claims import Claims
from mqar_bench.launch.executor import Event, Executor, Lost, Note, Paused, Saved, Task
from mqar_bench.launch.here import check_here
from mqar_bench.launch.watcher import Silent, Watcher
from mqar_bench.launch.worker import failure
from mqar_bench.result import RunResult, ScreenRecord, now
from mqar_bench.store import Store, StoreError
from mqar_bench.train import Progress

EXECUTORS = ("ray", "inline")
RETRIES = 2
#: How often to look whether runs of another process have ended.
ELSEWHERE_SECONDS = 1.0


@dataclass(frozen=True)
class Summary:
    """The records of a launch, by what became of the run; and the runs left when its time was over."""

    done: tuple[RunResult, ...] = ()
    skipped: tuple[RunResult, ...] = ()
    failed: tuple[RunResult, ...] = ()
    left: tuple[RunConfig, ...] = ()
    paused: int = 0


def launch(
    configs: Iterable[RunConfig],
    store: Store,
    executor: str = "ray",
    *,
    address: str | None = None,
    jobs: int | None = None,
    cpus_per_run: int | None = None,
    gpus_per_run: float | None = None,
    retries: int = RETRIES,
    budget: Budget | None = None,
    force: bool = False,
    screens: Mapping[str, ScreenRecord] | None = None,
    watcher: Watcher | None = None,
) -> Summary:
    """Execute the runs that are not done yet, in the order given; a failed run does not stop the others.

    Calling it again resumes: what is done is skipped, what was interrupted goes on from its checkpoint if it has one
    (runs of more than half a minute do), what failed runs from scratch. Runs that another process has under way are
    waited for, not executed twice; of runs that another sweep has done, the record is taken over.

    Args:
        configs: the runs; a run listed twice is executed once.
        store: where records are looked up and written, each as soon as its run ends.
        executor: ``ray``, in parallel, or ``inline``, one after another in this process.
        address: of a Ray cluster to join; by default a private Ray on this machine.
        jobs: most runs at a time, with ray; by default as many as fit.
        cpus_per_run: CPUs and torch threads of a run; by default 1 with ray, all of them inline.
        gpus_per_run: GPUs of a run, with ray; by default 1 where there is one and a run may use it, else 0.
        retries: how often a run is tried again whose process or machine died; one that raises is not.
        budget: when to stop: runs under way are stopped with a checkpoint, none is begun that would not fit.
        force: execute also what is done. A record that is done is replaced only by another such.
        screens: how runs were chosen among others, for their records, by run id.
        watcher: told how it goes.

    Raises:
        UsageError: the executor does not exist, is not installed, or cannot give what is asked; or a run asks for a
            device or an engine that this machine has not, where it is to be this one.
        StoreError: a record cannot be written; what was written before stays.
        KeyboardInterrupt: likewise, after the runs under way have been stopped.
    """
    if executor not in EXECUTORS:
        raise UsageError(f"no executor named {executor!r}: there is {', '.join(EXECUTORS)}")
    if retries < 0:
        raise UsageError(f"retries must be 0 or more, got {retries}")
    wanted: dict[str, RunConfig] = {}
    for config in configs:
        wanted.setdefault(config.run_id, config)
    known = {run_id: result for run_id, result in store.find(wanted.values()).items() if result.status == "done"}
    known |= _mark(store, known, wanted)
    if not force:
        known |= _adopt(store, [c for c in wanted.values() if c.run_id not in known], screens or {})
    skipped = () if force else tuple(known[run_id] for run_id in wanted if run_id in known)
    waiting = [c for c in wanted.values() if force or c.run_id not in known]
    if not waiting:
        return Summary(skipped=skipped)
    for config in {store.folder(config): config for config in waiting}.values():
        store.check_writable(config)
    if address is None:
        check_here(waiting)
    with ExitStack() as stack:
        watcher = watcher or Silent()
        stack.enter_context(closing(watcher))
        watcher.start(tuple(wanted.values()), len(skipped))
        claims = stack.enter_context(closing(Claims(store)))
        workers = stack.enter_context(closing(_make(executor, waiting, address, jobs, cpus_per_run, gpus_per_run)))
        loop = _Loop(waiting, store, claims, workers, watcher, known, retries, budget, force, screens or {})
        loop.durations = Durations(known.values())
        loop.run()
    return Summary(tuple(loop.done), skipped + tuple(loop.elsewhere), tuple(loop.failed), tuple(loop.left), loop.paused)


def _mark(store: Store, known: Mapping[str, RunResult], wanted: Mapping[str, RunConfig]) -> dict[str, RunResult]:
    """Records that are to say, from now on, what was left out of a run to make it one that is done."""
    marked = {}
    for run_id, result in known.items():
        ignored = {*result.config.ignored, *wanted[run_id].ignored}
        if len(ignored) > len(result.config.ignored):
            config = result.config.model_copy(update={"ignored": tuple(sorted(ignored))})
            marked[run_id] = result.model_copy(update={"config": config})
            store.write(marked[run_id])
    return marked


def _adopt(store: Store, configs: Sequence[RunConfig], screens: Mapping[str, ScreenRecord]) -> dict[str, RunResult]:
    """Record what is done under another sweep or scale also under those that the configs name."""
    adopted = {}
    same = store.same(configs)
    for config in configs:
        if result := same.get(config.run_id):
            adopted[config.run_id] = result.model_copy(update={"config": config, "screen": screens.get(config.run_id)})
            store.write(adopted[config.run_id])
    return adopted


@dataclass
class _Run:
    """A run that is not over yet."""

    config: RunConfig
    lost: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.config.run_id


class _Loop:
    """The runs of a launch on their way through the executor."""

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
    ) -> None:
        self.store, self.claims, self.workers, self.watcher = store, claims, workers, watcher
        self.known, self.retries, self.budget, self.force, self.screens = known, retries, budget, force, screens
        self.checkpoints = Checkpoints(store)
        self.durations = Durations()
        self.started = datetime.now(UTC)
        self.waiting = deque(_Run(config) for config in configs)
        self.running: dict[str, _Run] = {}
        self.taken: deque[_Run] = deque()  # by another process
        self.done: list[RunResult] = []
        self.failed: list[RunResult] = []
        self.elsewhere: list[RunResult] = []
        self.left: list[RunConfig] = []
        self.paused = 0
        self.most: int | None = None  # at a time, after a machine ran out of memory
        self.looked = time.monotonic()
        self.can_save = True

    def run(self) -> None:
        while self.waiting or self.running or self.taken:
            while len(self.running) < self._slots() and (run := self._next()) is not None:
                self._submit(run)
            if not self.running and self._is_over():
                break
            if self.running:
                self.workers.poll(self._hear)
            else:  # what is left is under way elsewhere, or waits for a machine
                time.sleep(ELSEWHERE_SECONDS)
            self._look_elsewhere()
        self.left = [run.config for run in (*self.waiting, *self.taken)] + self.left

    def _is_over(self) -> bool:
        """Whether nothing that waits will be begun any more, for lack of time."""
        if self.budget is None:
            return False
        return self.budget.left <= 0 or (bool(self.waiting) and self._slots() > 0)

    def _slots(self) -> int:
        return self.workers.slots if self.most is None else min(self.most, self.workers.slots)

    def _next(self) -> _Run | None:
        """The next run that can be begun now, claimed; it leaves the queue."""
        for run in list(self.waiting):
            if self.budget is not None and not self._has_room(run):
                continue
            self.waiting.remove(run)
            if self.claims.take(run.config):
                return run
            self.taken.append(run)
            if len(self.taken) == 1:
                self.watcher.note("", "another process is at work on some of these runs; they are waited for")
        return None

    def _has_room(self, run: _Run) -> bool:
        assert self.budget is not None
        return self.budget.has_room(self.durations.expect(run.config), self.checkpoints.exists(run.config))

    def _submit(self, run: _Run) -> None:
        if not self.force and (result := self._ended_elsewhere(run)) is not None:
            self._accept(run, result)
            return
        self.checkpoints.remove_torn(run.config)
        checkpoint, problem = self.checkpoints.read(run.config)
        if problem:
            self.watcher.note(run.id, f"starts from scratch: {problem}")
        seconds = None if self.budget is None else self.budget.left
        self.running[run.id] = run
        self.workers.submit(Task(run.config, checkpoint, seconds))

    def _hear(self, run_id: str, event: Event) -> None:
        run = self.running[run_id]
        match event:
            case Progress():
                self.watcher.progress(run_id, event)
            case Note():
                self.watcher.note(run_id, event.text)
            case Saved():
                self._save(run, event.checkpoint)
            case Paused():
                self._save(run, event.checkpoint)
                self._drop(run)
                self.left.append(run.config)
                self.paused += 1
                self.watcher.pause(run_id, event.fraction)
            case Lost():
                self._lose(run, event)
            case RunResult():
                self._record(run, event)

    def _save(self, run: _Run, checkpoint: bytes) -> None:
        try:
            self.checkpoints.write(run.config, checkpoint)
        except StoreError as error:  # records matter more: they may still fit
            if self.can_save:
                self.watcher.note(run.id, f"goes on without checkpoints: {error}")
            self.can_save = False

    def _lose(self, run: _Run, event: Lost) -> None:
        run.lost.append(f"attempt {len(run.lost) + 1}, {now()}: {event.reason}")
        if event.out_of_memory:
            self.most = max(1, len(self.running) - 1)
            self.watcher.note("", f"out of memory: from here on at most {self.most} at a time")
        if len(run.lost) > self.retries:
            attempts = "\n".join(run.lost)
            started_at = (datetime.now(UTC) - timedelta(seconds=event.seconds)).isoformat(timespec="seconds")
            result = failure(run.config, event.reason, attempts, started_at, event.seconds, lost=True)
            self._record(run, result)
            return
        del self.running[run.id]  # still claimed
        self.waiting.appendleft(run)
        self.watcher.retry(run.id, event.reason, len(run.lost) + 1)

    def _record(self, run: _Run, result: RunResult) -> None:
        result = result.model_copy(update={"retries": tuple(run.lost), "screen": self.screens.get(run.id)})
        if result.status == "done" or result.run_id not in self.known:
            self.store.write(result)
        self.checkpoints.remove(run.config)  # of a failed run too: what made it fail may be in it
        self._drop(run)
        self.durations.add(result)
        (self.done if result.status == "done" else self.failed).append(result)
        self.watcher.finish(result)

    def _drop(self, run: _Run) -> None:
        del self.running[run.id]
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

    def _ended_elsewhere(self, run: _Run) -> RunResult | None:
        """The record that another process has written of a run since this launch began: of a failure too."""
        result = self.store.own(run.config)
        if result is None or result.status == "done":
            return result
        ended = datetime.fromisoformat(result.provenance.started_at) + timedelta(seconds=result.seconds)
        return result if ended > self.started else None

    def _accept(self, run: _Run, result: RunResult) -> None:
        self.claims.release(run.config)
        (self.elsewhere if result.status == "done" else self.failed).append(result)
        self.watcher.finish(result)


def _make(
    executor: str,
    configs: Sequence[RunConfig],
    address: str | None,
    jobs: int | None,
    cpus_per_run: int | None,
    gpus_per_run: float | None,
) -> Executor:
    if executor == "ray":
        from mqar_bench.launch.ray_core import RayExecutor

        if gpus_per_run is None:
            gpus_per_run = _default_gpus(configs)
        return RayExecutor(configs, address, jobs, cpus_per_run or 1, gpus_per_run)
    if jobs not in (None, 1) or gpus_per_run is not None or address is not None:
        raise UsageError(
            "the inline executor has one run at a time, here, and leaves the GPU to it:"
            " use ray, or no --jobs, --gpus-per-run, --address"
        )
    from mqar_bench.launch.inline import InlineExecutor

    return InlineExecutor(cpus_per_run)


def _default_gpus(configs: Iterable[RunConfig]) -> float:
    import torch

    wanted = any(config.train.device != "cpu" for config in configs)
    return 1.0 if wanted and torch.cuda.is_available() else 0.0
