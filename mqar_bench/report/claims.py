"""The paper's claims, held against the tables behind the figures: each answered, also when the answer is no."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

import pandas as pd

#: Accuracies closer than this are taken for equal: about the spread between seeds and between rounding.
TOLERANCE = 0.01


class Claim(NamedTuple):
    """A claim, whether the records bear it out (``yes``, ``no``, ``in part``, ``not tested``), and the numbers."""

    text: str
    answer: str
    evidence: str


def above_at_equal_state(points: pd.DataFrame, ours: str = "ramnet") -> list[Claim]:
    """For each other architecture of fig3's table: is ours above it with no more state?

    At each of its points the best of ours with at most as much state is taken; points below our smallest are passed
    over.
    """
    mine = points[points["mixer"] == ours]
    claims = []
    for mixer, theirs in points[points["mixer"] != ours].groupby("mixer"):
        rows = list(_duels(mine, theirs.sort_values("state_size")))
        text = f"RAM-Net is above {mixer} at equal state size"
        if not rows:
            claims.append(Claim(text, "not tested", "no point of RAM-Net has as little state"))
            continue
        won = [us > them + TOLERANCE for _, us, them in rows]
        tied = [abs(us - them) <= TOLERANCE for _, us, them in rows]
        lost = len(rows) - sum(won) - sum(tied)
        answer = "yes" if all(won) else "no" if not any(won) and lost else "in part" if any(won) else "no, equal"
        evidence = "; ".join(f"{size:,} elements: {us:.3f} against {them:.3f}" for size, us, them in rows)
        claims.append(Claim(text, answer, evidence))
    return claims


def rises(points: pd.DataFrame, sweep: str, what: str) -> list[Claim]:
    """For each line of a panel's table: does accuracy rise along it?

    yes: from the first to the last, and nowhere falling, by more than the tolerance. in part: from the first to the
    last, falling in between. no: neither.
    """
    claims = []
    for (line, design), those in points[points["sweep"] == sweep].groupby(["line", "design"]):
        those = those.sort_values("value")
        accuracies = list(those["accuracy"])
        text = f"accuracy rises with {what}" + "".join(
            f", {part}" for part in (str(line).replace("$", ""), design) if part
        )
        steps = list(zip(accuracies, accuracies[1:], strict=False))
        if not steps:
            claims.append(Claim(text, "not tested", "a single point"))
            continue
        up, falls = accuracies[-1] > accuracies[0] + TOLERANCE, any(b < a - TOLERANCE for a, b in steps)
        answer = "yes" if up and not falls else "in part" if up else "no"
        evidence = ", ".join(f"{_plain(v)}: {a:.3f}" for v, a in zip(those["value"], accuracies, strict=True))
        claims.append(Claim(text, answer, evidence))
    return claims


def _duels(mine: pd.DataFrame, theirs: pd.DataFrame) -> Iterator[tuple[int, float, float]]:
    for size, accuracy in theirs[["state_size", "accuracy"]].itertuples(index=False):
        within = mine.loc[mine["state_size"] <= size, "accuracy"]
        if len(within):
            yield int(size), float(within.max()), float(accuracy)


def _plain(value: Hashable) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
