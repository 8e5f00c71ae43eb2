"""No output depends on a later token, nor on another sequence of the batch: by gradient, and by changing inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mqar_bench.contract.generators import draws
from mqar_bench.contract.subject import LENGTHS, Broken, Subject, forward, mode, pull_back

#: How much larger than those before them changed inputs are: what is chosen by rank is then chosen otherwise.
LOUDER = 3.0
#: Batch sizes and lengths at which sequences of a batch are told apart.
BATCHES = ((2, 1), (3, 17), (2, 65))


class Leak(NamedTuple):
    """An output that depends on an input that it should not depend on: the tokens of both, or the sequences."""

    target: int
    source: int


def causal(subject: Subject) -> str | None:
    """Whether no output depends on a later token, in eval mode and in training.

    The gradient is taken for every pair of tokens, of outputs times random numbers; later inputs are changed from every
    token on, for what has no gradient, such as a choice by rank over the whole sequence. All of that is done side by
    side in a batch, and where it finds something once more with one sequence, in case it came by another.
    """
    slope = value = 0.0
    for train in (False, True):
        mixer = subject.make(train)
        for length in LENGTHS[1:]:  # one token has none after it
            leaks, largest = _gradients_to_later(subject, mixer, range(length), length)
            if leaks:
                leaks, largest = _one_by_one(_gradients_to_later, subject, mixer, range(length), length)
            for t, s in leaks[:1]:
                raise Broken(f"output at token {t} depends on token {s}, by its gradient ({mode(train)}, T {length})")
            slope = max(slope, largest)
        for length, places in ((2, range(1, 2)), (17, range(16, 0, -1)), (65, (64, 63, 33, 32, 1))):
            leaks, largest = _changes_before(subject, mixer, places, length)
            if leaks:
                leaks, largest = _one_by_one(_changes_before, subject, mixer, places, length)
            for t, s in leaks[:1]:
                raise Broken(f"output at token {t} changes with inputs from token {s} on ({mode(train)}, T {length})")
            value = max(value, largest)
    return _but_for_rounding(slope, value)


def _one_by_one(
    find: Callable[[Subject, nn.Module, Sequence[int], int], tuple[list[Leak], float]],
    subject: Subject,
    mixer: nn.Module,
    places: Sequence[int],
    length: int,
) -> tuple[list[Leak], float]:
    """What ``find`` finds for each place alone, so in a batch of one sequence."""
    worst = 0.0
    for place in places:
        leaks, largest = find(subject, mixer, [place], length)
        if leaks:
            return leaks, largest
        worst = max(worst, largest)
    return [], worst


def _gradients_to_later(
    subject: Subject, mixer: nn.Module, tokens: Sequence[int], length: int
) -> tuple[list[Leak], float]:
    """Leaks to the outputs at ``tokens`` from tokens after them, a sequence each, and the largest that is rounding."""
    rows, x = torch.arange(len(tokens)), subject.input(len(tokens), length).requires_grad_()
    cotangent = torch.zeros_like(x)
    cotangent[rows, torch.tensor(tokens)] = subject.input(len(tokens), 1, seed=2)[:, 0]
    sizes = pull_back(forward(mixer, x), cotangent, x).abs().amax(-1)
    later = torch.arange(length) > torch.tensor(tokens)[:, None]
    return _collect(sizes, later, subject.rounding, lambda row, s: (tokens[row], s))


def _changes_before(subject: Subject, mixer: nn.Module, places: Sequence[int], length: int) -> tuple[list[Leak], float]:
    """Leaks to outputs before each of ``places`` when the inputs from there on change."""
    x = subject.input(1, length).repeat(len(places), 1, 1)
    changed = torch.arange(length) >= torch.tensor(places)[:, None]
    other = torch.where(changed[..., None], LOUDER * subject.input(1, length, seed=3), x)
    with torch.no_grad():
        a, b = forward(mixer, x), forward(mixer, other)
    sizes = torch.where(a == b, 0, (a - b).abs()).amax(-1)
    largest = float(torch.maximum(a.abs(), b.abs()).max())
    return _collect(sizes, ~changed, subject.rounding, lambda row, t: (t, places[row]), largest)


def _collect(
    sizes: Tensor,
    forbidden: Tensor,
    rounding: float,
    name: Callable[..., tuple[int, int]],
    largest: float | None = None,
) -> tuple[list[Leak], float]:
    """The leaks in a table of sizes, and the largest that is rounding, relative to ``largest`` (default: of all).

    ``name`` makes target and source of the place in the table.
    """
    largest = float(sizes.max()) if largest is None else largest
    relative = torch.where(forbidden & (sizes != 0), sizes / largest, 0)
    found = torch.nonzero(~(relative <= rounding)).tolist()  # NaN, too
    return [Leak(*name(*place)) for place in found], float(relative.max())


def batch_independent(subject: Subject) -> str | None:
    """Whether no output depends on another sequence of the batch, nor on there being one."""
    slope = value = 0.0
    for train in (False, True):
        mixer = subject.make(train)
        same_draws = not draws(mixer, subject.input(1, 3))
        for batch, length in BATCHES:
            where = f"({mode(train)}, B {batch}, T {length})"
            x = subject.input(batch, length).requires_grad_()
            y = forward(mixer, x)
            for row in range(batch):
                cotangent = torch.zeros_like(x)
                cotangent[row] = subject.input(1, length, seed=2)[0]
                sizes = pull_back(y, cotangent, x).abs().amax((1, 2))
                leaks, largest = _collect(sizes, torch.arange(batch) != row, subject.rounding, lambda s, r=row: (r, s))
                for a, b in leaks[:1]:
                    raise Broken(f"output of sequence {a} depends on sequence {b}, by its gradient {where}")
                slope = max(slope, largest)
            x, y = x.detach(), y.detach()
            for row in range(batch):
                other = x.clone()
                other[row] = LOUDER * subject.input(1, length, seed=3)[0]
                with torch.no_grad():
                    changed = forward(mixer, other)
                sizes = torch.where(y == changed, 0, (y - changed).abs()).amax((1, 2))
                largest = float(torch.maximum(y.abs(), changed.abs()).max())
                others = torch.arange(batch) != row
                leaks, largest = _collect(sizes, others, subject.rounding, lambda r, s=row: (r, s), largest)
                for a, b in leaks[:1]:
                    raise Broken(f"output of sequence {a} changes with sequence {b} {where}")
                value = max(value, largest)
            if same_draws:
                _same_alone(subject, mixer, x, y, where)
    return _but_for_rounding(slope, value)


def _but_for_rounding(slope: float, value: float) -> str | None:
    """What is left of gradients and of changes that should be zero, relative to the largest; None if nothing is."""
    left = [f"{what} {size:.0e}" for what, size in (("gradient", slope), ("value", value)) if size]
    return f"within rounding: {', '.join(left)} of the largest" if left else None


def _same_alone(subject: Subject, mixer: nn.Module, x: Tensor, y: Tensor, where: str) -> None:
    """Whether each sequence has the same output alone as in its batch."""
    for row in range(len(x)):
        with torch.no_grad():
            alone = forward(mixer, x[row : row + 1])[0]
        by = float((alone - y[row]).abs().max() / y[row].abs().max().clamp(min=1e-30))
        if not by <= subject.tolerance:
            raise Broken(f"output of sequence {row} differs by {by:.1e} when it is alone {where}")
