"""The bench that the cases measure on: rows in; timings, failures and errors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from mixers.ramnet.ops import Backend
from mqar_bench.perf import PerfError
from mqar_bench.perf.inputs import draw_normal, make_generator
from mqar_bench.perf.record import Check, Role, Row
from mqar_bench.perf.shape import Shape
from mqar_bench.perf.timing import capture, flush_buffer, measure

Call = Callable[[], object]
Results = Callable[[Backend | None, torch.dtype], Mapping[str, Tensor]]

#: An engine may have this relative error, or so many times that of plain PyTorch.
FLOOR, FACTOR = 1e-6, 2.0


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

    def check(self, case: str, results: Results, dtype: torch.dtype) -> None:
        """Compare what each engine gives in ``dtype`` with what the definition, engine None, gives in float64."""
        exact, plain = results(None, torch.float64), results(None, dtype)
        for engine in self.engines:
            self.checks += compare(case, engine, results(engine, dtype), plain, exact)

    def each(self, time: Callable[[Backend, Shape, str], None], bytes_per_token: int, least: int = 1) -> None:
        """Call ``time``, with a note on the size, for each engine at the whole size; then for the reference, and for
        each engine again, at one that the reference can do (see ``Shape.for_reference``)."""
        short, size = self.shape.for_reference(bytes_per_token, self.device.type, least)
        for shape, note in dict.fromkeys([(self.shape, ""), (short, size)]):
            for engine in self.engines:
                time(engine, shape, note)
        time("reference", short, size)

    def time(self, row: Row, make: Callable[[], Call], tokens: int | None = None, graph: bool = False) -> None:
        """Measure one row and keep it.

        Args:
            row: what it is; timing, fractions and memory are filled in.
            make: draws the inputs and returns the call to time.
            tokens: how many a call does one after another; the row's time is that of one, and no cache is flushed.
            graph: replay the call as a CUDA graph.

        Raises:
            PerfError: it failed, and is an engine of ours. What else fails is a row that says why.
        """
        if row.role == "peer" and not self.peers:
            return
        try:
            row = self._measured(row, make, tokens, graph)
        except Exception as error:  # whatever a library or its compiler raises on this machine
            if row.role == "ours":
                raise PerfError(f"{row.case}: {row.name} failed, {row.what}: {reason(error)}") from error
            row = row.model_copy(update={"cannot_run": reason(error)})
        self.rows.append(row)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # the next row may need all of it

    def _measured(self, row: Row, make: Callable[[], Call], tokens: int | None, graph: bool) -> Row:
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
        timing = measure(timed, self.device, self.repeats, self.seconds, tokens is None, tokens or 1)
        update: dict[str, Any] = {"timing": timing, "peak_memory_bytes": peak}
        if row.minimum_bytes is not None:
            update["fraction_minimum"] = row.minimum_bytes / self.copy_speed / timing.median
            if row.row_bytes is not None:
                moved = row.minimum_bytes + row.row_bytes
                update["fraction_with_rows"] = moved / self.copy_speed / timing.median
        return row.model_copy(update=update)


def role(engine: Backend) -> Role:
    return "reference" if engine == "reference" else "ours"


def compare(
    case: str, engine: str, got: Mapping[str, Tensor], plain: Mapping[str, Tensor], exact: Mapping[str, Tensor]
) -> list[Check]:
    """Check every tensor of ``exact``.

    Args:
        got: the engine's, in the precision that is measured.
        plain: the dense PyTorch reference's in the same precision.
        exact: the reference's in float64.

    Raises:
        PerfError: an error above twice that of ``plain`` and above 1e-6, or NaN; the message names the tensor.
    """
    checks = []
    for name, tensor in exact.items():
        error, plain_error = relative_error(got[name], tensor), relative_error(plain[name], tensor)
        bound = max(FACTOR * plain_error, FLOOR)
        if not error <= bound:  # a NaN is no less wrong
            raise PerfError(
                f"{case}: the {engine} engine is wrong: {name} has a relative error of {error:.2e} against float64,"
                f" above {bound:.2e}"
            )
        checks.append(Check(case=case, engine=engine, tensor=name, error=error, plain_error=plain_error, bound=bound))
    return checks


def relative_error(got: Tensor, exact: Tensor) -> float:
    """``|got - exact| / |exact|`` in the L2 norm, computed in float64; NaN if anything in ``got`` is."""
    got, exact = got.detach().double(), exact.detach().double()
    return float((got - exact).norm() / exact.norm().clamp_min(torch.finfo(torch.float64).tiny))


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
    problem = attrgetter("case", "what", "size")
    ours = {problem(row): row.timing.median for row in reversed(rows) if row.role == "ours" and row.timing}
    related = []
    for row in rows:
        if row.timing and problem(row) in ours:
            row = row.model_copy(update={"times_ours": row.timing.median / ours[problem(row)]})
        related.append(row)
    return related
