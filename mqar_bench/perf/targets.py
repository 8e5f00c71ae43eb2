"""The speeds aimed at on a data-centre GPU, judged from a record's rows."""

from __future__ import annotations

from collections.abc import Sequence

from mqar_bench.perf import decode, memory
from mqar_bench.perf.bench import PASSES
from mqar_bench.perf.record import Row, Target
from mqar_bench.perf.shape import DEFAULTS, Shape

BOTH = PASSES[-1]


def judge(rows: Sequence[Row], shape: Shape) -> tuple[Target, ...]:
    """Every target with what was measured; ``met`` is None where a row that it needs is missing.

    Args:
        rows: of a GPU; of RAM-Net's engines the first one counts.
        shape: what they were measured at; where it is not the targets' own, each measurement says so.
    """
    ours = _median(rows, memory.NAME, BOTH, role="ours", size="")
    gla = {"case": memory.NAME, "what": BOTH, "name": "fla chunk_gla"}
    targets = [
        _ratio("memory: fla chunk_gla over ours", _median(rows, **gla, note=""), ours, 1.0),
        _ratio("memory: fla chunk_gla at equal state over ours", _equal(rows, **gla), ours, 10.0),
        _bandwidth(rows),
        _sweep(rows),
        _hot(rows, ours),
    ]
    for what in (decode.AS_GRAPH, decode.AS_CALLED):
        step = _median(rows, decode.NAME, what, role="ours")
        peer = _equal(rows, case=decode.NAME, what=what, name="fla fused_recurrent_gla")
        targets.append(_ratio(f"decode, {what}: fla fused_recurrent_gla at equal state over ours", peer, step, 20.0))
    if shape == DEFAULTS["cuda"]:
        return tuple(targets)
    return tuple(
        target if target.met is None else target.model_copy(update={"measured": f"{target.measured}, at another shape"})
        for target in targets
    )


def _ratio(name: str, theirs: float | None, ours: float | None, least: float) -> Target:
    """At least so many times as fast as a peer."""
    value = theirs / ours if theirs and ours else None
    return _target(name, f"at least {least:g} x", value, least, "x", at_least=True)


def _bandwidth(rows: Sequence[Row]) -> Target:
    row = _find(rows, memory.NAME, BOTH, role="ours", size="")
    target = _target(
        "memory: bytes that must move, of the copy bandwidth",
        "at least 50 %",
        None if row is None else row.fraction_minimum,
        0.5,
        "%",
        at_least=True,
    )
    if row is None or row.fraction_with_rows is None:
        return target
    told = f"{target.measured} (with row traffic {row.fraction_with_rows:.0%})"
    return target.model_copy(update={"measured": told})


def _sweep(rows: Sequence[Row]) -> Target:
    """Slowest over fastest of the numbers of slots; all of the sweep must be there."""
    wanted = [f"M=2^{exponent}" for exponent in memory.SWEEP["cuda"]]
    times = [_median(rows, memory.NAME, BOTH, role="ours", size=size) for size in wanted]
    known = [t for t in times if t is not None]
    value = max(known) / min(known) if len(known) == len(wanted) else None
    return _target(
        "memory: slowest over fastest, M from 2^8 to 2^18", "at most 1.25 x", value, 1.25, "x", at_least=False
    )


def _hot(rows: Sequence[Row], uniform: float | None) -> Target:
    hot = _median(rows, memory.NAME, BOTH, role="ours", size=memory.HOT_WRITES)
    value = hot / uniform if hot and uniform else None
    return _target(
        "memory: every token writes the same slots, over uniform", "at most 2 x", value, 2.0, "x", at_least=False
    )


def _target(name: str, wanted: str, value: float | None, limit: float, unit: str, at_least: bool) -> Target:
    if value is None:
        return Target(name=name, wanted=wanted, measured="not measured", value=None, limit=limit, met=None)
    measured = f"{value:.0%}" if unit == "%" else f"{value:.2f} x"
    met = value >= limit if at_least else value <= limit
    return Target(name=name, wanted=wanted, measured=measured, value=value, limit=limit, met=met)


def _find(rows: Sequence[Row], case: str, what: str, **fields: str) -> Row | None:
    for row in rows:
        wanted = {"case": case, "what": what, **fields}
        if row.timing is not None and all(getattr(row, key) == value for key, value in wanted.items()):
            return row
    return None


def _median(rows: Sequence[Row], case: str, what: str, **fields: str) -> float | None:
    row = _find(rows, case, what, **fields)
    return None if row is None or row.timing is None else row.timing.median


def _equal(rows: Sequence[Row], case: str, what: str, name: str) -> float | None:
    """The median of a peer with as many elements of state as ours."""
    return _median([row for row in rows if row.note.startswith(memory.EQUAL_STATE)], case, what, name=name)
