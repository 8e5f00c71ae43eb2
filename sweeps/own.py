"""Sweeps of the user's own: a module with ``configs(scale)`` and, where it has scales, ``SCALES``, as those here have.

The runs are listed under the name that the module's place gives (``Place.folder_name``), whatever sweep their configs
say, so that no two modules share one; and under the scale that they were asked for, ``custom`` where there are none.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mixers.checks import brief
from mqar_bench.basics.errors import UsageError, hint
from mqar_bench.basics.modules import Place, explain, explain_elsewhere, line_of
from mqar_bench.config import FolderName, RunConfig
from mqar_bench.config.check import check_mixers, check_tasks

#: The scale of the runs of a module without scales.
NO_SCALE = "custom"

_NAME: TypeAdapter[str] = TypeAdapter(FolderName)


def load_own(place: Place, module: ModuleType, scale: str | None) -> list[RunConfig]:
    """The runs of a module at a scale, which may be None where there is one at most; every mixer and task tried out.

    Raises:
        UsageError: a mistake in the module, with its line, or a scale that it has not.
    """
    scales, function = _scales(place, module), module.configs
    scale = _choose(place, scales, scale)
    _check_call(place, function, scales)
    try:
        configs = function(scale) if scales else function()
    except (Exception, SystemExit) as error:
        raise UsageError(explain(place, error)) from error
    where, call = line_of(place, function), f"configs({scale!r})" if scales else "configs()"
    if not isinstance(configs, list | tuple):
        raise UsageError(f"{where}: {call} must return a list of RunConfigs, got {_kind(configs)}")
    if not configs:
        raise UsageError(f"{where}: {call} returned an empty list: there is nothing to run")
    _check_runs(place, f"{where}: {call}", configs)
    update = {"sweep": place.folder_name, "scale": scale or NO_SCALE}
    return [config.model_copy(update=update) for config in configs]


def _scales(place: Place, module: ModuleType) -> tuple[str, ...]:
    scales = getattr(module, "SCALES", ())
    if isinstance(scales, str):
        raise UsageError(f"{place.shown}: SCALES must be a tuple of names: ({scales!r},) instead of {scales!r}")
    if not isinstance(scales, list | tuple):
        raise UsageError(f"{place.shown}: SCALES must be a tuple of names, got {_kind(scales)}")
    for scale in scales:
        try:
            _NAME.validate_python(scale, strict=True)
        except ValidationError:
            raise UsageError(
                f"{place.shown}: SCALES has {brief(scale)}; a scale is named in letters, digits and _ . - (it is part"
                " of a folder's name)"
            ) from None
    if twice := [scale for scale in scales if list(scales).count(scale) > 1]:
        raise UsageError(f"{place.shown}: SCALES has {twice[0]!r} twice")
    return tuple(scales)


def _choose(place: Place, scales: Sequence[str], scale: str | None) -> str | None:
    if scale is not None and not scales:
        raise UsageError(f"--scale {scale}: {place.shown} has no scales (no SCALES)")
    if scale is None and len(scales) > 1:
        raise UsageError(f"sweep {place.given!r} needs a scale: --scale {', '.join(scales)}")
    if scale is not None and scale not in scales:
        raise UsageError(f"sweep {place.given!r} has no scale {scale!r}{hint(scale, scales)}")
    return scales[0] if scale is None and scales else scale


def _check_call(place: Place, function: Any, scales: Sequence[str]) -> None:
    """Whether ``configs`` can be called with a scale, where there are some, or else without."""
    try:
        inspect.signature(function).bind(*scales[:1])
    except TypeError:
        has = "SCALES, so configs takes one argument" if scales else "no SCALES, so configs takes no argument"
        raise UsageError(
            f"{line_of(place, function)}: the module has {has}, but it is configs{inspect.signature(function)}"
        ) from None
    except ValueError:  # one that says nothing of what it takes
        pass


def _check_runs(place: Place, where: str, configs: Sequence[Any]) -> None:
    seen: dict[str, int] = {}
    tried: set[tuple[str, str]] = set()
    for i, config in enumerate(configs):
        if not isinstance(config, RunConfig):
            raise UsageError(f"{where}: entry {i} is no RunConfig but {_kind(config)}")
        if config.run_id in seen:
            raise UsageError(f"{where}: entries {seen[config.run_id]} and {i} are the same run")
        seen[config.run_id] = i
        key = config.model.model_dump_json(), config.data.model_dump_json(exclude={"seed"}) + config.train.device
        if key in tried:
            continue
        tried.add(key)
        try:
            check_tasks(config)
            check_mixers(config)
        except UsageError as error:
            raise UsageError(f"{where}: entry {i}: {error}") from None
        except (Exception, SystemExit) as error:  # a mixer's or a task's module
            raise UsageError(f"{where}: entry {i}: {explain_elsewhere(place, error)}") from error


def _kind(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {brief(value)}"
