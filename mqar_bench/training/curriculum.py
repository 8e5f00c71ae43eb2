"""What a run trains on, epoch by epoch; with stages, how one goes on from the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mqar_bench.config import RunConfig
from mqar_bench.records.result import Epoch
from mqar_bench.training.data import Batch, TaskData


class Curriculum:
    """The stages of a run: one, of the training settings as they are, unless the config has others.

    ``best`` is of the stage under way, what did best on the settings that guide training: ``accuracy``, and the
    ``model``'s state. There is none before a stage's first scoring, nor in the last stage, from which none goes on.
    """

    def __init__(self, config: RunConfig, data: TaskData) -> None:
        self.config, self.data, self.settings = config, data, config.train
        self.best: dict[str, Any] | None = None

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Those of an epoch but for the first ``start``; with stages each is drawn for itself, as long as its stage
        says, and the same every epoch of a stage unless the config asks for fresh ones."""
        size = self.settings.batch_size
        if not self.settings.segments.stages:
            yield from self.data.training_batches(size, epoch, start)
            return
        segments, data = self.settings.segments, self.config.data
        fewest, most = segments.bounds(epoch, self.settings.max_epochs)
        for place, (setting, rows) in enumerate(self.data.spans(size, epoch)):
            if place >= start:
                rng = np.random.default_rng((data.seed, epoch if data.fresh else 0, place))
                task = data.train[setting].at_length(segments.size * int(rng.integers(fewest, most + 1)))
                drawn = task.model_copy(update={"num_examples": rows}).build(int(rng.integers(2**32)), data.sampler)
                yield Batch(*drawn.batch(0, rows))

    def end_epoch(self, epoch: Epoch, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Keep the weights if they are the stage's best; if it was the stage's last epoch, begin the next one."""
        last = self.settings.segments.span(epoch.epoch, self.settings.max_epochs)[1]
        if last == self.settings.max_epochs:
            return
        if self.best is None or epoch.accuracy > self.best["accuracy"]:
            self.best = {"accuracy": epoch.accuracy, "model": _copy(model.state_dict())}
        if epoch.epoch + 1 == last:
            model.load_state_dict(self.best["model"])
            optimizer.state.clear()
            self.best = None


def _copy(state: dict[str, Any]) -> dict[str, Any]:
    return {name: each.clone() if isinstance(each, Tensor) else each for name, each in state.items()}
