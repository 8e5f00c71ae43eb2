"""Recall in efficient sequence models: tasks, training, runs, their records, and the command line.

What a script or a notebook needs is here; each name is imported when it is first asked for.

| to | there is |
|---|---|
| say what a run is | ``RunConfig`` of ``DataConfig``, ``ModelConfig``, ``TrainConfig``; ``MixerSpec``, ``MQARConfig`` |
| train over segments | ``SegmentsConfig``, of ``TrainConfig`` |
| take one from a sweep or a file, and change it | ``load_sweep``, ``read_config``, ``with_settings`` |
| check a mixer of one's own first | ``check``, which gives a ``Report`` |
| train one, with its model or without, and leave nothing behind | ``fit``, ``run`` |
| train many, in parallel or not, with a record each; resume | ``launch``, which gives a ``Summary``; ``make_watcher`` |
| the same with learning rates screened, within a time | ``launch_screened``, ``Screening``; ``Budget`` |
| read records, each a ``RunResult`` | ``Store`` |
| tabulate and draw them | ``to_frame``; ``make_figure``, which gives a ``Drawing`` |
| set them beside the runs that come with the package | ``baselines``, a table like ``to_frame``'s |
| use a model that was kept | ``load_model`` |

A mistake is a ``UsageError``, which is a ``ValueError``, of the one line that the command line says.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, SegmentsConfig, TrainConfig
    from mqar_bench.config.change import with_settings
    from mqar_bench.config.overrides import read_config
    from mqar_bench.contract.report import Report, check
    from mqar_bench.launching import Budget, Screening, Summary, launch, launch_screened
    from mqar_bench.launching.progress import make_watcher
    from mqar_bench.records.baselines import baselines
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store
    from mqar_bench.records.table import to_frame
    from mqar_bench.tasks import MQARConfig
    from mqar_bench.training.loop import fit, run
    from mqar_bench.training.weights import load_model
    from plots import make_figure
    from plots.drawing import Drawing
    from sweeps.loading import load_sweep

# Waiting OpenMP threads that spin slow training several times over on few cores; read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Large tensors are given back to the system and taken from it anew all the time; in huge pages that costs less. glibc
# reads it as a process starts: this is for those that Ray starts.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

_HOMES = {
    "Budget": "mqar_bench.launching",
    "DataConfig": "mqar_bench.config",
    "Drawing": "plots.drawing",
    "MQARConfig": "mqar_bench.tasks",
    "MixerSpec": "mqar_bench.config",
    "ModelConfig": "mqar_bench.config",
    "Report": "mqar_bench.contract.report",
    "RunConfig": "mqar_bench.config",
    "RunResult": "mqar_bench.records.result",
    "Screening": "mqar_bench.launching",
    "SegmentsConfig": "mqar_bench.config",
    "Store": "mqar_bench.records.store",
    "Summary": "mqar_bench.launching",
    "TrainConfig": "mqar_bench.config",
    "UsageError": "mqar_bench.basics.errors",
    "baselines": "mqar_bench.records.baselines",
    "check": "mqar_bench.contract.report",
    "fit": "mqar_bench.training.loop",
    "launch": "mqar_bench.launching",
    "launch_screened": "mqar_bench.launching",
    "load_model": "mqar_bench.training.weights",
    "load_sweep": "sweeps.loading",
    "make_figure": "plots",
    "make_watcher": "mqar_bench.launching.progress",
    "read_config": "mqar_bench.config.overrides",
    "run": "mqar_bench.training.loop",
    "to_frame": "mqar_bench.records.table",
    "with_settings": "mqar_bench.config.change",
}

__all__ = [
    "Budget",
    "DataConfig",
    "Drawing",
    "MQARConfig",
    "MixerSpec",
    "ModelConfig",
    "Report",
    "RunConfig",
    "RunResult",
    "Screening",
    "SegmentsConfig",
    "Store",
    "Summary",
    "TrainConfig",
    "UsageError",
    "baselines",
    "check",
    "fit",
    "launch",
    "launch_screened",
    "load_model",
    "load_sweep",
    "make_figure",
    "make_watcher",
    "read_config",
    "run",
    "to_frame",
    "with_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
