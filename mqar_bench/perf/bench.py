"""The bench that the cases measure on: rows in, timings and failures out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mixers.ramnet.ops import Backend
from mqar_bench.perf import PerfError
from mqar_bench.perf.check import Check
from mqar_bench.perf.inputs import draw_normal, make_generator
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import Shape
from mqar_bench.perf.timing import capture, flush_buffer, measure

Call = Callable[[], object]

PASSES = ("forward", "backward", "forward + backward")


@dataclass
class Bench:
    """What to measure on, how long, and what has been found so far.

    ``engines`` are RAM-Net's engines under test; the dense reference, which every case measures anyway, is not one.
    """

    device: torch.device
    shape: Shape
    engines: tuple[Backend, ...]
    peers: bool = True
    repeats: int = 50
    seconds: float = 0.5
    copy_speed: float = 1.0
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def time(self, row: Row, make: Callable[[], Call], calls: int = 1, graph: bool = False, flush: bool = True) -> None:
        """Measure one row and keep it.

        Args:
            row: what it is; timing, fractions and memory are filled in.
            make: draws the inputs and returns the call to time.
            calls: how many tokens or examples a call does; the row's time is that of one.
            graph: replay the call as a CUDA graph.
            flush: see ``measure``.

        Raises:
            PerfError: it failed, and is an engine of ours. What else fails is a row that says why.
        """
        if row.role == "peer" and not self.peers:
            return
        try:
            row = self._measured(row, make, calls, graph, flush)
        except Exception as error:  # whatever a library or its compiler raises on this machine
            if row.role == "ours":
                raise PerfError(f"{row.case}: {row.name} failed, {row.what}: {reason(error)}") from error
            row = row.model_copy(update={"cannot_run": reason(error)})
        self.rows.append(row)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # the next row may need all of it

    def _measured(self, row: Row, make: Callable[[], Call], calls: int, graph: bool, flush: bool) -> Row:
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            flush_buffer(self.device)
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        call = make()
        peak = None
        if on_gpu:
            call()
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device) - before
        timed = capture(call, self.device) if graph else call
        timing = measure(timed, self.device, self.repeats, self.seconds, flush).divided(calls)
        update: dict[str, Any] = {"timing": timing, "peak_memory_bytes": peak}
        if row.minimum_bytes is not None:
            update["fraction_minimum"] = row.minimum_bytes / self.copy_speed / timing.median
            if row.row_bytes is not None:
                moved = row.minimum_bytes + row.row_bytes
                update["fraction_with_rows"] = moved / self.copy_speed / timing.median
        return row.model_copy(update=update)


def reason(error: BaseException) -> str:
    """Why something could not run, in one line."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "fla":
        return "fla is not installed"
    if isinstance(error, torch.OutOfMemoryError):
        return "out of GPU memory"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def one_pass(what: str, forward: Callable[[], Tensor], leaves: Sequence[Tensor], device: torch.device) -> Call:
    """``forward``, its backward alone, or both, as a call.

    Args:
        what: one of ``PASSES``.
        forward: output from ``leaves``, which require gradients; the gradient that comes in is random.
    """
    if what == "forward":
        return forward
    o = forward()
    do = draw_normal(make_generator(device, 99), *o.shape).to(o.dtype)
    if what == "backward":
        return partial(torch.autograd.grad, o, leaves, do, retain_graph=True)
    return lambda: torch.autograd.grad(forward(), leaves, do)


def relate(rows: Sequence[Row]) -> list[Row]:
    """The rows with ``times_ours`` filled in: each median over that of our first engine on the same problem."""
    ours: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row.role == "ours" and row.timing is not None:
            ours.setdefault((row.case, row.what, row.size), row.timing.median)
    related = []
    for row in rows:
        base = ours.get((row.case, row.what, row.size))
        if base and row.timing is not None:
            row = row.model_copy(update={"times_ours": row.timing.median / base})
        related.append(row)
    return related
