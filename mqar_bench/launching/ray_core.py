"""Runs in parallel as Ray Core tasks, from a process that may be lost with Ray."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mqar_bench.basics.errors import UsageError, describe
from mqar_bench.basics.machine.software import git_state
from mqar_bench.config import DataConfig, RunConfig
from mqar_bench.launching.executor import Event, Lost, Note, Paused, Task, Tell
from mqar_bench.launching.ray_start import dead_part, import_ray, join, start
from mqar_bench.launching.ray_trouble import unreachable
from mqar_bench.launching.share import Arrays, to_arrays
from mqar_bench.launching.silence import Silence
from mqar_bench.launching.worker import failure
from mqar_bench.records.result import RunResult, now
from mqar_bench.training.data import shared_data

#: Of a task: config in JSON, checkpoint, seconds, when these are over by ``time.time()``, how often to save, and
#: whether to tell the weights and what is measured.
PlainTask = tuple[str, bytes | None, float | None, float | None, float | None, bool, bool]

POLL_SECONDS = 0.5
#: How old the count of a cluster's machines may be.
COUNT_SECONDS = 5.0
#: What a run that was told to end by itself gets on top before it is taken for stuck.
GRACE_SECONDS = 10.0
#: How soon after a run that it had Ray is seen to be dead, or has taken this process along.
SETTLE_SECONDS = 0.5


class RayDied(RuntimeError):
    """The Ray that was started is dead, or the head of the cluster is away; one line that says how."""


class RayExecutor:
    """See ``Executor``; ``submit`` and ``poll`` raise ``RayDied`` too. Starts a Ray of its own on this machine, or
    joins the cluster that it is given.

    Where the calling program has initialised Ray already, that one is used and left running.

    Args:
        configs: the runs that will be submitted: their own mixers are sent to a cluster, their data sizes Ray's memory.
        address: of a cluster, ``host:port`` or ``auto``; ``None`` for this machine alone.
        jobs: most runs at a time; ``None`` for as many as the resources below allow.
        cpus_per_run: CPUs Ray reserves for a run, and torch threads in it.
        gpus_per_run: GPUs Ray reserves for a run, 0.25 to pack four on one, each with a quarter of its memory. With 0
            a run sees no GPU.

    Raises:
        UsageError: Ray is not installed, the cluster cannot be reached, or a run asks for more than there is.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig] = (),
        address: str | None = None,
        jobs: int | None = None,
        cpus_per_run: int = 1,
        gpus_per_run: float = 0.0,
    ) -> None:
        self._ray: Any = import_ray()
        self._address = address
        self._jobs, self._cpus, self._gpus = jobs, cpus_per_run, gpus_per_run
        self._owns_ray = not self._ray.is_initialized()
        self._is_private = self._owns_ray and address is None
        self._running: dict[Any, tuple[Task, str, float]] = {}
        self._data: dict[DataConfig, Any] = {}
        self._counted: tuple[float, int] | None = None
        self._empty: Silence | None = None
        # a cluster gets the code by post, and has paths of its own
        self._paths = [] if address else [os.path.abspath(path) for path in sys.path]
        #: Ray's logs, where it is our own.
        self.logs: Path | None = None
        try:
            if self._is_private:
                self.logs = start(self._ray, configs)
            elif self._owns_ray:
                join(self._ray, configs, str(address))
            # No retries by Ray: an attempt that nobody sees is an attempt that nobody can account for.
            options = {"num_cpus": cpus_per_run, "num_gpus": gpus_per_run, "max_retries": 0}
            self._task = self._ray.remote(_make_task()).options(**options, num_returns="streaming")
            self._check_resources()
        except BaseException:
            self.close()
            raise

    def _check_alive(self) -> None:
        if self._is_private and (dead := dead_part(self._ray)):
            raise RayDied(dead)

    @property
    def slots(self) -> int:
        """Runs that fit at a time. More are never handed to Ray: it would start a process for each."""
        if self._counted is None or time.monotonic() - self._counted[0] > COUNT_SECONDS:
            self._counted = (time.monotonic(), self._count_slots())
        return self._counted[1] if self._jobs is None else min(self._jobs, self._counted[1])

    def _count_slots(self) -> int:
        fits = 0
        for node in self._ray.nodes():
            there = node["Resources"] if node["Alive"] else {}
            wanted = [(there.get("CPU", 0), self._cpus), (there.get("GPU", 0), self._gpus)]
            fits += min(int(have / need + 1e-6) for have, need in wanted if need)
        return fits

    def _check_resources(self) -> None:
        for kind, wanted in (("CPU", self._cpus), ("GPU", self._gpus)):
            most = max((node["Resources"].get(kind, 0) for node in self._ray.nodes() if node["Alive"]), default=0)
            if wanted > most:
                raise UsageError(f"a run asks for {wanted:g} {kind}, but no machine has more than {most:g}")

    def draw(self, config: DataConfig) -> None:
        """Build the task data that a run is about to need, which may take a while."""
        if config not in self._data:
            shared_data(config)

    def submit(self, task: Task) -> None:
        self._check_alive()
        ends = None if task.seconds is None else time.time() + task.seconds
        config = task.config.model_dump_json()
        plain = (config, task.checkpoint, task.seconds, ends, task.save_every, task.save_weights, task.measure)
        events = self._task.remote(self._paths, plain, self._share(task.config.data), self._cpus, self._gpus)
        self._running[events] = (task, now(), time.monotonic())

    def _share(self, config: DataConfig) -> Any:
        """The task data in Ray's memory; what no run uses any more, Ray drops."""
        reference = self._data.pop(config, None)
        if reference is None:
            reference = self._ray.put(to_arrays(config))
        self._data[config] = reference
        while len(self._data) > 2:
            del self._data[next(iter(self._data))]
        return reference

    def poll(self, tell: Tell) -> None:
        self._check_alive()
        self._tell_if_empty(tell)
        if not self._running:
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
        if ready and len(self._running) > 1:  # whatever else has come
            ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        heard = [(events, self._receive(events)) for events in ready]
        if any(isinstance(event, Lost) for _, event in heard):
            self._settle()
        for events, event in heard:
            task = self._running[events][0]
            if isinstance(event, Paused | Lost | RunResult):
                del self._running[events]
            tell(task.config.run_id, event)
        self._end_overdue(tell)

    def _tell_if_empty(self, tell: Tell) -> None:
        """Say now and then that the cluster has no machine for a run."""
        if self.slots:
            self._empty = None
        else:
            self._empty = self._empty or Silence()
            if waited := self._empty.word():
                tell("", Note(f"no machine of the cluster can take a run: waiting for one, for {waited} so far"))

    def _settle(self) -> None:
        """Before a run is said to be lost, wait for what may be the reason: that Ray is lost, and takes all along."""
        until = time.monotonic() + SETTLE_SECONDS
        while self._owns_ray and time.monotonic() < until:
            self._check_alive()
            time.sleep(0.05)
        if self._address and (reason := unreachable(self._address).lower()):
            raise RayDied(reason)
        self._counted = (time.monotonic(), self._count_slots())  # which only a head that is there can tell

    def _receive(self, events: Any) -> Event:
        task, started_at, started = self._running[events]
        try:
            event = self._ray.get(next(events))
            return self._with_commit(event) if isinstance(event, RunResult) else event
        except self._ray.exceptions.RayTaskError as error:  # an exception outside of the run itself
            seconds = time.monotonic() - started
            return failure(task.config, describe(error.cause or error), str(error), started_at, seconds)
        except (self._ray.exceptions.RayError, StopIteration) as error:
            name = type(error).__name__
            return Lost(_reason(error), time.monotonic() - started, out_of_memory=name == "OutOfMemoryError")

    def _with_commit(self, result: RunResult) -> RunResult:
        """The record with the commit of the code that was sent, which had none where it ran."""
        if self._is_private or result.provenance.git_commit is not None:
            return result
        commit, dirty = git_state()
        made = result.provenance.model_copy(update={"git_commit": commit, "git_dirty": dirty})
        return result.model_copy(update={"provenance": made})

    def _end_overdue(self, tell: Tell) -> None:
        """Give up on runs that have not ended by themselves when their seconds were over."""
        for events, (task, _, started) in list(self._running.items()):
            seconds = time.monotonic() - started
            if task.seconds is not None and seconds > task.seconds + GRACE_SECONDS:
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(events, force=True)
                del self._running[events]
                tell(task.config.run_id, Lost("it did not stop when its time was over", seconds))

    def close(self) -> None:
        """End the workers, with whatever they are doing."""
        for events in [] if self._is_private else self._running:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(events, force=True)
        self._running.clear()
        if self._owns_ray:
            self._ray.shutdown()


def _make_task() -> Callable[..., Iterator[Event]]:
    """The function that a Ray worker runs.

    Being local, it travels by value, and being given plain values only, it can put the driver's import paths in place
    before anything is imported: this package need not be installed, and mixers from the user's own files are found.
    """

    def task(paths: list[str], plain: PlainTask, arrays: Arrays, threads: int, gpus: float) -> Iterator[Event]:
        import os
        import sys

        sys.path[:] = paths + [path for path in sys.path if path not in paths]
        if not gpus:  # Ray hides the other GPUs from a run that reserves some, but not from one without
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from mqar_bench.launching.worker import serve

        yield from serve(*plain, arrays, threads, gpus)

    return task


def _reason(error: Exception) -> str:
    """Why a task ended without a record, in one line."""
    known = {
        "WorkerCrashedError": "the worker process died (killed, or crashed in native code)",
        "OutOfMemoryError": "the worker was killed because the machine ran out of memory",
        "NodeDiedError": "the machine that ran it was lost",
        "StopIteration": "the run ended without a record",
    }
    name = type(error).__name__
    return f"{name}: {known[name]}" if name in known else describe(error)
