"""How a run went, as points: the windows of its training, and the scorings after its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from mqar_bench.records.result import RunResult


class Point(NamedTuple):
    """Loss and accuracy after so many steps and tokens: of ``training`` in a window that ends there, or on the settings
    that guide it, ``validation`` or, where the two are one, ``test``. What is not known is None."""

    part: Literal["training", "validation", "test"]
    step: int
    tokens: int
    loss: float | None
    accuracy: float | None


def training_points(result: RunResult) -> list[Point]:
    """Of training; an epoch's mean loss each, and no accuracy, where the record has no curve."""
    if result.curve is None:
        return [
            Point("training", *_after(result, n), epoch.loss, None) for n, epoch in enumerate(result.epochs, start=1)
        ]
    curve = result.curve
    ends = zip(accumulate(curve.steps), accumulate(curve.tokens), strict=True)
    means = zip(curve.loss, curve.accuracy, strict=True)
    return [Point("training", *end, *mean) for end, mean in zip(ends, means, strict=True)]


def epoch_means(points: Sequence[Point], values: Sequence[float], epoch: int) -> list[float]:
    """Means over the ``epoch`` steps that end with each point, or over all until there, by windows of training.

    Segments that come one after another are of unequal difficulty: within an epoch values go up and down with them.
    """
    begins = [0, *(point.step for point in points)]
    means, first = [], 0
    for i, point in enumerate(points):
        while first < i and begins[first] < point.step - epoch:
            first += 1
        steps = [points[j].step - begins[j] for j in range(first, i + 1)]
        means.append(sum(n * value for n, value in zip(steps, values[first:], strict=False)) / sum(steps))
    return means


def guide_points(result: RunResult) -> list[Point]:
    """Of what was scored after every epoch, of which only the accuracy is known."""
    part: Literal["validation", "test"] = "validation" if result.config.data.validation else "test"
    return [Point(part, *_after(result, n), None, epoch.accuracy) for n, epoch in enumerate(result.epochs, start=1)]


def steps_tokens_to(accuracy: float, result: RunResult) -> tuple[int, int] | tuple[None, None]:
    """Steps, and tokens seen, until the end of the first epoch with such an accuracy on what guides training."""
    reached = (n for n, epoch in enumerate(result.epochs, start=1) if epoch.accuracy >= accuracy)
    n = next(reached, None)
    return (None, None) if n is None else _after(result, n)


def _after(result: RunResult, epochs: int) -> tuple[int, int]:
    """Steps of so many epochs, which all have the same, and tokens."""
    return result.steps * epochs // len(result.epochs), result.config.tokens_after(epochs)
