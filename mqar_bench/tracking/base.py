"""What a tracker is, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mqar_bench.config import RunConfig
from mqar_bench.records.flat import flat_config

JobType = Literal["train", "screen"]


@dataclass(frozen=True)
class TrackedRun:
    """A run that is about to be trained, or to go on.

    Args:
        config: what it is; ``config.run_id`` names it.
        name: for people.
        group: its sweep and scale.
        job_type: ``train``, or ``screen`` for a short run of a screening.
        folder: where its record will be; not made yet.
        step: steps done before this launch; what was measured in them is logged again, first.
    """

    config: RunConfig
    name: str
    group: str
    job_type: JobType
    folder: Path
    step: int

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its dotted path, ``model.mixers.1.options.top_k``."""
        return flat_config(self.config)


@dataclass(frozen=True)
class Point:
    """What is known of a run after ``step`` steps. Points come in the order of ``index``, from 0, the same ones however
    often the run was interrupted; those of one step may be several."""

    index: int
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Ending:
    """How a run ended: ``paused`` if it can go on another time. ``summary`` has what it came to, flat, and
    ``record`` the whole record as JSON; a paused run has neither."""

    status: Literal["done", "failed", "paused"]
    step: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    record: str = ""


class Tracker(Protocol):
    """Follows one run, of which there may be several at a time, each with a tracker of its own.

    Everything is called from one thread that is not the one of training; it must leave the global generators of torch
    and numpy alone. What it raises is said, and the run goes on without it.
    """

    def start(self, run: TrackedRun) -> None:
        """Before anything else."""

    def log(self, point: Point) -> None:
        """Soon after the step."""

    def finish(self, ending: Ending) -> None:
        """Nothing comes after this."""
