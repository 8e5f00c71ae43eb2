"""One run after another in this process: for one run, for debugging, and where Ray is not wanted."""

from __future__ import annotations

from collections import deque

from mqar_bench.launching.executor import Task, Tell
from mqar_bench.launching.worker import execute


class InlineExecutor:
    """See ``Executor``; ``poll`` returns when the next run has ended.

    Args:
        threads: torch threads; ``None`` leaves them as they are, which is all cores.
    """

    slots = 1

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._waiting: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def poll(self, tell: Tell) -> None:
        task = self._waiting.popleft()
        execute(task, self._threads, lambda event: tell(task.config.run_id, event))

    def close(self) -> None:
        self._waiting.clear()
