"""Running many configs: a loop (``sweep``) over an executor (``inline``, ``ray_core``), watched by ``progress``."""

from mqar_bench.launch.budget import Budget
from mqar_bench.launch.screen import Screening
from mqar_bench.launch.sweep import EXECUTORS, Summary, launch
from mqar_bench.launch.watcher import Watcher

__all__ = ["EXECUTORS", "Budget", "Screening", "Summary", "Watcher", "launch"]
