"""Trackers by name: those that are here, and classes of the user's own by dotted path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from mqar_bench.basics.errors import UsageError, describe, hint, one_line
from mqar_bench.basics.machine.software import NAME, find_version
from mqar_bench.tracking.base import Tracker

#: Names, which are also those of packages and of extras, and the classes. They are imported when a run starts.
OURS = {"tensorboard": "TensorBoard", "wandb": "WeightsAndBiases"}
METHODS = ("start", "log", "finish")


def load_tracker(name: str) -> Callable[[], Tracker]:
    """What makes a tracker for a run.

    Args:
        name: ``tensorboard``, ``wandb``, or a dotted path to a class such as ``my_trackers.Mine``, whose module is
            imported.

    Raises:
        UsageError: there is none such, or its package is not installed.
    """
    if name in OURS:
        if find_version(name) is None:
            raise UsageError(f"--track {name}: {name} is not installed: pip install '{NAME}[{name}]'")
        return lambda: getattr(importlib.import_module(f"mqar_bench.tracking.{name}"), OURS[name])()
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        known = hint(name, OURS)
        own = "" if "did you mean" in known else ", or one of your own, such as my_trackers.Mine"
        raise UsageError(f"no tracker named {name!r}{known}{own}")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"--track {name}: {one_line(describe(error))}") from error
    made = getattr(module, attribute, None)
    if made is None:
        raise UsageError(f"--track {name}: module {module_name!r} has no {attribute!r}{hint(attribute, vars(module))}")
    if lacks := [method for method in METHODS if not callable(getattr(made, method, None))]:
        raise UsageError(f"--track {name}: a tracker has {', '.join(METHODS)}; it does not define {', '.join(lacks)}")
    return cast(Callable[[], Tracker], made)
