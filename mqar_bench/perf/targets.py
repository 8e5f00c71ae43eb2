"""The speeds aimed at on a data-centre GPU, judged from a record's rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mqar_bench.perf import decode, memory
from mqar_bench.perf.record import Row, Target
from mqar_bench.perf.shape import DEFAULTS, PASSES, Shape


def judge(rows: Sequence[Row], shape: Shape) -> tuple[Target, ...]:
    """Every target with what was measured; ``met`` is None where a row that it needs is missing.

    Args:
        rows: of a GPU; of RAM-Net's engines the first one counts.
        shape: what they were measured at; where it is not the targets' own, each measurement says so.
    """
    (_, plain), (_, equal) = shape.peer_widths
    both = partial(_find, rows, memory.NAME, PASSES[-1])
    ours, gla = both(role="ours", size=""), partial(both, name="fla chunk_gla")
    sweep = [_seconds(both(role="ours", size=f"M=2^{exponent}")) for exponent in memory.SWEEP["cuda"]]
    times = [seconds for seconds in sweep if seconds is not None]
    spread = max(times) / min(times) if len(times) == len(sweep) else None
    hot = _ratio(both(role="ours", size=memory.HOT_WRITES), ours)
    moved = None if ours is None else ours.fraction_minimum
    with_rows = None if ours is None else ours.fraction_with_rows
    told = "" if with_rows is None else f" (with row traffic {with_rows:.0%})"
    found = [
        ("memory: fla chunk_gla over ours", "at least 1 x", _ratio(gla(note=plain), ours), ""),
        ("memory: fla chunk_gla at equal state over ours", "at least 10 x", _ratio(gla(note=equal), ours), ""),
        ("memory: bytes that must move, of the copy bandwidth", "at least 50 %", moved, told),
        ("memory: slowest over fastest, M from 2^8 to 2^18", "at most 1.25 x", spread, ""),
        ("memory: every token writes the same slots, over uniform", "at most 2 x", hot, ""),
    ]
    for what in (decode.AS_GRAPH, decode.AS_CALLED):
        token = partial(_find, rows, decode.NAME, what)
        value = _ratio(token(name="fla fused_recurrent_gla", note=equal), token(role="ours"))
        name = f"decode, {what}: fla fused_recurrent_gla at equal state over ours"
        found.append((name, "at least 20 x", value, ""))
    elsewhere = "" if shape == DEFAULTS["cuda"] else ", at another shape"
    return tuple(_target(name, wanted, value, f"{told}{elsewhere}") for name, wanted, value, told in found)


def _target(name: str, wanted: str, value: float | None, told: str) -> Target:
    """``wanted`` is ``at least`` or ``at most`` so many times, ``x``, or so many ``%``; ``told`` follows the number."""
    _, bound, number, unit = wanted.split()
    limit = float(number) / (100 if unit == "%" else 1)
    if value is None:
        return Target(name=name, wanted=wanted, measured="not measured", value=None, limit=limit, met=None)
    measured = f"{value:.0%}" if unit == "%" else f"{value:.2f} x"
    met = value >= limit if bound == "least" else value <= limit
    return Target(name=name, wanted=wanted, measured=f"{measured}{told}", value=value, limit=limit, met=met)


def _ratio(row: Row | None, base: Row | None) -> float | None:
    over, under = _seconds(row), _seconds(base)
    return over / under if over and under else None


def _seconds(row: Row | None) -> float | None:
    return None if row is None or row.timing is None else row.timing.median


def _find(rows: Sequence[Row], case: str, what: str, **fields: str) -> Row | None:
    """The first row that has a time and these values."""
    wanted = {"case": case, "what": what, **fields}
    for row in rows:
        if row.timing is not None and all(getattr(row, key) == value for key, value in wanted.items()):
            return row
    return None
