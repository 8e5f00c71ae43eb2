"""What ``mqar-bench perf`` leaves behind: one JSON file."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mqar_bench.basics.files import write_atomically
from mqar_bench.basics.frozen import Frozen
from mqar_bench.perf.shape import Shape
from mqar_bench.records.result import Provenance
from mqar_bench.records.store import StoreError

Role = Literal["ours", "reference", "peer"]


class Check(Frozen):
    """One tensor compared: relative L2 errors against float64, ours and plain PyTorch's, and what was allowed."""

    case: str
    engine: str
    tensor: str
    error: float
    plain_error: float
    bound: float


class Timing(Frozen):
    """Seconds of one call: the median, and as its spread the 20th and the 80th percentile."""

    median: float
    low: float
    high: float
    repeats: int


class Row(Frozen):
    """One measurement. Times are seconds of one call, one token or one example, as ``per`` says.

    Rows of one case, ``what`` and ``size`` are of the same problem and can be compared. ``note`` says what else there
    is to know of a row. ``minimum_bytes`` is every input and output once; ``row_bytes`` what a sparse algorithm with
    its state off the chip moves besides; the fractions are those bytes, at the measured copy speed, over the median.
    ``state_elements`` is for one sequence and head (step and generate: one sequence, all layers), ``state_bytes`` what
    all sequences carry between two tokens (generate).
    """

    case: str
    what: str
    name: str
    role: Role
    size: str = ""
    note: str = ""
    per: Literal["call", "token", "example"] = "call"
    timing: Timing | None = None
    cannot_run: str | None = None
    times_ours: float | None = None
    minimum_bytes: int | None = None
    row_bytes: int | None = None
    fraction_minimum: float | None = None
    fraction_with_rows: float | None = None
    state_elements: int | None = None
    state_bytes: int | None = None
    peak_memory_bytes: int | None = None


class Target(Frozen):
    """A speed that was aimed at: what was wanted, what was measured, and whether they meet (None: not measured)."""

    name: str
    wanted: str
    measured: str
    value: float | None
    limit: float
    met: bool | None


class PerfRecord(Frozen):
    """Everything that one ``mqar-bench perf`` found, and on what."""

    perf_schema_version: Literal[1] = 1
    provenance: Provenance
    device_type: Literal["cpu", "cuda"]
    shape: Shape
    engines: tuple[str, ...]
    repeats: int
    seconds_per_row: float
    copy_bytes_per_second: float
    checks: tuple[Check, ...] = ()
    rows: tuple[Row, ...] = ()
    targets: tuple[Target, ...] = ()
    error: str | None = None


def check_writable(path: Path) -> None:
    """Find out before measuring that the record could not be written, which raises ``StoreError``."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
        if path.is_dir():
            raise OSError("it is a folder")


def write(record: PerfRecord, path: Path) -> None:
    """Write the record so that a reader sees all of it or none; ``StoreError`` if it cannot be written."""
    with _told(path):
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
