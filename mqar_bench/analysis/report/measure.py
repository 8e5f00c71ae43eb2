"""What claims are decided on: capacity where points have one, else accuracy. And two points, one against the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from mqar_bench.analysis.statistics import Comparison, compare

#: Differences that are none: a tenth of a capacity, and of an accuracy so much.
CAPACITY_MARGIN, ACCURACY_MARGIN = math.log2(1.1), 0.02


class Measure(NamedTuple):
    """``capacity``, compared on a log scale, or ``accuracy``."""

    column: str

    @property
    def name(self) -> str:
        return self.column

    @property
    def margin(self) -> float:
        return CAPACITY_MARGIN if self.column == "capacity" else ACCURACY_MARGIN

    def seeds(self, row: Mapping[Any, Any]) -> list[float]:
        """A value a seed, on the scale on which they are compared."""
        values = [float(text) for text in str(row[f"{self.column}_seeds"]).split()]
        return [math.log2(value) for value in values] if self.column == "capacity" else values

    def show(self, row: Mapping[Any, Any]) -> str:
        """The mean: ``120`` pairs, with > or < where it is a bound, or ``0.912``."""
        if self.column == "accuracy":
            return f"{row['accuracy']:.3f}"
        sign = {"above": "> ", "below": "< "}.get(row["censored"], "")
        return f"{sign}{row['capacity']:.3g}"


class Duel(NamedTuple):
    """How ours does against theirs: a verdict of ``statistics.compare``, the numbers as text, what to answer where it
    is none, and the difference of the means on the scale of ``Measure.seeds``."""

    verdict: str
    text: str
    undecided: str
    difference: Comparison


def measure_of(points: pd.DataFrame) -> Measure:
    """Capacity if every point has one and not all are bounds, else accuracy."""
    known = "capacity" in points and points["capacity"].notna().all() and (points["censored"] == "").any()
    return Measure("capacity" if known else "accuracy")


def duel(ours: Mapping[Any, Any], theirs: Mapping[Any, Any], measure: Measure) -> Duel:
    """Two rows of a figure's table. Two bounds on the same side are not told apart."""
    mine, others = measure.seeds(ours), measure.seeds(theirs)
    found = compare(mine, others, measure.margin)
    seeds = min(len(mine), len(others))
    text = f"{measure.show(ours)} against {measure.show(theirs)}"
    if measure.column == "capacity":
        text += f" pairs, {2**found.difference:.2f} times"
        reach = f"{2**found.low:.2f} to {2**found.high:.2f}" if seeds > 1 else ""
    else:
        text += f", {found.difference:+.3f}"
        reach = f"{found.low:+.3f} to {found.high:+.3f}" if seeds > 1 else ""
    text += f" ({reach})" if reach else " (one seed)"
    if measure.column == "capacity" and ours["censored"] == theirs["censored"] != "":
        return Duel("not told apart", text, "not told apart: both at the end of what was tested", found)
    return Duel(found.verdict, text, f"not told apart by {seeds} seed{'' if seeds == 1 else 's'}", found)
