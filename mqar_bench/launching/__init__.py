"""Running many configs: a loop (``sweep``) over an executor (``inline``, ``ray_core``), watched by ``progress``."""

from mqar_bench.launching.budget import Budget
from mqar_bench.launching.screen import Screening
from mqar_bench.launching.sweep import EXECUTORS, Summary, launch
from mqar_bench.launching.watcher import Watcher

__all__ = ["EXECUTORS", "Budget", "Screening", "Summary", "Watcher", "launch"]
