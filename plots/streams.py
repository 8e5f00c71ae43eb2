"""What figures of streaming evaluations share: which runs stand for a model, and their spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from mqar_bench.analysis.statistics import interval
from mqar_bench.analysis.stream_record import StreamedContext, StreamEvaluation


def models(evaluations: Iterable[StreamEvaluation]) -> Iterator[tuple[tuple[str, str], list[StreamEvaluation]]]:
    """Mixer and variant of each model, with its evaluations, a seed each, at the learning rate whose runs did best in
    training, by the mean over seeds; of equals the lower.

    Raises:
        ValueError: they do not compare, being of different tasks or devices.
    """
    read = sorted(evaluations, key=lambda each: (each.mixer, each.variant, each.learning_rate, each.run_id))
    check_same(read)
    for model, those in groupby(read, key=lambda each: (each.mixer, each.variant)):
        yield model, best_rate(list(those))


def check_same(evaluations: Sequence[StreamEvaluation]) -> None:
    """Whether they compare.

    Raises:
        ValueError: they do not; names in what.
    """
    kinds: dict[str, list[Any]] = {
        "tasks": [each.task.model_dump(mode="json", exclude={"input_seq_len"}) for each in evaluations],
        "examples": [each.examples for each in evaluations],
        "devices": [(each.provenance.device, each.provenance.threads) for each in evaluations],
        "numbers of rows": [each.rows for each in evaluations],
    }
    for what, values in kinds.items():
        for value, each in zip(values, evaluations, strict=True):
            if value != values[0]:
                runs = f"{evaluations[0].run_id} has {values[0]}, {each.run_id} has {value}"
                raise ValueError(f"models read with different {what} do not compare: {runs}")


def best_rate(evaluations: list[StreamEvaluation]) -> list[StreamEvaluation]:
    """Those of the learning rate that did best in training."""
    rates = sorted({each.learning_rate for each in evaluations})
    by_rate = {rate: [each for each in evaluations if each.learning_rate == rate] for rate in rates}
    best = max(rates, key=lambda rate: (float(np.mean([each.trained_accuracy for each in by_rate[rate]])), -rate))
    return by_rate[best]


def spread(parts: Sequence[StreamedContext]) -> tuple[float, float]:
    """An interval of the mean accuracy: over seeds, or with one seed over its examples."""
    if len(parts) > 1:
        return interval([part.accuracy for part in parts if part.accuracy is not None])
    (part,) = parts
    return (math.nan, math.nan) if part.low is None or part.high is None else (part.low, part.high)
