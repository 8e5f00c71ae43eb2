"""One run after another in this process: for one run, for debugging, and where Ray is not wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mqar_bench.config import RunConfig
from mqar_bench.launch.worker import execute
from mqar_bench.result import RunResult
from mqar_bench.train import Progress


class InlineExecutor:
    """See ``Executor``; ``poll`` returns when the next run has ended.

    Args:
        threads: torch threads; ``None`` leaves them as they are, which is all cores.
    """

    slots = 1

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._waiting: deque[RunConfig] = deque()

    def submit(self, config: RunConfig) -> None:
        self._waiting.append(config)

    def poll(self, report: Callable[[str, Progress], None]) -> list[RunResult]:
        config = self._waiting.popleft()
        record = execute(config.model_dump_json(), self._threads, lambda progress: report(config.run_id, progress))
        return [RunResult.model_validate_json(record)]

    def close(self) -> None:
        pass
