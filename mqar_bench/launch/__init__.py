"""Running many configs: a loop (``sweep``) over an executor (``inline``, ``ray_core``), watched by ``progress``."""

from mqar_bench.launch.sweep import EXECUTORS, Executor, Summary, Watcher, launch

__all__ = ["EXECUTORS", "Executor", "Summary", "Watcher", "launch"]
