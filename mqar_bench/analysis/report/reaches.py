"""Claims about models that are read far beyond their training: how far each extrapolates, and what RAM-Net keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from mqar_bench.analysis.extrapolation import LOSS, Reach, find_reach
from mqar_bench.analysis.report.claims import Claim
from mqar_bench.analysis.report.measure import Measure, duel
from mqar_bench.analysis.stream_record import StreamEvaluation

#: So many times the trained length are beyond it.
FAR = 2


def extrapolates(models: Mapping[str, Sequence[StreamEvaluation]], ours: str = "ramnet") -> list[Claim]:
    """Does each model answer far beyond its trained length as it does there, and does ours go further than the others?

    Args:
        models: by name, the seeds of each.
        ours: the one that is held against the others.

    Of the first: yes, if the interval of how far lies above ``FAR`` times the trained length; no, if below; else not
    told apart. not tested, if accuracy at the trained length is so near to guessing that it could not fall. Of the
    second: as of any two numbers with seeds.
    """
    reaches = {name: find_reach(seeds) for name, seeds in models.items()}
    claims = [_further(name, models[name][0].trained_length, reach) for name, reach in reaches.items()]
    mine = reaches.get(ours)
    if mine is None or not _recalls(mine):
        return claims
    for name, theirs in reaches.items():
        if name != ours and theirs is not None and _recalls(theirs):
            found = duel(_row(mine), _row(theirs), Measure("reach"))
            answer = {"above": "yes", "below": "no", "equal": "no, equal"}.get(found.verdict, found.undecided)
            claims.append(Claim(f"RAM-Net extrapolates further than {name}", answer, found.text, name))
    return claims


def spares(points: pd.DataFrame) -> list[Claim]:
    """For each model of the figure ``overwritten``: does filler overwrite less of it if it was trained with filler?

    That is with the longest sequences of training against the shortest, at the longest context that both have read.
    """
    claims = []
    design = ["num_slots", "top_k", "gamma", "cape", "layer"]
    for (slots, top_k, gamma, cape, layer), those in points.groupby(design):
        case = f"M = {slots}, K = {top_k}, gamma = {gamma:g}{', CAPE' if cape else ''}, layer {layer}"
        text = f"training with filler spares the slots that hold pairs, {case}"
        lengths = sorted(set(those["trained_length"]))
        few, many = (those[those["trained_length"] == n].set_index("context") for n in (lengths[0], lengths[-1]))
        both = few.index.intersection(many.index)
        if len(lengths) < 2 or both.empty:
            claims.append(Claim(text, "not tested", "no two models that differ in training alone", case))
            continue
        ours, theirs = (each.loc[both.max()].to_dict() for each in (many, few))
        found = duel(ours, theirs, Measure("overwritten"))
        answer = {"below": "yes", "above": "no", "equal": "no, equal"}.get(found.verdict, found.undecided)
        numbers = f"overwritten at {both.max():,} tokens: {found.text}"
        claims.append(Claim(text, answer, numbers, case))
    return claims


def _further(name: str, trained_length: int, reach: Reach | None) -> Claim:
    text = f"{name} extrapolates beyond {FAR} times the {trained_length:,} tokens it was trained on"
    if reach is None:
        read = (
            f"no context of {trained_length:,} tokens or fewer and a longer one are read (`mqar-bench stream --from`)"
        )
        return Claim(text, "not tested", read, name)
    numbers = f"accuracy {reach.trained:.3f} there"
    if not _recalls(reach):
        return Claim(text, "not tested", f"{numbers}, within {LOSS:g} of a guess, {reach.chance:.3f}", name)
    seeds = len(reach.seeds)
    over = f"{seeds} seeds" if seeds > 1 else f"{reach.examples} examples, one seed"
    bound = "at least " if reach.censored else ""
    numbers += (
        f", and within {LOSS:g} of it up to {bound}{reach.context:,.0f} tokens"
        f" ({reach.low:,.0f} to {reach.high:,.0f}, over {over}), {reach.context / trained_length:.3g} times the length"
    )
    far = FAR * trained_length
    answer = "yes" if reach.low > far else "no" if reach.high < far else f"not told apart by {over}"
    return Claim(text, answer, numbers, name)


def _recalls(reach: Reach) -> bool:
    """Whether accuracy at the trained length has room to fall."""
    return reach.trained - LOSS > reach.chance


def _row(reach: Reach) -> dict[str, object]:
    """As a row of a table."""
    seeds = " ".join(f"{context:.6g}" for context in reach.seeds)
    return {"reach": reach.context, "reach_seeds": seeds, "censored": reach.censored}
