"""Capacity: how many pairs a trained model recalls, from its accuracy on settings with more and more of them.

Accuracy has a ceiling, behind which models that hold 100 and 400 pairs look alike; this has none as long as some
setting is too hard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from mqar_bench.config import RunConfig, setting_names

#: The accuracy that is still recall.
RECALLED = 0.9

#: Mixers whose state grows with the sequence, so that its size says nothing of what it can hold.
UNBOUNDED = ("attention", "sparse_attention")


class Capacity(NamedTuple):
    """Pairs; where ``censored``, it is at least (``above``) or at most (``below``) so many."""

    pairs: float
    censored: Literal["", "above", "below"]


def accuracy_by_pairs(config: RunConfig, settings: Mapping[str, float]) -> dict[int, float]:
    """Accuracy by number of pairs, from the test settings of a run that are MQAR; of several with as many pairs the
    hardest counts.

    Args:
        config: the run's.
        settings: accuracy by the name of a test setting.
    """
    tasks = config.data.test
    curve: dict[int, float] = {}
    for name, task in zip(setting_names(tasks), tasks, strict=True):
        if task.name == "multiquery_ar" and name in settings:
            accuracy = settings[name]
            curve[task.num_kv_pairs] = min(accuracy, curve.get(task.num_kv_pairs, accuracy))
    return curve


def find_capacity(curve: Mapping[int, float], accuracy: float = RECALLED) -> Capacity | None:
    """The largest number of pairs N at which accuracy is still ``accuracy``, interpolated linearly in log N.

    Args:
        curve: accuracy by number of pairs.

    Returns:
        None where there are fewer than two numbers of pairs. Censored ``above`` at the largest N if accuracy never
        falls so low, ``below`` at the smallest if it is never so high.
    """
    pairs = sorted(curve)
    if len(pairs) < 2:
        return None
    held = [n for n in pairs if curve[n] >= accuracy]
    if not held:
        return Capacity(float(pairs[0]), "below")
    last = held[-1]
    if last == pairs[-1]:
        return Capacity(float(last), "above")
    after = pairs[pairs.index(last) + 1]
    share = (curve[last] - accuracy) / (curve[last] - curve[after])
    return Capacity(last * (after / last) ** share, "")


def recalled_pairs(curve: Mapping[int, float]) -> float | None:
    """The most pairs recalled at any N: N times the accuracy, less what guessing among the N values seen gives, so
    ``N (a - 1 / N) / (1 - 1 / N)``. None without a setting of more than one pair."""
    counts = [(n * a - 1) / (1 - 1 / n) for n, a in curve.items() if n > 1]
    return max(0.0, *counts) if counts else None


def capacity_columns(config: RunConfig, settings: Mapping[str, float]) -> dict[str, Any]:
    """Columns of a table, from what ``accuracy_by_pairs`` takes."""
    curve = accuracy_by_pairs(config, settings)
    found = find_capacity(curve)
    return {
        "capacity": found.pairs if found else None,
        "censored": found.censored if found else None,
        "recalled_pairs": recalled_pairs(curve),
    }
