"""From a bench and the names of cases to a record."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable

from mqar_bench.perf import PerfError
from mqar_bench.perf.bench import Bench, relate
from mqar_bench.perf.record import PerfRecord
from mqar_bench.perf.targets import judge
from mqar_bench.perf.timing import copy_bandwidth
from mqar_bench.records.result import now, provenance


def run(bench: Bench, cases: Iterable[str]) -> PerfRecord:
    """Check and time one case after another, up to one that fails: its rows are dropped, and the record says why.

    Progress, and the traceback of an engine that failed, go to standard error.
    """
    started_at, error = now(), None
    bench.copy_speed = copy_bandwidth(bench.device)
    for case in cases:
        try:
            _run_case(case, bench)
        except PerfError as failure:
            error = str(failure)
            if failure.__cause__ is not None:
                traceback.print_exception(failure.__cause__, file=sys.stderr)
            bench.rows = [row for row in bench.rows if row.case != case]
            break
    rows, on_gpu = relate(bench.rows), bench.device.type == "cuda"
    return PerfRecord(
        provenance=provenance(bench.device, started_at),
        device_type="cuda" if on_gpu else "cpu",
        shape=bench.shape,
        engines=bench.engines,
        repeats=bench.repeats,
        seconds_per_row=bench.seconds,
        copy_bytes_per_second=bench.copy_speed,
        checks=tuple(bench.checks),
        rows=tuple(rows),
        targets=judge(rows, bench.shape) if on_gpu else (),
        error=error,
    )


def _run_case(name: str, bench: Bench) -> None:
    case = importlib.import_module(f"mqar_bench.perf.{name}")
    print(f"{name}: checking", file=sys.stderr)
    try:
        case.check(bench)
    except PerfError:
        raise
    except Exception as error:  # an engine that crashes in its check
        raise PerfError(f"{name}: the check failed: {type(error).__name__}: {error}") from error
    print(f"{name}: measuring", file=sys.stderr)
    case.measure(bench)
