"""The paper's claims, held against the tables behind the figures: each answered, also when the answer is no.

Answers about capacity or accuracy are decided by the seeds (``analysis.statistics``): above or below where the interval
of the difference leaves out 0, equal where two one-sided tests say so, and otherwise not told apart.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import NamedTuple

import pandas as pd

from mqar_bench.analysis.report.measure import Duel, duel, measure_of
from mqar_bench.analysis.report.standing import held

#: How far above guessing an accuracy may be and still be at chance.
NEAR_CHANCE = 0.01
#: What a rank correlation may be and still be none; and the kinds of tokens that it is taken with.
NO_CORRELATION, TOKENS = 0.3, ("hits", "rest")


class Claim(NamedTuple):
    """A claim, whether the records bear it out (``yes``, ``no`` and in what way, ``in part``, ``not tested``), the
    numbers, and which part of the text tells it from its kin."""

    text: str
    answer: str
    evidence: str
    case: str = ""


def above_at_equal_state(points: pd.DataFrame, ours: str = "ramnet") -> list[Claim]:
    """For each other architecture of fig3's table: does ours recall more with no more state?

    At each of its points ours is what RAM-Net holds (``standing.held``) with at most as much state; points below our
    smallest are passed over. yes: at all of them. in part: at some. no: at none, and less at some, or equal at all.
    """
    mine, measure = points[points["mixer"] == ours], measure_of(points)
    claims = []
    for mixer, theirs in points[points["mixer"] != ours].groupby("mixer"):
        text = f"RAM-Net is above {mixer} at equal state size"
        sizes, duels = [], []
        for row in theirs.sort_values("state_size").to_dict("records"):
            found = held(mine, int(row["state_size"]), measure)
            if found is not None:
                sizes.append(int(row["state_size"]))
                duels.append(duel(found.row, row, measure))
        if not duels:
            claims.append(Claim(text, "not tested", "no point of RAM-Net has as little state", str(mixer)))
            continue
        evidence = "; ".join(f"{size:,} elements: {d.text}" for size, d in zip(sizes, duels, strict=True))
        claims.append(Claim(text, _always(duels), evidence, str(mixer)))
    return claims


def rises(points: pd.DataFrame, sweep: str, what: str, falls: bool = False) -> list[Claim]:
    """For each line of a panel's table: is more recalled along it (or less, if that is the claim)?

    yes: at the last than at the first, and nowhere less than one step before. in part: the former, not the latter; or
    at a value in between than at both ends. no: neither; level where first and last are equal, at chance where all are
    what guessing among a sequence's values gives.
    """
    claims = []
    for (line, design), those in points[points["sweep"] == sweep].groupby(["line", "design"]):
        those = those.sort_values("value", ascending=not falls)
        measure, rows = measure_of(those), those.to_dict("records")
        word = "falls" if falls else "rises"
        case = ", ".join(part for part in (str(line).replace("$", ""), str(design)) if part)
        text = f"{measure.name} {word} with {what}{', ' if case else ''}{case}"
        if len(rows) < 2:
            claims.append(Claim(text, "not tested", "a single point", case))
            continue
        whole = duel(rows[-1], rows[0], measure)
        steps = [duel(after, before, measure).verdict for before, after in zip(rows, rows[1:], strict=False)]
        best = max(rows, key=lambda row: row[measure.column])
        peaks = all(duel(best, end, measure).verdict == "above" for end in (rows[0], rows[-1]))
        if whole.verdict == "above" and not peaks:
            answer = "in part" if "below" in steps else "yes"
        elif peaks:
            answer = f"in part, highest at {_plain(best['value'])}"
        else:
            answer = {"equal": "no, level", "below": "no"}.get(whole.verdict, whole.undecided)
        evidence = ", ".join(
            f"{_plain(row['value'])}: {measure.show(row)}" for row in sorted(rows, key=lambda r: r["value"])
        )
        evidence += f"; {_plain(rows[-1]['value'])} against {_plain(rows[0]['value'])}: {whole.text}"
        guessing = _guessing(those)
        if guessing is not None and those["accuracy"].max() <= guessing + NEAR_CHANCE:
            answer, evidence = "no, at chance", f"{evidence}; guessing gives {guessing:.3f}"
        claims.append(Claim(text, answer, evidence, case))
    return claims


def helps(points: pd.DataFrame, sweep: str, what: str, line: str, other: str) -> list[Claim]:
    """Does one line of a panel's table recall more than another, at the values that both have?

    yes: somewhere, and nowhere less. in part: more here, less there.
    """
    there = points[points["sweep"] == sweep]
    measure = measure_of(there)
    ours, theirs = (
        {row["value"]: row for row in there[there["line"] == name].to_dict("records")} for name in (line, other)
    )
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return []
    duels = [duel(ours[value], theirs[value], measure) for value in both]
    evidence = "; ".join(f"{_plain(value)}: {d.text}" for value, d in zip(both, duels, strict=True))
    return [Claim(f"{what} helps", _somewhere(duels), evidence)]


def _always(duels: list[Duel]) -> str:
    """Whether ours is above in all of them."""
    verdicts = {d.verdict for d in duels}
    if verdicts == {"above"}:
        return "yes"
    if "above" in verdicts:
        return "in part"
    return "no" if "below" in verdicts else "no, equal" if verdicts == {"equal"} else duels[0].undecided


def _somewhere(duels: list[Duel]) -> str:
    """Whether ours is above in some, and below in none."""
    verdicts = {d.verdict for d in duels}
    if "above" in verdicts:
        return "in part" if "below" in verdicts else "yes"
    return "no" if "below" in verdicts else "no, equal" if verdicts == {"equal"} else duels[0].undecided


def overlap_decides(cells: pd.DataFrame) -> list[Claim]:
    """For each width of a slot and recipe of the trainability table: does K * K / M decide what is learnt?

    yes: a threshold parts what gets to 0.9 from what does not. in part: the best one errs for less than a quarter.
    no: for more, or it has all on one side.
    """
    claims = []
    for (width, recipe), those in cells.groupby(["head_v_dim", "recipe"], sort=False):
        learnt = those["steps_to_90"].notna()
        case = f"D = {width}, {recipe}"
        text = f"K * K / M decides what is learnt, {case}"
        if learnt.all() or not learnt.any():
            evidence = f"{int(learnt.sum())} of {len(those)} learnt, at K * K / M from {_span(those['ratio'])}"
            claims.append(Claim(text, "no", evidence, case))
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
        claims.append(Claim(text, answer, evidence, case))
    return claims


def lasts(cells: pd.DataFrame, accuracy: float = 0.9) -> list[Claim]:
    """For each width of a slot and recipe of the trainability table: does what once got to 0.9 end there?

    yes: all of it, by the mean over seeds of the last accuracies on what guides training, on which it got there. in
    part: some. Those that fell are listed.
    """
    claims = []
    for (width, recipe), those in cells.groupby(["head_v_dim", "recipe"], sort=False):
        learnt = those[those["steps_to_90"].notna()]
        if learnt.empty:
            continue
        fell = learnt[learnt["guide_accuracy"] < accuracy]
        answer = "yes" if fell.empty else "in part" if len(fell) < len(learnt) else "no"
        evidence = f"{len(learnt) - len(fell)} of {len(learnt)} (M, K) end at {accuracy:g}" + "".join(
            f"; M = {m}, K = {k} at {end:.3f}"
            for m, k, end in fell[["slots", "top_k", "guide_accuracy"]].to_numpy(object)
        )
        case = f"D = {width}, {recipe}"
        claims.append(Claim(f"what is learnt lasts until the end of training, {case}", answer, evidence, case))
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
        case = f"D = {width}"
        text = f"starting with more slots makes more of them learnable, {case}"
        if both.empty:
            claims.append(Claim(text, "not tested", "no pair of runs", case))
            continue
        ours, theirs = both[recipe].astype(bool), both[plain].astype(bool)
        gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        answer = "yes" if gained and not lost else "in part" if gained else "no"
        evidence = (
            f"{int(ours.sum())} of {len(both)} (M, K) are learnt with it, {int(theirs.sum())} without; lost: {lost}"
        )
        claims.append(Claim(text, answer, evidence, case))
    return claims


def locality(points: pd.DataFrame, fraction: float = 0.25) -> list[Claim]:
    """For each kind of head in the cache figure's table: do reads near in time share slots, for a cache to use?

    That is LRU's hit rate against LRU's with the tokens shuffled, which keeps how hot each slot is. yes: higher by more
    than a tenth; in part: by more than a hundredth. Both are taken at a cache of ``fraction`` of the slots.
    """
    claims = []
    there = points[(points["counted"] == "reads") & (points["fraction"] == fraction)]
    for (cape, slots), those in there.groupby(["cape", "slots"], sort=True):
        rates = those.set_index("policy")["hit_rate"]
        gain = rates["lru"] - rates["shuffled"]
        answer = "yes" if gain > 0.1 else "in part" if gain > 0.01 else "no"
        case = f"{'with CAPE' if cape else 'no CAPE'}, M = {slots}"
        text = f"reads near in time share slots, {case}"
        names = {
            "lru": "LRU",
            "shuffled": "LRU with tokens shuffled",
            "hottest": "hottest slots pinned",
            "optimal": "optimal",
        }
        evidence = ", ".join(f"{names[policy]} {rates[policy]:.2f}" for policy in names)
        claims.append(Claim(text, answer, f"hit rate of a cache of M * {fraction:g}: {evidence}", case))
    return claims


def predicts(points: pd.DataFrame) -> list[Claim]:
    """Does a mixer's capacity of MQAR say how well it does, in text, on what recall can tell?

    By Spearman's rank correlation over the mixers of the table of ``language_capacity``. yes: its interval is below 0,
    more capacity going with less perplexity. no: it is above 0, or within ``NO_CORRELATION`` of 0. That with the other
    tokens is told beside it.
    """
    (rank, low, high), beside = ([points[f"spearman_{k}{p}"].iloc[0] for p in ("", "_low", "_high")] for k in TOKENS)
    text, count = "MQAR capacity predicts hit perplexity", f"{len(points)} mixers"
    if pd.isna(rank):
        return [Claim(text, "not tested", f"{count}: too few for a correlation")]
    answer = f"not told apart by {count}"
    if high < 0:
        answer = "yes"
    elif low > 0 or max(-low, high) < NO_CORRELATION:
        answer = "no"
    found = [f"{each[0]:+.2f} ({each[1]:+.2f} to {each[2]:+.2f})" for each in ((rank, low, high), beside)]
    return [Claim(text, answer, f"Spearman {found[0]} over {count}; with the rest of the tokens {found[1]}")]


def _guessing(points: pd.DataFrame) -> float | None:
    """The accuracy of naming one of a sequence's values at random, over the settings of a table; None if a setting's
    name does not say its pairs."""
    settings = [str(name) for name in points if str(name).startswith("accuracy/")]
    pairs = [int(found[1]) for name in settings if (found := re.search(r"-kv(\d+)$", name))]
    return sum(1 / n for n in pairs) / len(pairs) if pairs and len(pairs) == len(settings) else None


def _span(values: pd.Series) -> str:
    return f"{values.min():g} to {values.max():g}"


def _plain(value: Hashable) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
