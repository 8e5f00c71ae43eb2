"""The lines that a report begins with: what can be quoted of it, each from its tables and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mqar_bench.analysis.report.claims import Claim
from mqar_bench.analysis.report.measure import Measure, duel
from mqar_bench.analysis.report.standing import held, place, standings
from mqar_bench.records.capacity import UNBOUNDED

_CAPACITY = Measure("capacity")

#: Accuracy on what guides training below which a model has hardly begun to learn.
BEGUN = 0.1


def headlines(points: pd.DataFrame | None, claims: Sequence[Claim], ours: str = "ramnet") -> list[str]:
    """At most ten lines.

    Args:
        points: the table of the figure ``capacity``; None where there is none.
        claims: all of the report's.
        ours: the architecture that is held against the others.
    """
    lines = []
    if points is not None:
        bounded = points[~points["mixer"].isin(UNBOUNDED)]
        mine, others = bounded[bounded["mixer"] == ours], bounded[bounded["mixer"] != ours]
        seeds = sorted(set(points["seeds"]))
        span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        lines.append(
            "Capacity is the most pairs recalled at 0.9 accuracy: geometric means over"
            f" {span} seed{'' if seeds == [1] else 's'}, and intervals at 95 %. State is in elements, all layers."
        )
        if len(mine) and len(others):
            lines += [_best(mine, others), _not_better(mine, others)]
        lines += [_spent(bounded), _unconverged(points), _edges(points)]
    lines += _answers(claims)
    return [line for line in lines if line][:10]


def _best(mine: pd.DataFrame, others: pd.DataFrame) -> str:
    """Ours against the best of the others with no more state, at each of our sizes."""
    parts = []
    for row in mine.sort_values("state_size").to_dict("records"):
        rival = place(row, standings(row, others, _CAPACITY), _CAPACITY).best
        if rival is not None:
            parts.append(f"with {row['state_size']:,}: {rival.duel.text} ({rival.mixer})")
    return f"RAM-Net against the best of bounded and no more state: {'; '.join(parts)}." if parts else ""


def _not_better(mine: pd.DataFrame, others: pd.DataFrame) -> str:
    """Points of others that hold more than ours does with at most as much state."""
    parts = []
    for row in others.sort_values("state_size").to_dict("records"):
        best = held(mine, row["state_size"], _CAPACITY)
        if best is not None:
            found = duel(row, best.row, _CAPACITY)
            if found.verdict == "above":
                parts.append(f"{row['mixer']} with {row['state_size']:,}: {found.text}")
    if parts:
        return f"Better than RAM-Net of as much state: {'; '.join(parts)}."
    return "No other architecture of bounded state is told apart above RAM-Net of as much state."


def _spent(points: pd.DataFrame) -> str:
    """Elements of state for each pair, the least of each architecture's; bounds are left out."""
    known = points[points["censored"] == ""]
    if known.empty:
        return ""
    spent = (known["state_size"].astype(float) / known["capacity"]).groupby(known["mixer"]).min().sort_values()
    return (
        "Elements of state a pair, at best: " + ", ".join(f"{name} {value:.0f}" for name, value in spent.items()) + "."
    )


def _unconverged(points: pd.DataFrame) -> str:
    """Models whose training was too short to tell what they can hold."""
    rows = points.to_dict("records")
    rising = [row for row in rows if not pd.isna(row["converged"]) and not row["converged"]]
    idle = [row for row in rows if row["guide_accuracy"] < BEGUN and row not in rising]
    parts = [f"still gaining when it ended, so not converged, {_names(rising)}"] if rising else []
    parts += [f"below {BEGUN:g} on validation, so hardly begun to learn, {_names(idle)}"] if idle else []
    return f"Trained too short to tell: {'; '.join(parts)}." if parts else ""


def _edges(points: pd.DataFrame) -> str:
    rows = [row for row in points.to_dict("records") if row["edge"] in ("lowest", "highest")]
    return f"Learning rate at the edge of those tried: {_names(rows)}." if rows else ""


def _names(rows: Sequence[Mapping[Any, Any]]) -> str:
    by_mixer: dict[str, list[str]] = {}
    for row in rows:
        by_mixer.setdefault(row["mixer"], []).append(f"{row['state_size']:,}")
    return ", ".join(f"{mixer} ({', '.join(sizes)})" for mixer, sizes in by_mixer.items())


def _answers(claims: Sequence[Claim]) -> list[str]:
    """The claims by how they are answered; those about equal state are above, in numbers."""
    words = (
        ("Borne out", "yes"),
        ("In part", "in part"),
        ("Not borne out", "no"),
        ("Not told apart", "not told apart"),
    )
    lines = []
    for heading, start in words:
        those = [c for c in claims if c.answer == start or c.answer.startswith((f"{start},", f"{start} "))]
        if those:
            lines.append(f"{heading}: {'; '.join(_join_kin(those))}.")
    return lines


def _join_kin(claims: Sequence[Claim]) -> list[str]:
    """The claims' texts, those that differ only in what they are about as one."""
    cases: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        before, _, after = claim.text.partition(claim.case) if claim.case else (claim.text, "", "")
        cases.setdefault((before, after), []).append(claim.case)
    return [f"{before}{' / '.join(found)}{after}" for (before, after), found in cases.items()]
