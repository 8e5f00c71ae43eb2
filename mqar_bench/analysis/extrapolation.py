"""How far a model extrapolates: the longest context at which it still answers as at the length it was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from mqar_bench.analysis.statistics import LEVEL, interval
from mqar_bench.analysis.stream_record import StreamEvaluation
from mqar_bench.records.capacity import find_capacity

#: What accuracy may lose against that at the trained length.
LOSS = 0.1
#: Draws of examples, for the interval of a single seed.
DRAWS = 1000


class Reach(NamedTuple):
    """How far the seeds of a model extrapolate.

    Args:
        context: tokens, the geometric mean over seeds; where ``censored``, at least so many.
        low, high: an interval of it, at ``statistics.LEVEL``: over seeds, or with one seed over its examples.
        seeds: of each the context.
        examples: of a seed.
        trained: accuracy at the longest context read that is no longer than training's, the mean over seeds.
        chance: what a guess is worth.
        censored: ``above`` if any seed's accuracy stays until what was read ends.
    """

    context: float
    low: float
    high: float
    seeds: tuple[float, ...]
    examples: int
    trained: float
    chance: float
    censored: Literal["", "above"]


def find_reach(evaluations: Sequence[StreamEvaluation]) -> Reach | None:
    """Of the seeds of a model; None where none has read a context of the trained length or less, and another.

    A seed's is the longest context up to which accuracy is nowhere more than ``LOSS`` below that at the trained length,
    interpolated in the logarithm of the context as capacities are; contexts below the trained length do not count.
    """
    by_seed = [examples for each in evaluations if len(examples := _examples(each)) > 1]
    if not by_seed:
        return None
    reaches = [_reach({context: float(np.mean(right)) for context, right in seed.items()}) for seed in by_seed]
    contexts = [context for context, _ in reaches]
    logs = [math.log2(context) for context in contexts]
    low, high = interval(logs) if len(logs) > 1 else _interval_over_examples(by_seed[0])
    first = evaluations[0]
    return Reach(
        context=2 ** float(np.mean(logs)),
        low=2**low,
        high=2**high,
        seeds=tuple(contexts),
        examples=first.examples,
        trained=float(np.mean([np.mean(next(iter(seed.values()))) for seed in by_seed])),
        chance=first.chance,
        censored="above" if any(censored for _, censored in reaches) else "",
    )


def _examples(evaluation: StreamEvaluation) -> dict[int, tuple[float, ...]]:
    """Right answers of each example, by context: from the longest no longer than training's on, in ascending order."""
    done = {entry.context: entry.correct for entry in evaluation.contexts if entry.status == "done"}
    short = [context for context in done if context <= evaluation.trained_length]
    return {context: done[context] for context in sorted(done) if short and context >= max(short)}


def _reach(accuracy: Mapping[int, float]) -> tuple[float, bool]:
    """Of accuracies by context, the first of which is that of the trained length; and whether it is a bound."""
    contexts = sorted(accuracy)
    least = accuracy[contexts[0]] - LOSS
    lost = next((i for i, context in enumerate(contexts) if accuracy[context] < least), len(contexts))
    if lost == len(contexts):
        return float(contexts[-1]), True
    found = find_capacity({context: accuracy[context] for context in contexts[lost - 1 : lost + 1]}, least)
    assert found is not None  # of two contexts
    return found.pairs, False


def _interval_over_examples(examples: Mapping[int, tuple[float, ...]]) -> tuple[float, float]:
    """Of log2 of the context, by drawing the examples of each context anew; the same of the same examples."""
    rng = np.random.default_rng(0)
    means = {
        context: np.asarray(right)[rng.integers(0, len(right), (DRAWS, len(right)))].mean(1)
        for context, right in examples.items()
    }
    logs = [math.log2(_reach({context: float(each[i]) for context, each in means.items()})[0]) for i in range(DRAWS)]
    low, high = np.quantile(logs, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
