"""One run, wherever it runs: a task in, events out; an exception becomes a failed record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import torch

from mqar_bench.basics.errors import describe
from mqar_bench.config import RunConfig
from mqar_bench.launching.executor import Begun, Event, Note, Paused, Saved, Task, Trained
from mqar_bench.launching.share import Arrays, from_arrays
from mqar_bench.records.result import RunResult, now, provenance
from mqar_bench.training.checkpoint import CheckpointError
from mqar_bench.training.data import TaskData
from mqar_bench.training.device import pick_device, with_threads
from mqar_bench.training.loop import fit
from mqar_bench.training.session import Progress, Stopped
from mqar_bench.training.weights import encode_weights

#: A run that is lost begins again from a state at most this old.
SAVE_SECONDS = 30.0


def execute(task: Task, threads: int | None, tell: Callable[[Event], None], data: TaskData | None = None) -> None:
    """Train, and tell of it; the last event is the one that ends the run. ``KeyboardInterrupt`` alone passes through.

    A checkpoint that cannot be used is told of, and the run begins from scratch.

    Args:
        task: what to train.
        threads: torch threads for this run; ``None`` leaves them as they are.
        tell: told of every event.
        data: the task data, where somebody has built it already.
    """
    config, checkpoint = task.config, task.checkpoint
    started, started_at = time.monotonic(), now()
    fraction = 0.0

    def report(progress: Progress) -> None:
        nonlocal fraction
        fraction = progress.fraction
        tell(progress)

    def is_over() -> bool:
        return task.seconds is not None and time.monotonic() - started > task.seconds

    def train(checkpoint: bytes | None) -> RunResult:
        model, result = fit(
            config,
            report,
            measure=tell if task.measure else None,
            checkpoint=checkpoint,
            save=lambda state: tell(Saved(state, fraction)),
            save_every=SAVE_SECONDS if task.save_every is None else task.save_every,
            stop=is_over,
            data=data,
            keep=task.save_weights,
        )
        if task.save_weights:
            tell(Trained(encode_weights(model, result)))
        return result

    ended: Event
    try:
        with with_threads(threads):
            try:
                ended = train(checkpoint)
            except CheckpointError as error:
                tell(Note(f"starts from scratch, as its checkpoint cannot be used: {error}"))
                ended = train(None)
    except Stopped as stopped:
        ended = Paused(stopped.checkpoint, stopped.fraction)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a mixer may call sys.exit
        seconds = time.monotonic() - started
        ended = failure(config, describe(error), traceback.format_exc(), started_at, seconds)
    tell(ended)


def stream(task: Task, threads: int | None, data: TaskData | None = None) -> Iterator[Event]:
    """``execute`` as a generator of its events."""
    events: SimpleQueue[Event | Future[None]] = SimpleQueue()
    with ThreadPoolExecutor(1, thread_name_prefix="run") as pool:
        future = pool.submit(execute, task, threads, events.put, data)
        future.add_done_callback(events.put)
        while not isinstance(event := events.get(), Future):
            yield event
    future.result()


def serve(
    config_json: str,
    checkpoint: bytes | None,
    seconds: float | None,
    ends: float | None,
    save_every: float | None,
    save_weights: bool,
    measure: bool,
    arrays: Arrays,
    threads: int,
    gpus: float,
) -> Iterator[Event]:
    """``stream`` in a process of Ray's, from plain values: those of a ``Task`` and when its seconds are over by
    ``time.time()``, the task data, and the share of the machine that the run has. Tells first that it has begun."""
    yield Begun()
    config = RunConfig.model_validate_json(config_json)
    if seconds is not None and ends is not None:  # starting this process took a part of them
        seconds = min(seconds, ends - time.time())
    if 0 < gpus < 1 and torch.cuda.is_available():  # Ray packs runs on a GPU, but does not divide its memory
        torch.cuda.set_per_process_memory_fraction(gpus)
    task = Task(config, checkpoint, seconds, save_every, save_weights, measure)
    yield from stream(task, threads, from_arrays(config.data, arrays))


def failure(
    config: RunConfig, error: str, trace: str, started_at: str, seconds: float = 0.0, lost: bool = False
) -> RunResult:
    """The record of a run that failed.

    Args:
        config: the run.
        error: what happened, in one line.
        trace: the whole traceback, or all that is known.
        started_at: when the run began, ISO 8601.
        seconds: how long it went on.
        lost: its process or machine died, the run itself did not fail.
    """
    try:
        device = pick_device(config.train.device)
    except ValueError:  # it may well have failed for this
        device = torch.device("cpu")
    return RunResult(
        run_id=config.run_id,
        status="failed",
        config=config,
        provenance=provenance(device, started_at),
        seconds=seconds,
        error=error,
        traceback=trace,
        lost=lost,
    )
