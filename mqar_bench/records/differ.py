"""Whether two records of a run have the same numbers, but for rounding.

A run gives the same bits on one device with one number of threads. Elsewhere its sums of float32 are taken in another
order, and the losses differ from the sixth to eighth digit on. Long training may multiply that up to the first digit:
the numbers are others then, and no tolerance should hide it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mqar_bench.config import RunConfig, setting_names
from mqar_bench.records.result import Provenance, RunResult
from mqar_bench.tasks import AnyTask

#: Half a unit in the last place of a float32, relative.
HALF_UNIT = 2.0**-24
#: Digits of a number that need no more to be told apart.
DIGITS = 6


@dataclass(frozen=True)
class Difference:
    """The first number that differs, as text in so many digits that it is seen to."""

    what: str
    here: str
    there: str


def rounding(config: RunConfig) -> float:
    """How much another order of summation changes a loss, relative to it: ``4 sqrt(n) 2**-24`` of n tokens a batch.

    A sum of n float32 is off by ``sqrt(n) 2**-24`` of it, its roundings being a random walk, and by four times that
    once in thousands (Higham and Mary 2019). The longest sums of a step, of a weight's gradient, are over a batch.
    """
    tokens = config.train.batch_size * config.trained_length
    return 4 * math.sqrt(tokens) * HALF_UNIT


def find_difference(here: RunResult, there: RunResult) -> Difference | None:
    """Where two done records of a run first differ by more than rounding; None where they do not.

    A loss may differ by ``rounding`` of it. An accuracy is a count over N answers, of which one changes where its two
    best logits are closer than rounding. V logits like noise, as those of an untrained model, have their best two so
    close with probability ``2 ln(V) rounding``: so many of the N may differ, and one.
    """
    for what, a, b, tolerance in _numbers(here, there):
        if a is None or b is None or abs(a - b) > tolerance * (1 + 1e-9):
            return Difference(what, *_tell_apart(a, b))
    return None


def _numbers(here: RunResult, there: RunResult) -> Iterator[tuple[str, float | None, float | None, float]]:
    """The numbers of two records side by side: what it is, its two values, by how much they may differ."""
    config = here.config
    bound = rounding(config)
    share = 2 * math.log(config.model.vocab_size) * bound
    tested, guiding = (_allowed(part, share) for part in (config.data.test, config.data.guides))
    yield "accuracy", here.accuracy, there.accuracy, _mean(tested)
    for name, a, b in _side_by_side(here.settings, there.settings):
        yield f"accuracy on {name}", a, b, tested.get(name, share)
    for name, a, b in _side_by_side(here.losses, there.losses):
        yield f"loss on {name}", a, b, bound * _larger(a, b)
    yield "epochs", len(here.epochs), len(there.epochs), 0
    for ours, theirs in zip(here.epochs, there.epochs, strict=True):
        after = f"of epoch {ours.epoch}"
        yield f"loss {after}", ours.loss, theirs.loss, bound * _larger(ours.loss, theirs.loss)
        yield f"accuracy {after}", ours.accuracy, theirs.accuracy, _mean(guiding)
        for name, a, b in _side_by_side(ours.settings, theirs.settings):
            yield f"accuracy {after} on {name}", a, b, guiding.get(name, share)
        if ours.losses and theirs.losses:  # records of before have none
            for name, a, b in _side_by_side(ours.losses, theirs.losses):
                yield f"loss {after} on {name}", a, b, bound * _larger(a, b)


def _side_by_side(
    ours: Mapping[str, float], theirs: Mapping[str, float]
) -> Iterator[tuple[str, float | None, float | None]]:
    for name in {**ours, **theirs}:
        yield name, ours.get(name), theirs.get(name)


def _larger(a: float | None, b: float | None) -> float:
    return max(abs(a or 0), abs(b or 0))


def _allowed(tasks: Sequence[AnyTask], share: float) -> dict[str, float]:
    """By how much an accuracy may differ on each setting: a share of its answers, and one."""
    answers = zip(setting_names(tasks), tasks, strict=True)
    return {name: share + 1 / (task.num_examples * task.num_answers) for name, task in answers}


def _mean(allowed: dict[str, float]) -> float:
    return sum(allowed.values()) / len(allowed)


def _tell_apart(a: float | None, b: float | None) -> tuple[str, str]:
    """Both as text, in as few digits as tell them apart, though not in fewer than ``DIGITS``."""
    if a is None or b is None:
        return ("none" if a is None else f"{a:.{DIGITS}g}"), ("none" if b is None else f"{b:.{DIGITS}g}")
    digits = next((n for n in range(DIGITS, 17) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{digits}g}", f"{b:.{digits}g}"


def origin(provenance: Provenance) -> str:
    """What decides the rounding of a record's numbers: ``Xeon, 2 threads``."""
    return f"{provenance.device}, {provenance.threads} thread{'' if provenance.threads == 1 else 's'}"
