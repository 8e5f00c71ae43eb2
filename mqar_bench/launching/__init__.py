"""Running many configs: a ``loop`` over an executor (``inline``, ``ray_parent``), watched by ``progress``.

Ray is kept at a distance: ``ray_parent`` gives the runs to a process (``ray_process``) that is a program of its own
(``ray_child``), in which ``ray_core`` drives Ray.
"""

from mqar_bench.launching.budget import Budget
from mqar_bench.launching.screen import Screening
from mqar_bench.launching.stages import launch_screened
from mqar_bench.launching.sweep import EXECUTORS, Summary, launch
from mqar_bench.launching.watcher import Watcher

__all__ = ["EXECUTORS", "Budget", "Screening", "Summary", "Watcher", "launch", "launch_screened"]
