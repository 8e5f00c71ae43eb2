"""A run under way, seen from outside the model: what it counts, tells, keeps, and whether it is to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mqar_bench.config import RunConfig, TrainConfig
from mqar_bench.records.result import Epoch
from mqar_bench.training.checkpoint import Snapshot, Tally, encode, restore, snapshot
from mqar_bench.training.curriculum import Curriculum
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.scoring import Scores


class Divergence(RuntimeError):
    """The loss stopped being a number."""


class Stopped(RuntimeError):
    """The run was asked to stop; ``checkpoint`` goes on from there, ``step`` and ``fraction`` say how far it is."""

    def __init__(self, checkpoint: bytes, step: int, fraction: float) -> None:
        super().__init__(f"stopped after step {step}")
        self.checkpoint, self.step, self.fraction = checkpoint, step, fraction

    def __reduce__(self) -> tuple:  # the default would rebuild it from the message alone
        return Stopped, (self.checkpoint, self.step, self.fraction)


@dataclass(frozen=True)
class Progress:
    """How far a run is: sent about once a second while training, and after every epoch with its accuracy."""

    fraction: float
    epoch: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Measured:
    """What a run has measured since this was told last: at once when a window of its learning curve ends (its steps,
    tokens, mean loss and accuracy, as in ``records.result.Curve``) and when an epoch is scored.

    What is told first, before any step, is all that is in the checkpoint that the run goes on from; it alone has
    ``since``, the steps done by then.
    """

    windows: tuple[tuple[int, int, float, float], ...]
    epochs: tuple[Epoch, ...]
    total_steps: int
    since: int | None = None


@dataclass(frozen=True)
class Company:
    """Who goes along with a run: see ``fit`` for what each of them is told or asked."""

    report: Callable[[Progress], None] | None = None
    measure: Callable[[Measured], None] | None = None
    save: Callable[[bytes], None] | None = None
    save_every: float = 30.0
    stop: Callable[[], bool] | None = None


class Session:
    """Counts (``tally``) what training does, and between two steps reports, saves and stops it as the company wants.

    Begins where ``checkpoint`` ends, which is put into model, optimizer and curriculum.
    """

    def __init__(
        self,
        config: RunConfig,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
        tally: Tally,
        curriculum: Curriculum,
        company: Company,
        checkpoint: bytes | None,
    ) -> None:
        self.config, self.model, self.optimizer, self.company = config, model, optimizer, company
        self.tally, self.curriculum = tally, curriculum
        if checkpoint is not None:
            self.tally, curriculum.best = restore(checkpoint, config.run_id, model, optimizer)
            self.tally.since = tally.since
        self.reported = self.saved = time.monotonic()
        self.measured = 0, 0  # windows and epochs
        self._measure(since=self.tally.step)

    @property
    def is_over(self) -> bool:
        """Whether the last epoch that was scored is the last there is, or good enough."""
        return bool(self.tally.epochs) and is_last(self.tally.epochs[-1], self.config.train)

    def check(self, loss: float) -> None:
        """
        Raises:
            Divergence: the loss of the step under way is no number.
        """
        if not math.isfinite(loss):
            raise Divergence(f"the loss is {loss} at step {self.tally.step} (epoch {self.tally.epoch})")

    def end_step(self, tokens: int, loss: float) -> None:
        """Count a step; then there may be a pause."""
        self.tally.add_batch(tokens, loss, self.config.train.max_epochs)
        if self.company.report and time.monotonic() - self.reported > 1:
            self.reported = time.monotonic()
            accuracy = self.tally.epochs[-1].accuracy if self.tally.epochs else None
            self.company.report(Progress(self.tally.fraction, self.tally.epoch, loss, accuracy))
        self._measure()
        self._pause(training=True)

    def end_epoch(self, scores: Scores) -> None:
        """Count an epoch and its scores; unless it was the last, the curriculum goes on, and there may be a pause."""
        epoch = self.tally.close_epoch(scores)
        if self.company.report:
            self.company.report(Progress(self.tally.fraction, epoch.epoch, epoch.loss, epoch.accuracy))
        self._measure()
        if not self.is_over:
            self.curriculum.end_epoch(epoch, self.model, self.optimizer)
            self._pause(training=False)
        self.tally.lap()

    def between_batches(self) -> Callable[[], None] | None:
        """To call between test batches, if anything: stops the run as it is now, before the first of them."""
        stop = self.company.stop
        if stop is None:
            return None
        before = self._snapshot()

        def between() -> None:
            if stop():
                self.tally.lap()
                before["tally"]["seconds"] = self.tally.seconds
                raise self._stopped(before)

        return between

    def _measure(self, since: int | None = None) -> None:
        """Tell what has been measured, if there is anything, or if it is the first time."""
        windows, epochs = self.tally.windows.ended, self.tally.epochs
        if self.company.measure is None or (since is None and self.measured == (len(windows), len(epochs))):
            return
        new = tuple(windows[self.measured[0] :]), tuple(epochs[self.measured[1] :])
        self.measured = len(windows), len(epochs)
        self.company.measure(Measured(*new, self.tally.total_steps, since))

    def _pause(self, training: bool) -> None:
        """Stop the run if that is asked for, else save it if that is due."""
        save, stop = self.company.save, self.company.stop
        if stop is not None and stop():
            self.tally.lap(training)
            raise self._stopped(self._snapshot())
        if save is not None and time.monotonic() - self.saved >= self.company.save_every:
            self.tally.lap(training)
            save(encode(self._snapshot()))
            self.tally.lap()
            self.saved = time.monotonic()

    def _snapshot(self) -> Snapshot:
        return snapshot(self.config.run_id, self.tally, self.model, self.optimizer, self.curriculum.best)

    def _stopped(self, state: Snapshot) -> Stopped:
        return Stopped(encode(state), self.tally.step, self.tally.fraction)


def is_last(epoch: Epoch, settings: TrainConfig) -> bool:
    """Whether training ends with this epoch: there are no more, or it is good enough."""
    threshold = settings.early_stopping_threshold
    return epoch.epoch + 1 == settings.max_epochs or (threshold is not None and epoch.accuracy > threshold)
