"""Targets judged from made-up rows."""

import pytest

from mqar_bench.perf import decode, memory
from mqar_bench.perf.record import Row, Timing
from mqar_bench.perf.shape import DEFAULTS, EQUAL_STATE, Shape
from mqar_bench.perf.targets import judge

BOTH = "forward + backward"


def row(seconds, case="memory", what=BOTH, name="triton", role="ours", **rest) -> Row:
    timing = Timing(median=seconds, low=seconds, high=seconds, repeats=3)
    return Row(case=case, what=what, name=name, role=role, timing=timing, **rest)


def rows(gla=2.0, gla_equal=20.0, fraction=0.6, slowest=1.2, hot=1.9, token=1.0, as_called=1.0) -> list[Row]:
    """Everything that the targets need; ours takes 1 second throughout."""
    peer = {"role": "peer", "name": "fla chunk_gla"}
    recurrent = {"case": "decode", "role": "peer", "name": "fla fused_recurrent_gla"}
    equal = f"{EQUAL_STATE}, d=256"
    sweep = [row(slowest if exponent == 12 else 1.0, size=f"M=2^{exponent}") for exponent in memory.SWEEP["cuda"]]
    return [
        row(0.3, what="forward"),
        row(1.0, fraction_minimum=fraction, fraction_with_rows=0.8),
        row(gla, **peer),
        row(gla_equal, **peer, note=equal),
        row(0.5, name="triton", size="T=32"),
        *sweep,
        row(hot, size=memory.HOT_WRITES),
        row(7.0, size=memory.HOT_BOTH),
        row(token, case="decode", what=decode.AS_GRAPH),
        row(3.0, **recurrent, what=decode.AS_GRAPH),
        row(21.0, **recurrent, what=decode.AS_GRAPH, note=equal),
        row(as_called, case="decode", what=decode.AS_CALLED),
        row(22.0, **recurrent, what=decode.AS_CALLED, note=equal),
    ]


def test_all_met():
    targets = judge(rows(), DEFAULTS["cuda"])
    assert [target.met for target in targets] == [True] * 7
    assert [target.value for target in targets] == pytest.approx([2.0, 20.0, 0.6, 1.2, 1.9, 21.0, 22.0])
    assert targets[0].measured == "2.00 x"
    assert targets[2].measured == "60% (with row traffic 80%)"


@pytest.mark.parametrize(
    "change, missed",
    [
        ({"gla": 0.99}, 0),
        ({"gla_equal": 9.9}, 1),
        ({"fraction": 0.49}, 2),
        ({"slowest": 1.26}, 3),
        ({"slowest": 0.79}, 3),
        ({"hot": 2.1}, 4),
        ({"token": 1.1}, 5),
        ({"as_called": 1.2}, 6),
    ],
)
def test_a_miss_is_told(change, missed):
    met = [target.met for target in judge(rows(**change), DEFAULTS["cuda"])]
    assert met == [i != missed for i in range(7)]


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert all(t.met is None and t.measured == "not measured" for t in judge([], DEFAULTS["cuda"]))
    part = [r for r in rows() if r.size != "M=2^18" and r.role != "peer"]
    assert [t.met for t in judge(part, DEFAULTS["cuda"])] == [None, None, True, None, True, None, None]
    broken = [r.model_copy(update={"timing": None, "cannot_run": "why"}) if r.role == "peer" else r for r in rows()]
    assert [t.met for t in judge(broken, DEFAULTS["cuda"])][:2] == [None, None]


def test_another_shape_is_told():
    targets = judge(rows(), Shape(length=1024))
    assert all("at another shape" in target.measured for target in targets)
    assert judge([], Shape(length=1024))[0].measured == "not measured"


def test_the_first_engine_counts():
    other = [r.model_copy(update={"name": "reference"}) for r in rows(token=100.0) if r.role == "ours"]
    assert judge([*rows(), *other], DEFAULTS["cuda"]) == judge(rows(), DEFAULTS["cuda"])
