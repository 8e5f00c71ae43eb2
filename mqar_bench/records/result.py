"""What a run leaves behind: ``RunResult``, with everything needed to trust or repeat it."""

from __future__ import annotations

import math
import platform
from datetime import UTC, datetime
from typing import Literal

import torch
from pydantic import Field, model_validator

from mqar_bench.basics.frozen import Frozen
from mqar_bench.basics.machine.hardware import device_name
from mqar_bench.basics.machine.software import git_state, package_versions
from mqar_bench.basics.notebook import html_table, svg_curve
from mqar_bench.config import RunConfig
from mqar_bench.records.capacity import RECALLED, accuracy_by_pairs, find_capacity

#: Version of the record's form. Earlier ones are read too (``records.upgrade``), later ones are refused.
SCHEMA_VERSION = 4


class Epoch(Frozen):
    """What one epoch gave: mean training loss, then, of the settings that guide training, accuracy as the uniform mean
    and for each, and the mean cross-entropy in nats of those whose task keeps it."""

    epoch: int
    loss: float
    accuracy: float
    settings: dict[str, float]
    losses: dict[str, float] = Field({}, exclude_if=lambda losses: not losses)

    @property
    def guide_loss(self) -> float | None:
        """The uniform mean of ``losses``; None where there are none, as in records of before they were kept."""
        return sum(self.losses.values()) / len(self.losses) if self.losses else None


class Curve(Frozen):
    """Training step by step: means over windows of steps, 200 of them at most (``training.curve`` says which).

    ``steps`` and ``tokens`` are how many each window has, ``loss`` is the mean of its steps, ``accuracy`` the share of
    supervised positions answered right at its 1st, 5th, 9th ... step: in training, so of the weights before the step
    and with dropout. Means have five significant digits.
    """

    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> Curve:
        if len({len(self.steps), len(self.tokens), len(self.loss), len(self.accuracy)}) > 1:
            raise ValueError("a curve has one number of each kind a window")
        return self


class Provenance(Frozen):
    """What produced the numbers."""

    device: str
    threads: int
    python: str
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    started_at: str


class ScreenRecord(Frozen):
    """How the run's learning rate was chosen: ``keep`` of several went on after ``epochs`` of training.

    ``rivals`` are all that competed, as text, with what each reached by then on the settings that guide training;
    ``by`` that they were told apart: the accuracy, or, of tasks that keep it, the loss in nats. None where one failed.
    ``runs`` has the run id of each, and ``seed`` is theirs; records of before say neither.
    """

    epochs: int
    keep: int
    rivals: dict[str, float | None]
    by: Literal["accuracy", "loss"] = Field("accuracy", exclude_if=lambda by: by == "accuracy")
    runs: dict[str, str] = {}
    seed: int | None = None


class RunResult(Frozen):
    """The record of a run. Sizes are elements per sequence; seconds are wall time, over all pieces of the run.

    ``resumed`` is how often training went on from a checkpoint, ``retries`` has a line for every attempt that was
    lost. ``losses`` are mean cross-entropies in nats, of the test settings whose task keeps them. ``curve`` is missing
    where a run failed, and in records of before there was one. A failed run is ``lost`` where it did not fail itself:
    its process or machine died.
    """

    schema_version: Literal[4] = 4
    run_id: str
    status: Literal["done", "failed"]
    config: RunConfig
    provenance: Provenance
    epochs: tuple[Epoch, ...] = ()
    curve: Curve | None = None
    accuracy: float | None = None
    settings: dict[str, float] = {}
    losses: dict[str, float] = Field({}, exclude_if=lambda losses: not losses)
    state_size: int | None = None
    active_state_size: int | None = None
    num_parameters: int | None = None
    steps: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None
    traceback: str | None = None
    lost: bool = False
    resumed: int = 0
    retries: tuple[str, ...] = ()
    screen: ScreenRecord | None = None

    def facts(self) -> list[tuple[str, str]]:
        """What came of the run, as pairs of text: accuracy, capacity, state and time;
        or what it failed of."""
        rows = []
        if self.error:
            rows.append(("lost" if self.lost else "error", self.error.partition("\n")[0]))
        if self.accuracy is not None:
            rows.append(("accuracy", f"{self.accuracy:.3f}"))
        if capacity := find_capacity(accuracy_by_pairs(self.config, self.settings)):
            bound = {"above": "at least ", "below": "at most ", "": ""}[capacity.censored]
            rows.append(("capacity", f"{bound}{capacity.pairs:.4g} pairs at {RECALLED}"))
        rows += [(f"perplexity of {name}", f"{math.exp(loss):.4g}") for name, loss in self.losses.items()]
        if self.state_size is not None:
            rows.append(("state", f"{self.state_size:,} elements"))
        return [*rows, ("time", f"{self.seconds:.1f} s")]

    def __repr__(self) -> str:
        config, facts = self.config, ", ".join(f"{name} {text}" for name, text in self.facts())
        return f"<RunResult {self.run_id} {self.status} {config.sweep}/{config.scale} {config.mixer}: {facts}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        config, guide = self.config, "validation" if self.config.data.validation else "test"
        scored = [(f"accuracy on {name}", f"{accuracy:.3f}") for name, accuracy in self.settings.items()]
        chart = svg_curve([epoch.accuracy for epoch in self.epochs], f"{guide} accuracy by epoch, from 0 to 1")
        title = f"run {self.run_id}, {self.status}: {config.mixer}, {config.sweep} at {config.scale}"
        return html_table(title, [*self.facts(), *scored, *config.facts()], chart)


def provenance(device: torch.device, started_at: str) -> Provenance:
    commit, dirty = git_state()
    return Provenance(
        device=device_name(device),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        versions=package_versions(),
        git_commit=commit,
        git_dirty=dirty,
        started_at=started_at,
    )


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
