"""What ``mqar-bench perf`` prints: a table a case, what could not run, and the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch.utils.benchmark import select_unit, trim_sigfig

from mqar_bench.basics.console import print_table
from mqar_bench.basics.machine.hardware import show_bytes
from mqar_bench.perf import CASES
from mqar_bench.perf.record import PerfRecord, Row, Target, Timing

#: Header and cell of every column; those with nothing in them are left out, and the first four never are.
COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("what", lambda row: row.what.replace("forward + backward", "fwd + bwd")),
    ("engine or peer", lambda row: row.name),
    ("median", lambda row: show_seconds(row.timing.median) if row.timing else "cannot run"),
    ("spread", lambda row: show_spread(row.timing) if row.timing else ""),
    ("problem", lambda row: _problem(row)),
    ("x ours", lambda row: "" if row.times_ours is None else f"{row.times_ours:.3g}"),
    ("in+out", lambda row: _percent(row.fraction_minimum)),
    ("+rows", lambda row: _percent(row.fraction_with_rows)),
    ("per second", lambda row: f"{1 / row.timing.median:,.0f}" if row.timing and row.per != "call" else ""),
    ("state", lambda row: "" if row.state_elements is None else show_count(row.state_elements)),
    ("carried", lambda row: "" if row.state_bytes is None else show_bytes(row.state_bytes)),
    ("memory", lambda row: "" if row.peak_memory_bytes is None else show_bytes(row.peak_memory_bytes)),
)
KEPT = 4
TEXT = {"what", "engine or peer", "problem"}

LEGEND = """\
median and spread (20th to 80th percentile, relative) of a call, or of a token in decode and generate;
x ours: median over that of our first engine on the same problem; state: elements a sequence and head (step and
generate: a sequence, all layers); carried: bytes of the states of all sequences; in+out: every input and output moved
once, at the copy speed, over the median;
+rows: the rows of a memory that is kept off the chip moved as well (caches can make that more than 100 %)."""
GPU_LEGEND = "the second-level cache is emptied before each call (not in decode); memory: the most allocated at once."


def print_record(record: PerfRecord) -> None:
    """Everything in a record, on standard output."""
    provenance, on_gpu = record.provenance, record.device_type == "cuda"
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    threads = "" if on_gpu else f", {provenance.threads} threads"
    print(f"{provenance.device}{threads}; Python {provenance.python}, {versions}")
    print(record.shape.label())
    print(f"copies {record.copy_bytes_per_second / 1e9:.1f} GB/s (read + written); {_summary(record)}")
    print(LEGEND)
    if on_gpu:
        print(GPU_LEGEND)
    for case in CASES:
        if rows := [row for row in record.rows if row.case == case]:
            print(f"\n{case}")
            print_rows(rows)
    if record.targets:
        print("\ntargets")
        print_targets(record.targets)


def print_rows(rows: Sequence[Row]) -> None:
    """One table, and under it why some rows have no time."""
    cells = {name: [cell(row) for row in rows] for name, cell in COLUMNS}
    header = [name for i, name in enumerate(cells) if i < KEPT or any(cells[name])]
    print_table(header, zip(*(cells[name] for name in header), strict=True), set(header) - TEXT)
    for row in rows:
        if row.cannot_run is not None:
            problem = f" ({_problem(row)})" if _problem(row) else ""
            print(f"cannot run: {row.name}, {row.what}{problem}: {row.cannot_run}")


def print_targets(targets: Sequence[Target]) -> None:
    said = {True: "yes", False: "NO", None: "-"}
    rows = [[target.name, target.wanted, target.measured, said[target.met]] for target in targets]
    print_table(["target", "wanted", "measured", "met"], rows)


def show_seconds(seconds: float) -> str:
    """Three digits in a unit that suits."""
    unit, size = select_unit(seconds)
    return f"{trim_sigfig(seconds / size, 3):g} {unit}"


def show_spread(timing: Timing) -> str:
    """How far the percentiles lie from the median."""
    return f"{timing.low / timing.median - 1:+.0%} {timing.high / timing.median - 1:+.0%}"


def show_count(count: int) -> str:
    """A number of elements in at most six characters."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _problem(row: Row) -> str:
    return ", ".join(filter(None, (row.size, row.note)))


def _percent(fraction: float | None) -> str:
    if fraction is None:
        return ""
    return f"{fraction:.0%}" if fraction >= 0.0995 else f"{100 * fraction:.2g}%"


def _summary(record: PerfRecord) -> str:
    if not record.checks:
        return "no engine to check against the reference"
    worst = max(record.checks, key=lambda check: check.error / check.bound)
    share = worst.error / worst.bound
    return f"{len(record.checks)} checks passed (closest: {worst.case}, {worst.tensor}, {share:.0%} of its bound)"
