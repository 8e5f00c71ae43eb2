import sys

import pytest
import torch

from mqar_bench.perf import PerfError
from mqar_bench.perf.bench import Bench, one_pass, reason, relate
from mqar_bench.perf.peers import gated_delta_rule, gated_linear_attention, gla_decoding
from mqar_bench.perf.record import Row, Timing
from mqar_bench.perf.shape import PASSES, Shape

CPU = torch.device("cpu")
SMALL = Shape(batch=2, length=6, heads=3, dtype="float32", decode_batch=2)


def bench(**options) -> Bench:
    return Bench(CPU, Shape(), (), repeats=3, seconds=0, copy_speed=1000.0, **options)


def row(**fields) -> Row:
    return Row(**{"case": "memory", "what": "forward", "name": "cpu", "role": "ours", **fields})


def fails():
    raise ValueError("no such luck\nand more")


def test_a_row_gets_its_time_and_fractions(monkeypatch):
    timing = Timing(median=2.0, low=1.5, high=2.5, repeats=3)
    asked = []
    monkeypatch.setattr("mqar_bench.perf.bench.measure", lambda *given: asked.append(given[2:]) or timing)
    here = bench()
    here.time(row(minimum_bytes=400, row_bytes=600), lambda: lambda: None, tokens=4)
    here.time(row(), lambda: lambda: None)
    assert asked == [(3, 0, False, 4), (3, 0, True, 1)]
    got, _ = here.rows
    assert got.timing == timing and got.peak_memory_bytes is None
    assert (got.fraction_minimum, got.fraction_with_rows) == (0.2, 0.5)  # 1000 bytes a second for 2 seconds


def test_our_failure_ends_it_and_anothers_is_a_row():
    here = bench()
    with pytest.raises(PerfError, match="^memory: cpu failed, forward: ValueError: no such luck$"):
        here.time(row(), fails)
    for role in ("peer", "reference"):
        here.time(row(role=role), lambda: fails)
    assert [r.cannot_run for r in here.rows] == ["ValueError: no such luck"] * 2
    assert all(r.timing is None for r in here.rows)


def test_each_engine_also_at_the_size_of_the_reference():
    here = Bench(CPU, Shape(length=300), ("cpu", "triton"))
    for per_token, sizes in ((1, [(300, "")]), (2**28 // 100, [(300, ""), (64, "T=64")])):
        called = []
        here.each(lambda *given: called.append(given), per_token)  # noqa: B023
        expected = [(engine, *size) for size in sizes for engine in ("cpu", "triton")] + [("reference", *sizes[-1])]
        assert [(engine, shape.length, note) for engine, shape, note in called] == expected


def test_no_peers():
    here = bench(peers=False)
    here.time(row(role="peer"), fails)
    here.time(row(role="reference"), lambda: lambda: None)
    assert [r.role for r in here.rows] == ["reference"]


def test_a_missing_fla_is_said(monkeypatch):
    for name in ("fla", *(name for name in sys.modules if name.startswith("fla."))):
        monkeypatch.setitem(sys.modules, name, None)
    here = bench()
    here.time(row(role="peer"), lambda: gated_linear_attention(SMALL, 4, CPU)[0])
    assert here.rows[0].cannot_run == "fla is not installed"


def test_reasons_are_one_line():
    assert reason(RuntimeError()) == "RuntimeError"
    assert reason(torch.OutOfMemoryError("CUDA out of memory. Tried\nto")) == "out of GPU memory"
    assert reason(ModuleNotFoundError("No module named 'einops'", name="einops")).endswith("No module named 'einops'")


def test_times_are_related_to_our_first_engine_on_the_same_problem():
    def timed(seconds, **fields):
        return row(timing=Timing(median=seconds, low=seconds, high=seconds, repeats=3), **fields)

    rows = [
        timed(2.0),
        timed(6.0, name="other"),
        timed(8.0, role="peer", note="equal state"),
        timed(5.0, role="reference", size="T=64"),
        timed(0.5, size="T=64"),
        row(role="peer", cannot_run="why"),
        timed(1.0, role="peer", what="backward"),
    ]
    assert [r.times_ours for r in relate(rows)] == [1.0, 3.0, 4.0, 10.0, 1.0, None, None]


def test_passes():
    x = torch.ones(3, requires_grad=True)
    calls = {what: one_pass(what, lambda: 2 * x, (x,), CPU) for what in PASSES}
    assert torch.equal(calls["forward"](), 2 * x)
    for what in PASSES[1:]:
        first, second = calls[what](), calls[what]()
        assert torch.equal(first[0], second[0]) and first[0].abs().min() > 0


@pytest.mark.parametrize("draw", [gated_linear_attention, gated_delta_rule])
def test_flas_operations_run_and_have_gradients(draw):
    call, leaves = draw(SMALL, 4, CPU)
    o = call()
    assert o.shape == (2, 6, 3, 4) and o.isfinite().all()
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(o.square().sum(), leaves))


def test_flas_decoding_carries_its_state():
    one, two = (gla_decoding(SMALL, 4, tokens, CPU)() for tokens in (1, 2))
    assert one.shape == two.shape == (2, 1, 3, 4) and not torch.equal(one, two)
