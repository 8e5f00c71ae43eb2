"""A tracker kept apart: in a thread of its own, where it may wait or fail as it likes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from mqar_bench.basics.errors import describe, one_line
from mqar_bench.config import RunConfig
from mqar_bench.records.flat import summarize
from mqar_bench.records.result import RunResult
from mqar_bench.tracking.base import Ending, TrackedRun, Tracker
from mqar_bench.tracking.points import Points
from mqar_bench.training.session import Measured

#: So many runs in a row of which a tracker fails are enough: it is not asked again.
FEW = 3
Describe = Callable[[RunConfig, int], TrackedRun]
Request = tuple[Callable[..., None], tuple]


@dataclass
class _Followed:
    """A run under way: its tracker, and how many of its points that has been told."""

    tracker: Tracker
    points: Points
    told: int = 0


class Follower:
    """Has the runs of a launch followed by trackers of one kind. Nothing that these do comes back, but a line in
    ``notes`` (a run's id and text) where one fails; its run is then followed no more.

    Args:
        name: what the trackers are called.
        make: makes one.
        describe: a run, after so many steps that are done, as its tracker is told of it.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], describe: Describe) -> None:
        self.name, self.notes = name, SimpleQueue[tuple[str, str]]()
        self._make, self._describe = make, describe
        self._requests = SimpleQueue[Request | None]()
        self._followed: dict[str, _Followed] = {}
        self._without: set[str] = set()
        self._failures = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name=f"track-{name}", daemon=True)
        self._thread.start()

    def measure(self, config: RunConfig, measured: Measured) -> None:
        """A run has come so far."""
        self._requests.put((self._measure, (config, measured)))

    def end(self, result: RunResult) -> None:
        """A run is over."""
        self._requests.put((self._end, (result,)))

    def pause(self, run_id: str) -> None:
        """A run has stopped, and can go on another time."""
        self._requests.put((self._pause, (run_id,)))

    def close(self, seconds: float) -> None:
        """Pause what is still under way, and wait for all that was asked, but no longer than this."""
        self._requests.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._is_closed = True
            self.notes.put(
                ("", f"{self.name} has not taken all that it was told within {seconds:.0f} s: left to itself")
            )

    def _serve(self) -> None:
        while (request := self._requests.get()) is not None and not self._is_closed:
            self._try(*request)
        for run_id in list(self._followed):
            self._try(self._pause, (run_id,))

    def _try(self, call: Callable[..., None], arguments: tuple) -> None:
        run_id = arguments[0] if isinstance(arguments[0], str) else arguments[0].run_id
        if run_id in self._without or self._failures == FEW:
            return
        try:
            call(*arguments)
        except BaseException as error:  # one of the user's own may call sys.exit
            self._followed.pop(run_id, None)
            self._without.add(run_id)
            self._failures += 1
            what = "runs go" if self._failures == FEW else "goes"
            often = f", as {FEW} in a row did" if self._failures == FEW else ""
            self.notes.put((run_id, f"{what} on without {self.name}{often}: {one_line(describe(error))}"))

    def _measure(self, config: RunConfig, measured: Measured) -> None:
        run = self._followed.get(config.run_id) or self._start(config, measured.since or 0)
        for point in run.points.add(measured):
            if point.index >= run.told:  # else it is from before an attempt that was lost
                run.tracker.log(point)
                run.told = point.index + 1

    def _start(self, config: RunConfig, step: int) -> _Followed:
        run = _Followed(self._make(), Points(config))
        run.tracker.start(self._describe(config, step))
        self._followed[config.run_id] = run
        return run

    def _end(self, result: RunResult) -> None:
        run = self._followed.get(result.run_id) or self._start(result.config, 0)
        for point in run.points.rest(result):
            run.tracker.log(point)
        step = result.steps or run.points.step
        run.tracker.finish(Ending(result.status, step, summarize(result), result.model_dump_json(indent=1)))
        self._close(result.run_id)

    def _pause(self, run_id: str) -> None:
        if (run := self._followed.get(run_id)) is not None:
            run.tracker.finish(Ending("paused", run.points.step))
            self._close(run_id)

    def _close(self, run_id: str) -> None:
        del self._followed[run_id]
        self._failures = 0
