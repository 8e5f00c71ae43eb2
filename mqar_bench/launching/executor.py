"""What a launch hands to an executor, and what it hears back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult
from mqar_bench.training.session import Measured, Progress


@dataclass(frozen=True)
class Task:
    """A run to execute: from scratch, or from a checkpoint; for at most so many seconds, if a number is given.

    ``save_every`` is the number of seconds from one checkpoint to the next; ``None`` for the usual one. With
    ``save_weights`` the trained weights are told before the record, with ``measure`` what is measured on the way.
    """

    config: RunConfig
    checkpoint: bytes | None = None
    seconds: float | None = None
    save_every: float | None = None
    save_weights: bool = False
    measure: bool = False


@dataclass(frozen=True)
class Begun:
    """A process has taken the run up: what comes after is about the run, not about how it was brought there."""


@dataclass(frozen=True)
class Saved:
    """A run can go on from here, should it be lost."""

    checkpoint: bytes
    fraction: float


@dataclass(frozen=True)
class Trained:
    """A run is over, and these are the bytes of its file of weights; its record comes next."""

    weights: bytes


@dataclass(frozen=True)
class Paused:
    """A run has used up its seconds, and can go on from here."""

    checkpoint: bytes
    fraction: float


@dataclass(frozen=True)
class Lost:
    """A run has ended without a record: its process or its machine is gone. The reason is one line.

    A ``blameless`` one says nothing about the run: what executes runs is gone, with all that were under way.
    """

    reason: str
    seconds: float
    out_of_memory: bool = False
    blameless: bool = False


@dataclass(frozen=True)
class Note:
    """Something that people should know of a run that goes on, or, told with no run's id, of all of them."""

    text: str


#: The last three end a run.
Event = Begun | Progress | Measured | Saved | Trained | Note | Paused | Lost | RunResult

Tell = Callable[[str, Event], None]


class GaveUp(RuntimeError):
    """Nothing can be executed any more, for a reason that is none of the runs'; one line."""


class Executor(Protocol):
    """Where runs are executed. Whatever goes wrong in a run is an event, never an exception.

    What goes wrong with the executor is one of ``poll``: ``UsageError`` where it cannot begin, ``GaveUp`` later on.
    """

    @property
    def slots(self) -> int:
        """How many runs to submit at a time; may change, as machines come and go, and be 0."""

    def submit(self, task: Task) -> None:
        """Start a run, or queue it."""

    def poll(self, tell: Tell) -> None:
        """Wait a little, and tell of what happened: the run's id and the event, in order."""

    def close(self) -> None:
        """Stop everything."""
