"""Which runs a figure shows: of all that compete for a point, those of the best model and learning rate.

What is best is chosen on the settings that guide training, and what is shown is the test settings. In Zoology's
protocol the two are one, and a point's ``selected_on`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mqar_bench.analysis.statistics import interval
from sweeps import command

#: Accuracy at which a seed has solved its task; and what a model may gain in the last fifth of training and still
#: count as converged.
SOLVED, RISE = 0.9, 0.02

#: Columns with the accuracy on one setting.
SETTING = "^accuracy/"


class Point(NamedTuple):
    """A point of a figure: what it is, the finished runs that compete for it, and the seeds of the best of them.

    ``failed`` are the runs that would compete had they not failed.
    """

    at: dict[str, Any]
    runs: pd.DataFrame
    chosen: pd.DataFrame
    failed: int


def select_points(frame: pd.DataFrame, by: Sequence[str], *, apart: bool = False) -> Iterator[Point]:
    """The points of a figure, sorted by what they are; the order of the rows does not matter.

    Models (variants) and learning rates that have ``by`` in common compete: the best accuracy on what guides training
    wins, averaged over seeds, or, where all of them keep it, the lowest loss; of equals the lower rate, then the
    smaller state. One of which a seed failed wins only where each has failed, since the mean of the rest would flatter
    it. Runs on different data never compete, and points are of the same data as they are looked at side by side.

    Args:
        frame: rows of ``to_frame``, failed ones too.
        by: columns that say what a point is.
        apart: each point stands for itself, and may have data of its own.

    Raises:
        ValueError: finished runs of different data; the message names these.
    """
    frame = frame.sort_values(["variant", "learning_rate", "seed", "run_id"], kind="stable")
    lost = frame[frame["status"] == "failed"]
    failures = lost.groupby(["variant", "learning_rate"]).size().to_dict()
    done = frame[frame["status"] == "done"]
    if not apart:
        check_data(done)
    for values, runs in done.groupby(list(by)):
        check_data(runs)
        rivals = {key: seeds for key, seeds in runs.groupby(["variant", "learning_rate"])}
        score = runs["guide_loss"] if runs["guide_loss"].notna().all() else -runs["guide_accuracy"]
        best = min(rivals, key=lambda key: _rank(key, rivals[key], score[rivals[key].index].mean(), key in failures))
        failed = int(lost["variant"].isin(runs["variant"]).sum())
        yield Point(dict(zip(by, values, strict=True)), runs, rivals[best], failed)


def check_data(runs: pd.DataFrame) -> None:
    """Whether the runs can be held against one another.

    Raises:
        ValueError: they are of different data; the message names these.
    """
    counts = runs["data"].value_counts().sort_index()
    if len(counts) > 1:
        each = ", ".join(f"{name} ({count} run{'' if count == 1 else 's'})" for name, count in counts.items())
        raise ValueError(f"runs on different data do not compare, choose one with --data: {each}")


def summarise(point: Point) -> dict[str, Any]:
    """Columns of a figure's table for a point.

    accuracy (mean over the seeds of the best), with _low and _high (bootstrap interval of it) and _seeds (each seed's,
    as text); likewise capacity, of which the mean is geometric, and censored (``above`` or ``below``, if any seed's is:
    the mean is then a bound), recalled_pairs; seeds, guide_accuracy (on what guides training), solved (the share that
    got to 0.9 there), converged (whether the last fifth of training gained no more than 0.02 there), learning_rate (the
    best), learning_rates (how many were tried), edge (whether it is the lowest or highest of them), variants (models
    that compete), runs, failed, selected_on, run_ids (of the best's seeds, as text), and the mean accuracy on each
    setting. What runs do not have is missing.
    """
    _, runs, chosen, failed = point
    rates = runs.loc[runs["variant"] == chosen["variant"].iloc[0], "learning_rate"]
    screened = chosen["screened"].max()
    return {
        **over_seeds("accuracy", chosen["accuracy"]),
        **_capacity(chosen),
        "seeds": chosen["seed"].nunique(),
        "guide_accuracy": chosen["guide_accuracy"].mean(),
        "solved": (chosen["guide_accuracy"] >= SOLVED).mean(),
        "converged": None if chosen["rise"].isna().any() else bool(chosen["rise"].mean() <= RISE),
        "learning_rate": chosen["learning_rate"].iloc[0],
        "learning_rates": max(runs["learning_rate"].nunique(), 0 if pd.isna(screened) else int(screened)),
        "edge": _edge(rates, chosen),
        "variants": runs["variant"].nunique(),
        "runs": len(runs),
        "failed": failed,
        "selected_on": chosen["guided_by"].iloc[0],
        "run_ids": join_ids(chosen),
        **{str(name): value for name, value in chosen.filter(regex=SETTING).mean().items()},
    }


def parse_seeds(text: str) -> list[float]:
    """The values in a column ``_seeds``."""
    return [float(value) for value in text.split()]


def join_ids(runs: pd.DataFrame) -> str:
    """The runs behind a point, a column of its table."""
    return " ".join(runs["run_id"])


def over_seeds(name: str, values: pd.Series) -> dict[str, Any]:
    """The mean of a column over seeds, as ``name``, with _low, _high and _seeds."""
    low, high = interval(list(values))
    seeds = " ".join(f"{value:.6g}" for value in values)
    return {name: values.mean(), f"{name}_low": low, f"{name}_high": high, f"{name}_seeds": seeds}


def _capacity(chosen: pd.DataFrame) -> dict[str, Any]:
    known = chosen.dropna(subset="capacity")
    if known.empty:
        return {}
    columns = over_seeds("capacity", np.log2(known["capacity"]))
    for name in ("capacity", "capacity_low", "capacity_high"):
        columns[name] = 2 ** columns[name]
    columns["capacity_seeds"] = " ".join(f"{value:.6g}" for value in known["capacity"])
    sides = set(known["censored"]) - {""}
    return columns | {
        "censored": sides.pop() if len(sides) == 1 else "both" if sides else "",
        "recalled_pairs": known["recalled_pairs"].mean(),
    }


def _edge(rates: pd.Series, chosen: pd.DataFrame) -> str | None:
    """As the screening says, else among the rates there are, if these are more than two."""
    if not pd.isna(chosen["screened"]).all():
        return chosen["edge"].dropna().iloc[0]
    rate = chosen["learning_rate"].iloc[0]
    if rates.nunique() < 3:
        return None
    return "lowest" if rate == rates.min() else "highest" if rate == rates.max() else ""


def tabulate(rows: list[dict[str, Any]], frame: pd.DataFrame, sweep: str) -> pd.DataFrame:
    """Points as a table, without settings that none of them has.

    Args:
        rows: the points.
        frame: what they were chosen from.
        sweep: which the figure is made for.

    Raises:
        ValueError: there are none; the message says what to run: the sweep and scale of ``frame`` where nothing in it
            is finished, else ``sweep`` at that scale.
    """
    if not rows:
        if not (frame["status"] == "done").any():
            sweep = next(iter(frame["sweep"]), sweep)
        scale = next(iter(frame["scale"]), "demo")
        raise ValueError(f"nothing to draw: there is no finished run; start one with `{command(sweep, scale)}`")
    table = pd.DataFrame(rows)
    return table.drop(columns=[c for c in table.filter(regex=SETTING) if table[c].isna().all()])


def _rank(key: tuple, seeds: pd.DataFrame, score: float, failed: bool) -> tuple:
    variant, rate = key
    first = seeds[["state_size", "active_state_size"]].iloc[0].fillna(0)  # a mixer from elsewhere need not say
    sizes = tuple(map(int, first))
    return failed, score, rate, sizes, variant
