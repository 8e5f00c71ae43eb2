"""The trackers of a launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult
from mqar_bench.tracking.base import Tracker
from mqar_bench.tracking.follow import Describe, Follower
from mqar_bench.training.session import Measured

#: How long a tracker is waited for when all runs are over; Weights & Biases may have much to upload.
CLOSE_SECONDS = 90.0


class Tracking:
    """All that are told of the runs of a launch. No call waits for a tracker, but for ``close``, nor raises what one
    raises.

    Args:
        trackers: by name, what makes one, as ``load_tracker`` gives it.
        describe: a run, after so many steps that are done, as its tracker is told of it.
        note: told of what fails: a run's id and a line.
    """

    def __init__(
        self, trackers: Mapping[str, Callable[[], Tracker]], describe: Describe, note: Callable[[str, str], None]
    ) -> None:
        self._followers = [Follower(name, make, describe) for name, make in trackers.items()]
        self._note = note

    def __bool__(self) -> bool:
        return bool(self._followers)

    def measure(self, config: RunConfig, measured: Measured) -> None:
        """A run has come so far."""
        for follower in self._followers:
            follower.measure(config, measured)
        self._pass_on()

    def end(self, result: RunResult) -> None:
        """A run is over."""
        for follower in self._followers:
            follower.end(result)
        self._pass_on()

    def pause(self, run_id: str) -> None:
        """A run has stopped, and can go on another time."""
        for follower in self._followers:
            follower.pause(run_id)
        self._pass_on()

    def close(self) -> None:
        """Pause what is under way, and wait for the trackers; a second Ctrl-C waits no longer."""
        for follower in self._followers:
            follower.close(CLOSE_SECONDS)
        self._pass_on()

    def _pass_on(self) -> None:
        """What the trackers' threads have to say, from the one that may speak."""
        for follower in self._followers:
            while not follower.notes.empty():
                self._note(*follower.notes.get())
