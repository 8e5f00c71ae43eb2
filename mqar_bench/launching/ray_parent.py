"""Runs in parallel with Ray, which is kept in a process of its own: whatever it does to that, the launch goes on."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.machine.processes import SEES_SESSIONS
from mqar_bench.config import RunConfig
from mqar_bench.launching.executor import Event, Executor, GaveUp, Lost, Note, Paused, Saved, Task, Tell
from mqar_bench.launching.ray_core import POLL_SECONDS, RayExecutor
from mqar_bench.launching.ray_process import Child, ChildLost, StartRefused
from mqar_bench.launching.ray_trouble import FULL_DISK, LITTLE_DISK, lack_of_space, unreachable
from mqar_bench.launching.silence import show_span
from mqar_bench.records.result import RunResult

#: Ray may be lost so often in a row; whatever a run leaves behind in between begins the count anew.
MOST_LOSSES = 3
#: For how long a cluster that was lost is tried again, and how long after one try the next one.
REJOIN_SECONDS, TRY_SECONDS = 300.0, 10.0


def make_ray(
    configs: Sequence[RunConfig], address: str | None, jobs: int | None, cpus_per_run: int, gpus_per_run: float
) -> Executor:
    """An executor with Ray: in this process where the calling program has initialised it, else in another one.

    Raises:
        UsageError: Ray is not installed, or what is asked cannot be.
    """
    settings = configs, address, jobs, cpus_per_run, gpus_per_run
    if gpus_per_run > 1 and gpus_per_run != int(gpus_per_run):
        raise UsageError(f"gpus per run must be at most 1, or whole, got {gpus_per_run:g}")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("ray is not installed: pip install ray, or use --executor inline")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return RayExecutor(*settings)
    return RayParent(*settings)


class RayParent:
    """See ``Executor``, and ``RayExecutor`` for the arguments: the parent of a process that has one.

    When that process is lost, by Ray's end or for any other reason, this is told in one line, the runs under way are
    lost without blame, and another one takes its place: with a new Ray, or on the same cluster as soon as it can be
    joined again. It gives up on the third loss in a row without a record or a checkpoint in between, and on a cluster
    that does not come back for five minutes.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        address: str | None,
        jobs: int | None,
        cpus_per_run: int,
        gpus_per_run: float,
    ) -> None:
        self._settings, self._address = (configs, address, jobs, cpus_per_run, gpus_per_run), address
        self._name = "Ray" if address is None else f"the Ray cluster at {address}"
        self._child: Child | None = None
        self._loss: ChildLost | None = None  # not told of yet
        self._losses = 0
        self._slots = 0
        self._running: dict[str, float] = {}  # since when
        self._next_try = self._lost_at = time.monotonic()
        self._was_there = False

    @property
    def slots(self) -> int:
        """0 while Ray starts, and while the cluster is away."""
        return self._slots

    def submit(self, task: Task) -> None:
        self._running[task.config.run_id] = time.monotonic()
        try:
            self._ask(_ignore, "draw", task.config.data, patiently=True)
            self._ask(_ignore, "submit", task)
        except ChildLost as loss:
            self._slots, self._loss = 0, loss

    def poll(self, tell: Tell) -> None:
        try:
            if self._loss is not None:
                raise self._loss
            if self._child is None:
                self._start_when_due()
            elif self._child.ready is None:
                self._wait(self._child, tell)
            else:
                self._ask(lambda run_id, event: self._pass_on(tell, run_id, event), "poll")
        except ChildLost as loss:
            self._recover(loss, tell)

    def close(self) -> None:
        if self._child is not None:
            # a cluster is left in good order; of our own Ray nothing is, where all of it can be seen
            self._child.end(politely=self._address is not None or not SEES_SESSIONS)

    def _ask(self, tell: Tell, *request: object, patiently: bool = False) -> None:
        assert self._child is not None
        self._slots = self._child.ask(tell, *request, patiently=patiently)

    def _pass_on(self, tell: Tell, run_id: str, event: Event) -> None:
        if isinstance(event, Saved | Paused | RunResult):
            self._losses = 0
        if isinstance(event, Paused | Lost | RunResult):
            self._running.pop(run_id, None)
        if isinstance(event, Lost) and (lack := self._lack_of_space()):
            event = replace(event, reason=f"{event.reason}; {lack}")
        tell(run_id, event)

    def _start_when_due(self) -> None:
        time.sleep(max(0.0, min(POLL_SECONDS, self._next_try - time.monotonic())))
        if time.monotonic() < self._next_try:
            return
        if self._was_there and (reason := self._is_away()):  # without the cost of a process
            raise ChildLost(reason)
        self._child = Child(self._settings)

    def _wait(self, child: Child, tell: Tell) -> None:
        if not child.wait(POLL_SECONDS):
            return
        assert child.ready is not None
        self._slots = child.ready.slots
        if self._was_there and self._address is not None:
            tell("", Note(f"joined {self._name} again"))
        elif not self._was_there and (lack := self._lack_of_space(LITTLE_DISK)):
            tell("", Note(f"{lack}: once it is full, no run can start"))
        self._was_there = True

    def _recover(self, loss: ChildLost, tell: Tell) -> None:
        """Tell of a loss and see to the next try; where there is none any more, give up."""
        child, self._child, self._loss, self._slots = self._child, None, None, 0
        if child is not None:
            child.end(politely=False)
        if isinstance(loss, StartRefused) and not self._was_there:
            raise UsageError(str(loss)) from loss
        why, now = str(loss), time.monotonic()
        if not isinstance(loss, StartRefused):  # which has said so
            why = "; ".join(filter(None, [self._is_away() or why, self._lack_of_space()]))
        if child is not None and child.ready is not None:
            self._losses += 1
            self._lost_at = self._next_try = now
            runs, self._running = self._running, {}
            if self._losses < MOST_LOSSES:
                tell("", Note(self._describe_loss(why, len(runs))))
            for run_id, since in reversed(runs.items()):  # each is put before all that wait
                tell(run_id, Lost(f"{self._name} was lost: {why}", now - since, blameless=True))
            if self._losses == MOST_LOSSES:
                logs = f"; its logs are in {child.ready.logs}" if child.ready.logs else ""
                in_vain = f"{MOST_LOSSES} times in a row without a record or a checkpoint in between"
                raise GaveUp(f"{self._name} was lost {in_vain}: {why}{logs}")
        elif self._address is not None and self._was_there:
            self._next_try = now + TRY_SECONDS
            if self._next_try > self._lost_at + REJOIN_SECONDS:
                raise GaveUp(f"{self._name} has not come back within {show_span(REJOIN_SECONDS)}: {why}")
        else:
            self._losses += 1
            self._next_try = now + TRY_SECONDS
            if not isinstance(loss, StartRefused):
                why = f"{self._name} did not start: {why}"
            if self._losses == MOST_LOSSES:
                raise GaveUp(f"{why} (tried {MOST_LOSSES} times)")
            tell("", Note(f"{why}; tried again in {TRY_SECONDS:.0f} s"))

    def _describe_loss(self, why: str, runs: int) -> str:
        back = f"{runs} run{'s go' if runs > 1 else ' goes'} back to the last checkpoint, and " if runs else ""
        again = "a new one starts" if self._address is None else f"it is tried again for {show_span(REJOIN_SECONDS)}"
        return f"{self._name} was lost ({why}): {back}{again}"

    def _is_away(self) -> str:
        return unreachable(self._address).lower() if self._address is not None else ""

    def _lack_of_space(self, least: int = FULL_DISK) -> str:
        """In the folder of our own Ray; what a cluster's machines have is not seen from here."""
        return lack_of_space(least) if self._address is None else ""


def _ignore(run_id: str, event: Event) -> None:
    """Nothing comes of it."""
