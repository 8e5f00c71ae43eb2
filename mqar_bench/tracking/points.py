"""From what training measures to what trackers log."""

from __future__ import annotations

from itertools import accumulate

from mqar_bench.config import RunConfig
from mqar_bench.records.flat import name_epoch
from mqar_bench.records.result import RunResult
from mqar_bench.tracking.base import Point
from mqar_bench.training.optimization import learning_rate
from mqar_bench.training.session import Measured


class Points:
    """The points of a run, from the first on, as they are measured: one a window of its learning curve
    (``train/loss``, ``train/accuracy``, ``train/learning_rate`` of the last step, ``train/tokens``) and one an epoch
    (``valid/...``), both with ``epoch``, counted from 0. The names are Zoology's where it has them.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._begin()

    def _begin(self) -> None:
        self.step = self._tokens = self._windows = self._count = 0
        self._total = 1

    def add(self, measured: Measured) -> list[Point]:
        """The points that this adds; from the first on, where a process begins anew with what it goes on from."""
        if measured.since is not None:
            self._begin()
        self._total = measured.total_steps
        a_epoch = self._total // self._config.train.max_epochs
        found: list[tuple[int, dict[str, float]]] = []
        ends = accumulate((steps for steps, *_ in measured.windows), initial=self.step)
        for end, (_, tokens, loss, accuracy) in zip(list(ends)[1:], measured.windows, strict=True):
            self._tokens, epoch = self._tokens + tokens, (end - 1) // a_epoch
            rate = learning_rate(self._config.train, end - 1, self._total, epoch)
            values = {"train/loss": loss, "train/accuracy": accuracy, "train/learning_rate": rate}
            found.append((end, {**values, "train/tokens": self._tokens, "epoch": epoch}))
            self.step = end
        self._windows += len(measured.windows)
        for each in measured.epochs:
            scores = name_epoch(each, self._config.data.guides)
            found.append(((each.epoch + 1) * a_epoch, {**scores, "epoch": each.epoch}))
        found.sort(key=lambda point: point[0])  # stable: where a window ends with an epoch, it comes first
        points = [Point(self._count + i, *point) for i, point in enumerate(found)]
        self._count += len(points)
        return points

    def rest(self, result: RunResult) -> list[Point]:
        """Those that only the record has: of a window that was under way when training stopped early."""
        if result.curve is None or not self._count:
            return []
        curve = result.curve
        windows = tuple(zip(curve.steps, curve.tokens, curve.loss, curve.accuracy, strict=True))
        return self.add(Measured(windows[self._windows :], (), self._total))
