"""What a run's settings are other than the defaults, as one would type them: the way back from ``overrides``."""

from __future__ import annotations

import json
from typing import Any

from mqar_bench.basics.frozen import Frozen
from mqar_bench.config.run import DataConfig, MixerSpec, ModelConfig, RunConfig
from mqar_bench.tasks import AnyTask, MQARConfig

#: What is listed entry by entry.
LISTED = ("train", "validation", "test", "mixers")


def list_overrides(config: RunConfig) -> list[tuple[str, str]]:
    """Dotted paths with the text of their values, with which ``apply_overrides`` makes this run of the default one.

    The names under which it is listed are not among them, but for ``mixer`` where it is not the last mixer's name, nor
    is ``ignored``, which is no setting.
    """
    found = [] if config.mixer == config.model.mixers[-1].name else [("mixer", to_text(config.mixer))]
    for part in ("train", "validation", "test"):
        tasks = getattr(config.data, part)
        if tasks != getattr(DataConfig(), part):
            found.append((f"data.{part}", json.dumps([_task(task) for task in tasks])))
    found += _simple("data", config.data)
    found += _mixers(config.model.mixers, ModelConfig().mixers)
    return found + _simple("model", config.model) + _simple("train", config.train)


def _simple(part: str, given: Frozen) -> list[tuple[str, str]]:
    """Of the settings that are no lists of tasks or mixers."""
    return [(f"{part}.{name}", to_text(value)) for name, value in given.changes() if name not in LISTED]


def _mixers(given: tuple[MixerSpec, ...], default: tuple[MixerSpec, ...]) -> list[tuple[str, str]]:
    """Entry by entry where there are as many as by default, else the whole list."""
    if len(given) != len(default):
        whole = [spec.model_dump(mode="json", exclude_defaults=True) for spec in given]
        return [("model.mixers", json.dumps(whole))]
    found = []
    for i, (spec, before) in enumerate(zip(given, default, strict=True)):
        path = f"model.mixers.{i}"
        if spec.name != before.name:
            found.append((f"{path}.name", to_text(spec.name)))
        if all(name.isidentifier() for name in spec.options):
            found += [(f"{path}.options.{name}", to_text(value)) for name, value in spec.options.items()]
        else:  # no path could name these
            found.append((f"{path}.options", json.dumps(spec.options)))
    return found


def _task(task: AnyTask) -> dict[str, Any]:
    """Its name and what is not as by default; the name goes without saying where it is that of MQAR."""
    values = task.model_dump(mode="json", exclude_defaults=True)
    return values if isinstance(task, MQARConfig) else {"name": task.name, **values}


def to_text(value: Any) -> str:
    """JSON, or text as it is where that is not JSON itself."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            return value
    return json.dumps(value)
