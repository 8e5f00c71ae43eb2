"""Which runs a figure shows: of all that compete for a point, those of the best model and learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

#: What the best is chosen on. There are no validation settings: as in Zoology, it is the mean over the test settings.
SELECTED_ON = "test"

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

    Models (variants) and learning rates that have ``by`` in common compete: the best accuracy wins, averaged over
    seeds; of equals the lower rate, then the smaller state. One of which a seed failed wins only where each has
    failed, since the mean of the rest would flatter it. Runs on different data never compete, and points are of the
    same data as they are looked at side by side.

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
        best = min(rivals, key=lambda key: _rank(key, rivals[key], key in failures))
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

    accuracy (mean over the seeds of the best), accuracy_min, accuracy_max, seeds, learning_rate (the best),
    learning_rates (how many were tried), variants (models that compete), runs, failed, selected_on, and the mean
    accuracy on each setting.
    """
    _, runs, chosen, failed = point
    accuracy = chosen["accuracy"]
    return {
        "accuracy": accuracy.mean(),
        "accuracy_min": accuracy.min(),
        "accuracy_max": accuracy.max(),
        "seeds": chosen["seed"].nunique(),
        "learning_rate": chosen["learning_rate"].iloc[0],
        "learning_rates": runs["learning_rate"].nunique(),
        "variants": runs["variant"].nunique(),
        "runs": len(runs),
        "failed": failed,
        "selected_on": SELECTED_ON,
        **{str(name): value for name, value in chosen.filter(regex=SETTING).mean().items()},
    }


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
        raise ValueError(
            f"nothing to draw: there is no finished run; start one with `mqar-bench sweep {sweep} --scale {scale}`"
        )
    table = pd.DataFrame(rows)
    return table.drop(columns=[c for c in table.filter(regex=SETTING) if table[c].isna().all()])


def _rank(key: tuple, seeds: pd.DataFrame, failed: bool) -> tuple:
    variant, rate = key
    first = seeds[["state_size", "active_state_size"]].iloc[0].fillna(0)  # a mixer from elsewhere need not say
    sizes = tuple(map(int, first))
    return failed, -seeds["accuracy"].mean(), rate, sizes, variant
