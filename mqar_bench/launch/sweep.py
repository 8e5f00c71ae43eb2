"""Run what the store does not hold yet, and record each run as soon as it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol

from mqar_bench.config import RunConfig
from mqar_bench.overrides import UsageError
from mqar_bench.result import RunResult
from mqar_bench.store import Store
from mqar_bench.train import Progress

EXECUTORS = ("ray", "inline")


class Executor(Protocol):
    """Where runs are executed. Whatever goes wrong in a run comes back as a failed record, never as an exception."""

    #: How many runs to submit at a time.
    slots: int

    def submit(self, config: RunConfig) -> None:
        """Start a run, or queue it."""

    def poll(self, report: Callable[[str, Progress], None]) -> list[RunResult]:
        """Wait a little; hand on the progress of runs by their id, and return the records of those that ended."""

    def close(self) -> None:
        """Stop everything."""


class Watcher(Protocol):
    """Who is told how a launch goes."""

    def start(self, configs: Sequence[RunConfig], skipped: int) -> None:
        """These are the runs; so many of them are done already, the others are about to be executed."""

    def progress(self, run_id: str, progress: Progress) -> None:
        """A run has come this far."""

    def finish(self, result: RunResult) -> None:
        """A run has ended, done or failed."""

    def close(self) -> None:
        """It is over, one way or another."""


@dataclass(frozen=True)
class Summary:
    """The records of a launch, by what became of the run."""

    done: tuple[RunResult, ...] = ()
    skipped: tuple[RunResult, ...] = ()
    failed: tuple[RunResult, ...] = ()


def launch(
    configs: Iterable[RunConfig],
    store: Store,
    executor: str = "ray",
    *,
    jobs: int | None = None,
    cpus_per_run: int | None = None,
    gpus_per_run: float | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> Summary:
    """Execute the runs that are not done yet, in the order given; a failed run does not stop the others.

    Calling it again resumes: what is done is skipped, what failed or was interrupted runs from scratch.

    Args:
        configs: the runs; a run listed twice is executed once.
        store: where records are looked up and written, each as soon as its run ends.
        executor: ``ray``, in parallel, or ``inline``, one after another in this process.
        jobs: most runs at a time, with ray; by default as many as fit.
        cpus_per_run: CPUs and torch threads of a run; by default 1 with ray, all of them inline.
        gpus_per_run: GPUs of a run, with ray; by default 1 where there is one and a run may use it, else 0.
        force: execute also what is done. A record that is done is replaced only by another such.
        watcher: told how it goes.

    Raises:
        UsageError: the executor does not exist, is not installed, or cannot give what is asked.
        StoreError: a record cannot be written; what was written before stays.
        KeyboardInterrupt: likewise, after the runs under way have been stopped.
    """
    if executor not in EXECUTORS:
        raise UsageError(f"no executor named {executor!r}: there is {', '.join(EXECUTORS)}")
    wanted: dict[str, RunConfig] = {}
    for config in configs:
        wanted.setdefault(config.run_id, config)
    known = {run_id: result for run_id, result in store.find(wanted.values()).items() if result.status == "done"}
    skipped = () if force else tuple(known[run_id] for run_id in wanted if run_id in known)
    waiting = deque(c for c in wanted.values() if force or c.run_id not in known)
    done: list[RunResult] = []
    failed: list[RunResult] = []
    if not waiting:
        return Summary(skipped=skipped)
    for config in {store.folder(config): config for config in waiting}.values():
        store.check_writable(config)
    with ExitStack() as stack:
        if watcher is not None:
            stack.enter_context(closing(watcher))
            watcher.start(tuple(wanted.values()), len(skipped))
        if executor == "ray" and gpus_per_run is None:
            gpus_per_run = _default_gpus(waiting)
        workers = stack.enter_context(closing(_make(executor, jobs, cpus_per_run, gpus_per_run)))
        report = watcher.progress if watcher is not None else _ignore
        running = 0
        while waiting or running:
            while waiting and running < workers.slots:
                workers.submit(waiting.popleft())
                running += 1
            for result in workers.poll(report):
                running -= 1
                if result.status == "done" or result.run_id not in known:
                    store.write(result)
                (done if result.status == "done" else failed).append(result)
                if watcher is not None:
                    watcher.finish(result)
    return Summary(tuple(done), skipped, tuple(failed))


def _make(executor: str, jobs: int | None, cpus_per_run: int | None, gpus_per_run: float | None) -> Executor:
    if executor == "ray":
        from mqar_bench.launch.ray_core import RayExecutor

        return RayExecutor(jobs, cpus_per_run or 1, gpus_per_run or 0.0)
    if jobs not in (None, 1) or gpus_per_run is not None:
        raise UsageError(
            "the inline executor has one run at a time and leaves the GPU to it: use ray, or no --jobs, --gpus-per-run"
        )
    from mqar_bench.launch.inline import InlineExecutor

    return InlineExecutor(cpus_per_run)


def _default_gpus(configs: Iterable[RunConfig]) -> float:
    import torch

    wanted = any(config.train.device != "cpu" for config in configs)
    return 1.0 if wanted and torch.cuda.is_available() else 0.0


def _ignore(run_id: str, progress: Progress) -> None:
    pass
