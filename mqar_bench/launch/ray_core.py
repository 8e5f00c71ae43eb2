"""Runs in parallel as Ray Core tasks. The only module that imports Ray, and it does so when it is used."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from mqar_bench.config import RunConfig
from mqar_bench.launch.worker import describe, failure
from mqar_bench.overrides import UsageError
from mqar_bench.result import RunResult, now
from mqar_bench.train import Progress

#: Only configs and records pass through Ray's object store; this is about the least that it takes.
OBJECT_STORE_BYTES = 80 * 2**20
POLL_SECONDS = 0.5


class RayExecutor:
    """See ``Executor``. Starts a Ray of its own on this machine, never joining one that it was not given.

    Where the calling program has initialised Ray already, that one is used and left running.

    Args:
        jobs: most runs at a time; ``None`` for as many as the resources below allow.
        cpus_per_run: CPUs Ray reserves for a run, and torch threads in it.
        gpus_per_run: GPUs Ray reserves for a run, 0.25 to pack four on one. With 0 a run sees no GPU.

    Raises:
        UsageError: Ray is not installed, or a run asks for more than there is.
    """

    def __init__(self, jobs: int | None = None, cpus_per_run: int = 1, gpus_per_run: float = 0.0) -> None:
        if gpus_per_run > 1 and gpus_per_run != int(gpus_per_run):
            raise UsageError(f"gpus per run must be at most 1, or whole, got {gpus_per_run:g}")
        self._ray: Any = _import_ray()
        self._cpus, self._gpus = cpus_per_run, gpus_per_run
        self._owns_ray = not self._ray.is_initialized()
        self._running: dict[Any, tuple[RunConfig, str, float]] = {}
        if self._owns_ray:
            self._ray.init(
                address="local",  # no address would join whatever cluster runs on this machine
                namespace="mqar-bench",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
            )
        try:
            self.slots = self._count_slots(jobs)
        except UsageError:
            self.close()
            raise
        # No retries by Ray: an attempt that nobody sees is an attempt that nobody can account for.
        options = {"num_cpus": cpus_per_run, "num_gpus": gpus_per_run, "max_retries": 0, "num_returns": "streaming"}
        self._task = self._ray.remote(_make_task()).options(**options)
        self._paths = [os.path.abspath(path) for path in sys.path]

    def _count_slots(self, jobs: int | None) -> int:
        """Runs that fit at a time. More are never handed to Ray: it would start a process for each."""
        there = self._ray.cluster_resources()
        slots = []
        for kind, wanted in (("CPU", self._cpus), ("GPU", self._gpus)):
            if wanted > there.get(kind, 0):
                raise UsageError(f"a run asks for {wanted:g} {kind}, but there are {there.get(kind, 0):g}")
            if wanted:
                slots.append(int(there[kind] / wanted + 1e-6))
        return min(slots) if jobs is None else min(jobs, *slots)

    def submit(self, config: RunConfig) -> None:
        messages = self._task.remote(self._paths, config.model_dump_json(), self._cpus, bool(self._gpus))
        self._running[messages] = (config, now(), time.perf_counter())

    def poll(self, report: Callable[[str, Progress], None]) -> list[RunResult]:
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
        ended = []
        for messages in ready:
            config, started_at, started = self._running[messages]
            try:
                message = self._ray.get(next(messages))
            except (self._ray.exceptions.RayError, StopIteration) as error:
                seconds = time.perf_counter() - started
                ended.append(failure(config, _reason(error), str(error) or repr(error), started_at, seconds))
            else:
                if isinstance(message, Progress):
                    report(config.run_id, message)
                    continue
                ended.append(RunResult.model_validate_json(message))
            del self._running[messages]
        return ended

    def close(self) -> None:
        """End the workers, with whatever they are doing."""
        if self._owns_ray:
            self._ray.shutdown()
        else:
            for messages in self._running:
                self._ray.cancel(messages, force=True)
        self._running.clear()


def _make_task() -> Callable[..., Iterator[Any]]:
    """The function that a Ray worker runs.

    Being local, it travels by value, and so can put the driver's import paths in place before it imports
    anything: this package need not be installed, and mixers from the user's own files are found.
    """

    def task(paths: list[str], config_json: str, threads: int, sees_gpus: bool) -> Iterator[Any]:
        import os
        import sys

        sys.path[:] = paths + [path for path in sys.path if path not in paths]
        if not sees_gpus:  # Ray hides the other GPUs from a run that reserves some, but not from one without
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from mqar_bench.launch.worker import stream

        yield from stream(config_json, threads)

    return task


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts: no reports to its makers
    try:
        import ray
    except ImportError:
        raise UsageError("ray is not installed: pip install ray, or use --executor inline") from None
    return ray


def _reason(error: Exception) -> str:
    """Why a task ended without a record, in one line."""
    known = {
        "WorkerCrashedError": "the worker process died (killed, or crashed in native code)",
        "OutOfMemoryError": "the worker was killed because the machine ran out of memory",
        "NodeDiedError": "the machine that ran it was lost",
        "StopIteration": "the run ended without a record",
    }
    name = type(error).__name__
    if cause := getattr(error, "cause", None):  # an exception outside of the run itself
        return describe(cause)
    return f"{name}: {known[name]}" if name in known else describe(error)
