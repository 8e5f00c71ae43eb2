"""Where one model stands among architectures at its own size of state: the duel with each, and the rank among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from mqar_bench.analysis.report.measure import Duel, Measure, duel
from mqar_bench.records.capacity import UNBOUNDED

#: What an architecture is compared by: a model of ``equal`` state; two of them ``between`` which that lies,
#: interpolated; the best of those with ``less``; or, where it has none so small, its smallest, with ``more``.
Basis = Literal["equal", "between", "less", "more"]


class Held(NamedTuple):
    """What an architecture holds with so much state: by what, the states of its models that say so, and a row with
    ``state_size`` and the columns of a measure."""

    basis: Basis
    states: tuple[int, ...]
    row: Mapping[Any, Any]


class Standing(NamedTuple):
    """One model against an architecture.

    Args:
        mixer: the architecture.
        basis: what it is compared by.
        states: elements of state of that model or those two.
        value: their capacity or accuracy there.
        censored: ``above``, ``below`` or ``both`` where that is a bound.
        verdict: ours is ``above``, ``below``, ``equal`` or ``not told apart``, as ``duel`` has it; or
            ``not tested``: theirs have more state, and ours is not above even so.
        duel: the numbers.
    """

    mixer: str
    basis: Basis
    states: tuple[int, ...]
    value: float
    censored: str
    verdict: str
    duel: Duel


class Place(NamedTuple):
    """The rank of a model: 1 and the architectures that are higher, of so many; and the best of no more state."""

    rank: int
    of: int
    best: Standing | None


def standings(ours: Mapping[Any, Any], points: pd.DataFrame, measure: Measure) -> list[Standing]:
    """One model of ours against each architecture of bounded state, the highest first.

    Theirs is what the architecture holds (``held``) with no more state than ours.

    Args:
        ours: a row with ``state_size`` and the columns of ``measure``.
        points: rows of fig3's table, of theirs only.
        measure: capacity or accuracy.
    """
    bounded = points[~points["mixer"].isin(UNBOUNDED)].dropna(subset="state_size")
    found = [_stand(ours, str(mixer), rows, measure) for mixer, rows in bounded.groupby("mixer")]
    return sorted(found, key=lambda standing: (standing.verdict == "not tested", -standing.value))


def place(ours: Mapping[Any, Any], standing: Sequence[Standing], measure: Measure) -> Place:
    """The rank by the means, whether the seeds tell them apart or not; what was not tested is left out."""
    tested = [each for each in standing if each.verdict != "not tested"]
    within = [each for each in tested if each.basis != "more"]
    higher = sum(each.value > float(ours[measure.column]) for each in within)
    return Place(1 + higher, 1 + len(tested), max(within, key=lambda each: each.value, default=None))


def held(points: pd.DataFrame, size: int, measure: Measure) -> Held | None:
    """What an architecture holds with at most ``size`` elements of state; None where all of its models have more.

    That is the best of its models with no more, or, where that is higher, between the two whose states ``size`` lies
    between, linear in the logarithm of the state, seed by seed (of capacities their logarithms).

    Args:
        points: rows of fig3's table, of one architecture.
        size: elements of state.
        measure: capacity or accuracy.
    """
    rows = points.sort_values("state_size").to_dict("records")
    below = [row for row in rows if row["state_size"] <= size]
    above = [row for row in rows if row["state_size"] > size]
    if not below:
        return None
    best = max(below, key=lambda row: row[measure.column])
    if above and below[-1]["state_size"] < size:
        middle = _interpolate(below[-1], above[0], size, measure)
        if middle[measure.column] > best[measure.column]:
            return Held("between", (int(below[-1]["state_size"]), int(above[0]["state_size"])), middle)
    return Held("equal" if best["state_size"] == size else "less", (int(best["state_size"]),), best)


def _stand(ours: Mapping[Any, Any], mixer: str, points: pd.DataFrame, measure: Measure) -> Standing:
    theirs = held(points, int(ours["state_size"]), measure)
    if theirs is None:
        smallest = points.sort_values("state_size").iloc[0].to_dict()
        theirs = Held("more", (int(smallest["state_size"]),), smallest)
    found = duel(ours, theirs.row, measure)
    verdict = "not tested" if theirs.basis == "more" and found.verdict != "above" else found.verdict
    censored = str(theirs.row["censored"]) if measure.column == "capacity" else ""
    return Standing(mixer, theirs.basis, theirs.states, float(theirs.row[measure.column]), censored, verdict, found)


def _interpolate(low: Mapping[Any, Any], high: Mapping[Any, Any], size: int, measure: Measure) -> dict[str, Any]:
    """A row with so much state between two."""
    share = math.log(size / low["state_size"]) / math.log(high["state_size"] / low["state_size"])
    pairs = zip(measure.seeds(low), measure.seeds(high), strict=False)  # one may have more seeds
    values = [(1 - share) * a + share * b for a, b in pairs]
    mean = sum(values) / len(values)
    row: dict[str, Any] = {"state_size": size}
    if measure.column == "capacity":
        sides = {low["censored"], high["censored"]} - {""}
        row["censored"] = sides.pop() if len(sides) == 1 else "both" if sides else ""
        mean, values = 2**mean, [2**value for value in values]
    return row | {measure.column: mean, f"{measure.column}_seeds": " ".join(f"{value:.6g}" for value in values)}
