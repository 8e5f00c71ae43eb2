"""The runs of a sweep by its name: one of ours, or a module of the user's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import sweeps
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.modules import Place, is_own, locate
from mqar_bench.config import RunConfig
from mqar_bench.zoology.experiment import execute_module, translate_module
from sweeps.own import load_own
from sweeps.protocols import with_seeds

TakeLoggers = Callable[[str, Sequence[tuple[str, str | None]]], object]


def load_sweep(
    name: str,
    scale: str | None = None,
    seeds: int = 1,
    *,
    ignore_unknown: bool = False,
    say: Callable[[str], object] = warnings.warn,
    take_loggers: TakeLoggers | None = None,
) -> list[RunConfig]:
    """The runs of a sweep at a scale, with so many seeds.

    Args:
        name: one of ours, such as ``fig3``; or a module of the user's own, by its file or a dotted name, with
            ``configs`` as ``sweeps.own`` or Zoology has it.
        scale: such as ``demo``; None for a module that has one at most.
        seeds: of every run: its own and the next ones.
        ignore_unknown: of an experiment file of Zoology, leave out fields that are not known.
        say: told, a line each, which configs of such a file are refused (``refused: ..``) and what of the others
            differs here (``note: ..``).
        take_loggers: told, of such a file, its name and the projects of Weights & Biases that its runs ask for, each
            with its entity; without it, ``say`` is.

    Raises:
        UsageError: there is none such, no scale or no such scale, or a mistake in the user's module; one line.
    """
    if name not in sweeps.names() and is_own(name):
        return _load_module(name, scale, seeds, ignore_unknown, say, take_loggers)
    if ignore_unknown:
        raise _not_of_zoology(name)
    if name not in sweeps.names() and Path(f"{name}.py").is_file():
        raise UsageError(f"no sweep named {name!r}: did you mean the file {name}.py?")
    try:
        if scale is None:
            raise UsageError(f"sweep {name!r} needs a scale: --scale {', '.join(sweeps.scales(name))}")
        return sweeps.load(name, scale, seeds)
    except ValueError as error:
        if type(error) is not ValueError:  # a fault in the sweep, not in what was asked of it
            raise
        raise UsageError(str(error)) from error


def _load_module(
    name: str,
    scale: str | None,
    seeds: int,
    ignore_unknown: bool,
    say: Callable[[str], object],
    take_loggers: TakeLoggers | None,
) -> list[RunConfig]:
    place = locate(name)
    module = execute_module(place)
    if not callable(getattr(module, "configs", None)):
        if scale is not None and hasattr(module, "configs"):
            raise UsageError(f"--scale {scale}: an experiment file has no scales")
        return with_seeds(_load_zoology(place, module, ignore_unknown, say, take_loggers), seeds)
    if ignore_unknown:
        raise _not_of_zoology(name)
    return with_seeds(load_own(place, module, scale), seeds)


def _load_zoology(
    place: Place,
    module: ModuleType,
    ignore_unknown: bool,
    say: Callable[[str], object],
    take_loggers: TakeLoggers | None,
) -> tuple[RunConfig, ...]:
    """The runs of an experiment file of Zoology."""
    experiment = translate_module(place, module, ignore_unknown)
    for reason, count in experiment.refused.items():
        say(f"refused: {count} of {experiment.total} configs: {reason}")
    for note, count in experiment.notes.items():
        say(f"note: {count} of {experiment.total} configs: {note}")
    if not experiment.configs:
        raise UsageError(f"{place.shown}: none of its {experiment.total} configs can be run here")
    if take_loggers is not None:
        take_loggers(place.shown, experiment.loggers)
    elif experiment.loggers:
        projects = ", ".join(project for project, _ in experiment.loggers)
        say(f"note: they log to Weights & Biases, project {projects}: with --track wandb, here too")
    return experiment.configs


def _not_of_zoology(name: str) -> UsageError:
    return UsageError(f"--ignore-unknown-fields is for experiment files of Zoology; {name!r} is none")
