"""The paper's claims, held against the tables behind the figures: each answered, also when the answer is no."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import NamedTuple

import pandas as pd

#: Accuracies closer than this are taken for equal: about the spread between seeds and between rounding.
TOLERANCE = 0.01


class Claim(NamedTuple):
    """A claim, whether the records bear it out (``yes``, ``no`` and in what way, ``in part``, ``not tested``), and the
    numbers."""

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


def rises(points: pd.DataFrame, sweep: str, what: str, falls: bool = False) -> list[Claim]:
    """For each line of a panel's table: does accuracy rise along it (or fall, if that is the claim)?

    yes: from the first to the last, and nowhere falling, by more than the tolerance. in part: from the first to the
    last, falling in between. no: neither; level where all are equal within the tolerance, at chance where they are
    what guessing among a sequence's values gives.
    """
    claims = []
    for (line, design), those in points[points["sweep"] == sweep].groupby(["line", "design"]):
        those = those.sort_values("value")
        accuracies = list(those["accuracy"])
        text = f"accuracy {'falls' if falls else 'rises'} with {what}" + "".join(
            f", {part}" for part in (str(line).replace("$", ""), design) if part
        )
        steps = list(zip(accuracies, accuracies[1:], strict=False))
        if not steps:
            claims.append(Claim(text, "not tested", "a single point"))
            continue
        sign = -1 if falls else 1
        gained = sign * (accuracies[-1] - accuracies[0]) > TOLERANCE
        broken = any(sign * (b - a) < -TOLERANCE for a, b in steps)
        answer = "yes" if gained and not broken else "in part" if gained else "no"
        evidence = ", ".join(f"{_plain(v)}: {a:.3f}" for v, a in zip(those["value"], accuracies, strict=True))
        if max(accuracies) - min(accuracies) <= TOLERANCE:
            guessing = _guessing(those)
            at_chance = guessing is not None and max(accuracies) <= guessing + TOLERANCE
            answer = "no, at chance" if at_chance else "no, level"
            evidence += f"; guessing gives {guessing:.3f}" if at_chance else ""
        claims.append(Claim(text, answer, evidence))
    return claims


def helps(points: pd.DataFrame, sweep: str, what: str, line: str, other: str) -> list[Claim]:
    """Is one line of a panel's table above another, at the values that both have?

    yes: somewhere, and nowhere below, by more than the tolerance. in part: above here, below there.
    """
    there = points[points["sweep"] == sweep].pivot_table(index="value", columns="line", values="accuracy")
    if not {line, other} <= set(there) or (both := there[[line, other]].dropna()).empty:
        return []
    gains = both[line] - both[other]
    above, below = (gains > TOLERANCE).any(), (gains < -TOLERANCE).any()
    answer = "in part" if above and below else "yes" if above else "no" if below else "no, equal"
    evidence = ", ".join(
        f"{_plain(value)}: {us:.3f} against {them:.3f}" for value, us, them in both.itertuples(name=None)
    )
    return [Claim(f"{what} helps", answer, evidence)]


def overlap_decides(cells: pd.DataFrame) -> list[Claim]:
    """For each width of a slot and recipe of the trainability table: does K * K / M decide what is learnt?

    yes: a threshold parts what gets to 0.9 from what does not. in part: the best one errs for less than a quarter.
    no: for more, or it has all on one side.
    """
    claims = []
    for (width, recipe), those in cells.groupby(["head_v_dim", "recipe"], sort=False):
        learnt = those["steps_to_90"].notna()
        text = f"K * K / M decides what is learnt, D = {width}, {recipe}"
        if learnt.all() or not learnt.any():
            evidence = f"{int(learnt.sum())} of {len(those)} learnt, at K * K / M from {_span(those['ratio'])}"
            claims.append(Claim(text, "no", evidence))
            continue
        thresholds = sorted(set(those["ratio"]))
        errors = [int(((those["ratio"] >= t) != learnt).sum()) for t in thresholds]
        least = min(errors)
        best = thresholds[errors.index(least)]
        above = those["ratio"] >= best
        answer = "yes" if least == 0 else "in part" if 4 * least < len(those) and not above.all() else "no"
        evidence = (
            f"from {best:g} on {int(learnt[above].sum())} of {int(above.sum())} are learnt,"
            f" below {int(learnt[~above].sum())} of {int((~above).sum())}"
        )
        claims.append(Claim(text, answer, evidence))
    return claims


def lasts(cells: pd.DataFrame, accuracy: float = 0.9) -> list[Claim]:
    """For each width of a slot and recipe of the trainability table: does what once got to 0.9 end there?

    yes: all of it, by the mean over seeds of the last accuracies. in part: some. Those that fell are listed.
    """
    claims = []
    for (width, recipe), those in cells.groupby(["head_v_dim", "recipe"], sort=False):
        learnt = those[those["steps_to_90"].notna()]
        if learnt.empty:
            continue
        fell = learnt[learnt["accuracy"] < accuracy - TOLERANCE]
        answer = "yes" if fell.empty else "in part" if len(fell) < len(learnt) else "no"
        evidence = f"{len(learnt) - len(fell)} of {len(learnt)} (M, K) end at {accuracy:g}" + "".join(
            f"; M = {m}, K = {k} at {end:.3f}" for m, k, end in fell[["slots", "top_k", "accuracy"]].to_numpy(object)
        )
        claims.append(Claim(f"what is learnt lasts until the end of training, D = {width}, {recipe}", answer, evidence))
    return claims


def more_slots_help(cells: pd.DataFrame, recipe: str, plain: str) -> list[Claim]:
    """For each width of a slot of the trainability table: is more learnt with the recipe than with K throughout?

    yes: some is that otherwise is not, and nothing is lost. in part: some is gained and some lost.
    """
    claims = []
    for width, those in cells.groupby("head_v_dim", sort=False):
        learnt = those.assign(learnt=those["steps_to_90"].notna()).pivot_table(
            index=["slots", "top_k"], columns="recipe", values="learnt", aggfunc="first"
        )
        both = learnt.dropna() if {recipe, plain} <= set(learnt) else learnt.iloc[:0]
        text = f"starting with more slots makes more of them learnable, D = {width}"
        if both.empty:
            claims.append(Claim(text, "not tested", "no pair of runs"))
            continue
        ours, theirs = both[recipe].astype(bool), both[plain].astype(bool)
        gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        answer = "yes" if gained and not lost else "in part" if gained else "no"
        evidence = (
            f"{int(ours.sum())} of {len(both)} (M, K) are learnt with it, {int(theirs.sum())} without; lost: {lost}"
        )
        claims.append(Claim(text, answer, evidence))
    return claims


def locality(points: pd.DataFrame, fraction: float = 0.25) -> list[Claim]:
    """For each kind of head in the cache figure's table: do reads near in time share slots, for a cache to use?

    That is LRU's hit rate against LRU's with the tokens shuffled, which keeps how hot each slot is. yes: higher by more
    than a tenth; in part: by more than the tolerance. Both are taken at a cache of ``fraction`` of the slots.
    """
    claims = []
    there = points[(points["counted"] == "reads") & (points["fraction"] == fraction)]
    for (cape, slots), those in there.groupby(["cape", "slots"], sort=True):
        rates = those.set_index("policy")["hit_rate"]
        gain = rates["lru"] - rates["shuffled"]
        answer = "yes" if gain > 0.1 else "in part" if gain > TOLERANCE else "no"
        text = f"reads near in time share slots, {'with CAPE' if cape else 'no CAPE'}, M = {slots}"
        names = {
            "lru": "LRU",
            "shuffled": "LRU with tokens shuffled",
            "hottest": "hottest slots pinned",
            "optimal": "optimal",
        }
        evidence = ", ".join(f"{names[policy]} {rates[policy]:.2f}" for policy in names)
        claims.append(Claim(text, answer, f"hit rate of a cache of M * {fraction:g}: {evidence}"))
    return claims


def _guessing(points: pd.DataFrame) -> float | None:
    """The accuracy of naming one of a sequence's values at random, over the settings of a table; None if a setting's
    name does not say its pairs."""
    settings = [str(name) for name in points if str(name).startswith("accuracy/")]
    pairs = [int(found[1]) for name in settings if (found := re.search(r"-kv(\d+)$", name))]
    return sum(1 / n for n in pairs) / len(pairs) if pairs and len(pairs) == len(settings) else None


def _span(values: pd.Series) -> str:
    return f"{values.min():g} to {values.max():g}"


def _duels(mine: pd.DataFrame, theirs: pd.DataFrame) -> Iterator[tuple[int, float, float]]:
    for size, accuracy in theirs[["state_size", "accuracy"]].itertuples(index=False):
        within = mine.loc[mine["state_size"] <= size, "accuracy"]
        if len(within):
            yield int(size), float(within.max()), float(accuracy)


def _plain(value: Hashable) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
