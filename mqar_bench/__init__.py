"""Recall in efficient sequence models: tasks, training, runs, their records, and the command line.

What a script needs is here: ``RunConfig`` says what a run is, ``run`` trains one, ``launch`` many, ``Store`` keeps the
records, ``to_frame`` makes them a table, ``baselines`` is that of the runs that come with the package, and
``load_model`` gives a model that was kept. Each is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig
    from mqar_bench.launching import launch
    from mqar_bench.records.baselines import baselines
    from mqar_bench.records.store import Store
    from mqar_bench.records.table import to_frame
    from mqar_bench.training.loop import run
    from mqar_bench.training.weights import load_model

# Waiting OpenMP threads that spin slow training several times over on few cores; read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_HOMES = {
    "RunConfig": "config",
    "Store": "records.store",
    "baselines": "records.baselines",
    "launch": "launching",
    "load_model": "training.weights",
    "run": "training.loop",
    "to_frame": "records.table",
}

__all__ = ["RunConfig", "Store", "baselines", "launch", "load_model", "run", "to_frame"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
