"""What claims are decided on: capacity where points have one, else accuracy; of models read far beyond their training
the context that they reach. And two points, one against the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from mqar_bench.analysis.statistics import Comparison, compare

#: Differences that are none: a tenth of a capacity or a context, and of an accuracy so much.
LOG_MARGIN, ACCURACY_MARGIN = math.log2(1.1), 0.02


#: The unit of what is compared on a log scale.
UNITS = {"capacity": "pairs", "reach": "tokens"}


class Measure(NamedTuple):
    """``capacity`` or ``reach``, compared on a log scale, or ``accuracy`` and other shares of 1, such as
    ``overwritten``."""

    column: str

    @property
    def unit(self) -> str | None:
        """Of what is compared on a log scale; None of a share."""
        return UNITS.get(self.column)

    @property
    def name(self) -> str:
        return self.column

    @property
    def margin(self) -> float:
        return LOG_MARGIN if self.unit else ACCURACY_MARGIN

    def seeds(self, row: Mapping[Any, Any]) -> list[float]:
        """A value a seed, on the scale on which they are compared."""
        values = [float(text) for text in str(row[f"{self.column}_seeds"]).split()]
        return [math.log2(value) for value in values] if self.unit else values

    def show(self, row: Mapping[Any, Any]) -> str:
        """The mean: ``120`` pairs or ``4,096`` tokens, with > or < where it is a bound, or ``0.912``."""
        if not self.unit:
            return f"{row[self.column]:.3f}"
        sign = {"above": "> ", "below": "< "}.get(row["censored"], "")
        value = row[self.column]
        return f"{sign}{value:.3g}" if self.column == "capacity" else f"{sign}{value:,.0f}"


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
    """Two rows of a figure's table. What a bound leaves open is not told apart."""
    mine, others = measure.seeds(ours), measure.seeds(theirs)
    found = compare(mine, others, measure.margin)
    seeds = min(len(mine), len(others))
    text = f"{measure.show(ours)} against {measure.show(theirs)}"
    if measure.unit:
        text += f" {measure.unit}, {2**found.difference:.2f} times"
        reach = f"{2**found.low:.2f} to {2**found.high:.2f}" if seeds > 1 else ""
    else:
        text += f", {found.difference:+.3f}"
        reach = f"{found.low:+.3f} to {found.high:+.3f}" if seeds > 1 else ""
    text += f" ({reach})" if reach else " (one seed)"
    less, more = loose_ends(ours["censored"], theirs["censored"]) if measure.unit else (False, False)
    if {"above": less, "below": more}.get(found.verdict, less or more):  # the bounds could turn it
        same = ours["censored"] == theirs["censored"]
        which = "both at the end of what was tested" if same else "at the end of what was tested"
        return Duel("not told apart", text, f"not told apart: {which}", found)
    return Duel(found.verdict, text, f"not told apart by {seeds} seed{'' if seeds == 1 else 's'}", found)


def loose_ends(ours: str, theirs: str) -> tuple[bool, bool]:
    """Whether ours may be less against theirs, and whether it may be more, than their values say.

    Args:
        ours: how it is bounded: ``above`` (it is at least its value), ``below`` (at most), ``both`` or not at all.
        theirs: the same.
    """
    less = ours in ("below", "both") or theirs in ("above", "both")
    more = ours in ("above", "both") or theirs in ("below", "both")
    return less, more
