"""Who is told how a launch goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult
from mqar_bench.training.session import Progress


class Watcher(Protocol):
    """Who is told how a launch goes."""

    def start(self, configs: Sequence[RunConfig], skipped: int) -> None:
        """These are the runs; so many of them are done already, the others are about to be executed."""

    def progress(self, run_id: str, progress: Progress) -> None:
        """A run has come this far."""

    def note(self, run_id: str, text: str) -> None:
        """Something has happened to a run that goes on, or, where the id is empty, to the launch."""

    def retry(self, run_id: str, reason: str, attempt: int) -> None:
        """A run was lost and will be tried again, for the second, third, ... time."""

    def drop(self, run_id: str) -> None:
        """A run is not under way any more; why, and what becomes of it, is told at another time."""

    def pause(self, run_id: str, fraction: float) -> None:
        """A run has stopped for now, as the time is over; its checkpoint is written."""

    def finish(self, result: RunResult) -> None:
        """A run has ended, done or failed, here or in another process."""

    def close(self) -> None:
        """It is over, one way or another."""


class Silent:
    """A watcher that says nothing."""

    def start(self, configs: Sequence[RunConfig], skipped: int) -> None: ...
    def progress(self, run_id: str, progress: Progress) -> None: ...
    def note(self, run_id: str, text: str) -> None: ...
    def retry(self, run_id: str, reason: str, attempt: int) -> None: ...
    def drop(self, run_id: str) -> None: ...
    def pause(self, run_id: str, fraction: float) -> None: ...
    def finish(self, result: RunResult) -> None: ...
    def close(self) -> None: ...
