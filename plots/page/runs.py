"""The runs on the page: of each what ``mqar-bench show`` tells, with its learning curve, in few bytes.

Texts that several runs share, such as their tasks, and the steps at which curves have points, are there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mqar_bench.analysis.story import head, made_with, outcome, rivals
from mqar_bench.config import setting_names
from mqar_bench.config.differences import list_overrides
from mqar_bench.records.curves import Point, epoch_means, guide_points, training_points
from mqar_bench.records.result import RunResult
from mqar_bench.records.store import Entry
from mqar_bench.records.table import to_frame


class Shared:
    """Values that are there once, by their place in ``values``."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        if value not in self._places:
            self._places[value] = len(self.values)
            self.values.append(value)
        return self._places[value]


def tell_runs(entries: Iterable[Entry], root: Path) -> dict[str, Any]:
    """For JSON: ``texts``, ``axes`` (steps and tokens of curves) and ``runs`` by id, which name these by their place.

    Of several records of a run, as under two scales, the last counts, and the others are named in its facts.

    Args:
        entries: the records, with where they lie.
        root: the folder that they are named from.
    """
    entries = list(entries)
    texts, axes = Shared(), Shared()
    rows = to_frame([entry.result for entry in entries]).to_dict("records")
    listed: dict[str, list[str]] = {}
    for entry in entries:
        config = entry.result.config
        listed.setdefault(entry.result.run_id, []).append(f"{config.sweep} at {config.scale}")
    runs = {}
    for entry, row in zip(entries, rows, strict=True):
        result, place = entry.result, entry.path.relative_to(root).as_posix()
        also = sorted(set(listed[result.run_id]) - {f"{result.config.sweep} at {result.config.scale}"})
        facts = [
            *head(result, f"{place}, line {entry.line}" if entry.line else place, also),
            *outcome(result, row),
            *made_with(result),
        ]
        runs[result.run_id] = {
            "name": f"{result.config.mixer}, {result.config.sweep} at {result.config.scale}",
            "status": result.status,
            "seed": result.config.train.seed,
            "rate": result.config.train.learning_rate,
            "accuracy": _round(result.accuracy),
            "facts": [[texts.place(name), texts.place(text)] for name, text in facts],
            "settings": [[texts.place(path), texts.place(value)] for path, value in list_overrides(result.config)],
            "accuracies": _accuracies(result, texts),
            **({"screen": screen} if (screen := _screening(result)) else {}),
            **({"curve": _curve(result, axes)} if result.epochs else {}),
            **({"traceback": texts.place(result.traceback)} if result.traceback else {}),
        }
    return {"texts": texts.values, "axes": axes.values, "runs": runs}


def _accuracies(result: RunResult, texts: Shared) -> list[list[Any]]:
    """A setting, its pairs and the accuracy on it."""
    tasks = result.config.data.test
    pairs = {name: task.num_kv_pairs for name, task in zip(setting_names(tasks), tasks, strict=True)}
    return [[texts.place(name), pairs.get(name), _round(value)] for name, value in result.settings.items()]


def _screening(result: RunResult) -> dict[str, Any] | None:
    """The rates that competed, with what each reached and its run."""
    screen = result.screen
    if screen is None:
        return None
    rows = [
        [rate, _round(reached), screen.runs.get(rate), mark]
        for rate, reached, mark in rivals(screen, result.config.train.learning_rate)
    ]
    return {"epochs": screen.epochs, "keep": screen.keep, "by": screen.by, "rows": rows}


def _curve(result: RunResult, axes: Shared) -> dict[str, Any]:
    """Means over an epoch of training, as the figure ``curves`` has them, and what was scored after every epoch."""
    trained, scored = training_points(result), guide_points(result)
    epoch = result.steps // len(result.epochs)
    curve: dict[str, Any] = {
        "part": scored[0].part,
        "at": axes.place(_places(trained)),
        "ends": axes.place(_places(scored)),
    }
    for name in ("loss", "accuracy"):
        values = [value for point in trained if (value := getattr(point, name)) is not None]
        if values:
            curve[name] = [_round(mean) for mean in epoch_means(trained, values, epoch)]
    curve["scored"] = [_round(point.accuracy) for point in scored]
    curve["epoch"] = epoch
    return curve


def _places(points: Sequence[Point]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Steps and tokens."""
    return tuple(point.step for point in points), tuple(point.tokens for point in points)


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}") if abs(value) >= 1 else round(value, 4)
