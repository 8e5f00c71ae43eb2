"""A run and its record as flat names and values, such as trackers of experiments and their exports have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mqar_bench.config import RunConfig, setting_names
from mqar_bench.records.capacity import capacity_columns
from mqar_bench.records.result import Epoch, RunResult
from mqar_bench.tasks import AnyTask

if TYPE_CHECKING:
    import pandas as pd

#: Of a record, what is a value as it stands.
PLAIN = (
    "status", "accuracy", "state_size", "active_state_size", "num_parameters", "steps", "seconds", "train_seconds",
    "tokens_per_second", "peak_memory_bytes", "lost", "resumed",
)  # fmt: skip
#: What Weights & Biases calls the end of a run.
STATES = {"done": "finished", "failed": "failed"}


def run_name(config: RunConfig) -> str:
    """A run's name for people: architecture and run id, as in an export to Zoology."""
    return f"{config.mixer}-{config.run_id}"


def run_group(config: RunConfig) -> str:
    """What a run belongs to: its sweep and scale."""
    return f"{config.sweep}-{config.scale}"


def flat_config(config: RunConfig) -> dict[str, Any]:
    """Every setting by its dotted path, ``model.mixers.1.options.top_k``; empty lists and objects have none, nor have
    settings of a model that the records leave out where they are as by default."""
    return dict(_flatten(config.model_dump(mode="json"), ""))


def _flatten(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _flatten(inner, f"{path}.{key}" if path else str(key))


def name_scores(part: str, tasks: Iterable[AnyTask], settings: Mapping[str, float]) -> dict[str, float]:
    """Accuracies by Zoology's keys: ``valid/accuracy`` and, of the settings with as many pairs,
    ``valid/num_kv_pairs/accuracy-8``; likewise by whatever else the tasks group by. Each setting on its own is
    ``valid/setting/accuracy-L64-kv8``. Means are over settings, which Zoology weights by their examples.

    Args:
        part: ``valid`` or ``test``.
        tasks: what was scored.
        settings: the accuracy of each, by its name.
    """
    slices: defaultdict[tuple[str, Any], list[float]] = defaultdict(list)
    tasks = list(tasks)
    for name, task in zip(setting_names(tasks), tasks, strict=True):
        for key in task.slices:
            slices[key, getattr(task, key)].append(settings[name])
    means = {f"{part}/{key}/accuracy-{value}": sum(found) / len(found) for (key, value), found in slices.items()}
    single = {f"{part}/setting/accuracy-{name}": accuracy for name, accuracy in settings.items()}
    return {f"{part}/accuracy": sum(settings.values()) / len(settings), **means, **single}


def name_epoch(epoch: Epoch, guides: Iterable[AnyTask]) -> dict[str, float]:
    """``name_scores`` of an epoch on the settings that guide training, and ``valid/loss`` where there is one."""
    loss = {} if epoch.guide_loss is None else {"valid/loss": epoch.guide_loss}
    return {**name_scores("valid", guides, epoch.settings), **loss}


def summarize(result: RunResult) -> dict[str, Any]:
    """What a run came to, flat: the last values of what is logged on the way, the scores of the test settings under
    ``test/``, sizes, times, capacity and where it comes from. What it has not is None or has no name."""
    data, last = result.config.data, result.epochs[-1] if result.epochs else None
    found: dict[str, Any] = {name: getattr(result, name) for name in PLAIN}
    if result.curve is not None:
        found |= {"train/loss": result.curve.loss[-1], "train/accuracy": result.curve.accuracy[-1]}
    elif last is not None:
        found |= {"train/loss": last.loss}
    if last is not None:
        found |= {"epoch": last.epoch, **name_epoch(last, data.guides)}
    if result.settings:
        found |= name_scores("test", data.test, result.settings)
    found |= capacity_columns(result.config, result.settings)
    found |= {
        "retries": len(result.retries),
        "screened": len(result.screen.rivals) if result.screen else None,
        "error": result.error.partition("\n")[0] if result.error else None,
    }
    return found | dict(_flatten(result.provenance.model_dump(mode="json"), "provenance"))


def to_flat_frame(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row a run, with the columns that an export of runs from Weights & Biases has.

    Columns: ``id``, ``name``, ``state`` (``finished`` or ``failed``), ``group``, ``created_at``; ``config.<path>``, as
    ``flat_config`` has them; ``summary.<name>``, as ``summarize`` has them. What a run has not is missing.
    """
    import pandas as pd

    rows = [_row(result) for result in results]
    names = dict.fromkeys(name for row in rows for name in row)
    order = sorted(names, key=lambda name: name.partition(".")[0] if "." in name else "")  # stable
    kinds = {name: kind for name in order if (kind := _kind(row.get(name) for row in rows))}
    return pd.DataFrame(rows, columns=order).astype(kinds)


def _kind(values: Iterable[Any]) -> str:
    """A column's type where some may be missing; empty for what is no numbers."""
    found = {type(value) for value in values if value is not None}
    for kind, types in (("boolean", {bool}), ("Int64", {int}), ("float64", {int, float})):
        if found and found <= types:
            return kind
    return ""


def _row(result: RunResult) -> dict[str, Any]:
    return {
        "id": result.run_id,
        "name": run_name(result.config),
        "state": STATES[result.status],
        "group": run_group(result.config),
        "created_at": result.provenance.started_at,
        **{f"config.{name}": value for name, value in flat_config(result.config).items()},
        **{f"summary.{name}": value for name, value in summarize(result).items()},
    }
