"""One run, wherever it runs: config in, record out, both as JSON; an exception becomes a failed record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import torch

from mqar_bench.config import RunConfig
from mqar_bench.result import RunResult, now, provenance
from mqar_bench.train import Progress, pick_device, run


def execute(config_json: str, threads: int | None, report: Callable[[Progress], None] | None = None) -> str:
    """Train a config and return its record; ``KeyboardInterrupt`` alone passes through.

    Args:
        config_json: a ``RunConfig``.
        threads: torch threads for this run; ``None`` leaves them as they are.
        report: told how far the run is.
    """
    config = RunConfig.model_validate_json(config_json)
    threads_before, started = torch.get_num_threads(), time.perf_counter()
    started_at = now()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        result = run(config, report)
    except Exception as error:
        seconds = time.perf_counter() - started
        result = failure(config, describe(error), traceback.format_exc(), started_at, seconds)
    finally:
        torch.set_num_threads(threads_before)
    return result.model_dump_json()


def stream(config_json: str, threads: int | None) -> Iterator[Progress | str]:
    """``execute`` as a generator: its reports as they come, then the record."""
    messages: SimpleQueue[Progress | Future[str]] = SimpleQueue()
    with ThreadPoolExecutor(1, thread_name_prefix="run") as pool:
        future = pool.submit(execute, config_json, threads, messages.put)
        future.add_done_callback(messages.put)
        while isinstance(message := messages.get(), Progress):
            yield message
    yield future.result()


def failure(config: RunConfig, error: str, trace: str, started_at: str, seconds: float = 0.0) -> RunResult:
    """The record of a run that failed.

    Args:
        config: the run.
        error: what happened, in one line.
        trace: the whole traceback, or all that is known.
        started_at: when the run began, ISO 8601.
        seconds: how long it went on.
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
    )


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
