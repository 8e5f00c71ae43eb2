"""Case ``memory``: the PDMA memory against its dense reference, fla's operations, and itself at other M."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixers.ramnet import pdma
from mixers.ramnet.ops import Backend
from mqar_bench.perf import peers
from mqar_bench.perf.bench import PASSES, Bench, Call, one_pass
from mqar_bench.perf.check import compare
from mqar_bench.perf.inputs import MemoryInputs, draw_memory, draw_normal, make_generator
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import Shape, shortened, tokens_that_fit
from mqar_bench.perf.traffic import memory_bytes, memory_row_bytes

NAME = "memory"
GAMMA, EPS = 1.0, 1e-6

#: Slots at most in the check, where the whole memory is kept for every token in float64.
CHECK_SLOTS = 256

#: Exponents of two: the numbers of slots that cost is compared at.
SWEEP = {"cuda": range(8, 19, 2), "cpu": range(8, 15, 2)}

HOT_WRITES = "same writes"
HOT_BOTH = "same writes and reads"
EQUAL_STATE = "equal state"


def check(bench: Bench) -> None:
    """Output and the gradients of w, r and v of each engine, on 130 tokens with spread and with equal addresses.

    Raises:
        PerfError: one is wrong.
    """
    slots = max(bench.shape.top_k, min(bench.shape.slots, CHECK_SLOTS))
    for label, hot in (("", False), (" (hot slots)", True)):
        g = make_generator(bench.device, 20)
        inputs = draw_memory(
            g, 2, 130, 2, bench.shape.width, bench.shape.top_k, slots, bench.shape.torch_dtype, hot, hot
        )
        do = draw_normal(g, *inputs.v.shape).to(inputs.v.dtype)
        exact = _results("reference", inputs.to(torch.float64), do, slots, label)
        plain = _results("reference", inputs.to(inputs.v.dtype), do, slots, label)
        for engine in bench.engines:
            bench.checks += compare(NAME, engine, _results(engine, inputs, do, slots, label), plain, exact)


def measure(bench: Bench) -> None:
    """Passes by engine, reference and peers; then, forward + backward, other M and equal addresses."""
    shape = bench.shape
    per_token = shape.batch * shape.heads * shape.slots * shape.width * 4 * 3  # three float32 copies are kept
    short, size = shortened(shape, tokens_that_fit(per_token, shape, bench.device))
    for what in PASSES:
        for engine in bench.engines:
            bench.time(_row(what, engine, shape), _make(bench, what, engine, shape))
        _measure_peers(bench, what)
        if size:
            for engine in bench.engines:
                bench.time(_row(what, engine, short, size), _make(bench, what, engine, short))
        bench.time(_row(what, "reference", short, size), _make(bench, what, "reference", short))
    both = PASSES[-1]
    for engine in bench.engines:
        for exponent in SWEEP[bench.device.type]:
            slots = 2**exponent
            if slots >= shape.top_k:
                row = _row(both, engine, shape, f"M=2^{exponent}", slots)
                bench.time(row, _make(bench, both, engine, shape, slots))
        for label, hot_reads in ((HOT_WRITES, False), (HOT_BOTH, True)):
            make = _make(bench, both, engine, shape, hot_writes=True, hot_reads=hot_reads)
            bench.time(_row(both, engine, shape, label), make)


def forward(engine: Backend, inputs: MemoryInputs, num_slots: int) -> Tensor:
    """``pdma`` with gamma 1 and the proxy gradient: o ``[B, T, H, D]``."""
    m = inputs
    o, _ = pdma(m.w, m.w_idx, m.r, m.r_idx, m.v, num_slots, GAMMA, EPS, backend=engine)
    return o


def _results(engine: Backend, inputs: MemoryInputs, do: Tensor, num_slots: int, label: str) -> dict[str, Tensor]:
    o = forward(engine, inputs, num_slots)
    gradients = torch.autograd.grad(o, inputs.leaves, do.to(o.dtype))
    return dict(zip((f"o{label}", f"dw{label}", f"dr{label}", f"dv{label}"), (o, *gradients), strict=True))


def _measure_peers(bench: Bench, what: str) -> None:
    shape, device = bench.shape, bench.device
    equal = shape.equal_state_width
    for name, draw, width, note in (
        (peers.gla_name(device), peers.gated_linear_attention, shape.width, ""),
        (peers.delta_name(device), peers.gated_delta_rule, shape.width, ""),
        (peers.gla_name(device), peers.gated_linear_attention, equal, f"{EQUAL_STATE}, d={equal}"),
        (peers.delta_name(device), peers.gated_delta_rule, equal, f"{EQUAL_STATE}, d={equal}"),
    ):

        def make(draw=draw, width=width) -> Call:
            call, leaves = draw(shape.batch, shape.length, shape.heads, width, shape.torch_dtype, device)
            return one_pass(what, call, leaves, device)

        row = Row(case=NAME, what=what, name=name, role="peer", note=note, state_elements=width * width)
        bench.time(row, make)


def _row(what: str, engine: Backend, shape: Shape, size: str = "", slots: int | None = None) -> Row:
    return Row(
        case=NAME,
        what=what,
        name=engine,
        role="reference" if engine == "reference" else "ours",
        size=size,
        minimum_bytes=memory_bytes(shape)[what],
        row_bytes=memory_row_bytes(shape)[what],
        state_elements=(shape.slots if slots is None else slots) * (shape.width + 1),
    )


def _make(
    bench: Bench,
    what: str,
    engine: Backend,
    shape: Shape,
    slots: int | None = None,
    hot_writes: bool = False,
    hot_reads: bool = False,
) -> Callable[[], Call]:
    num_slots = shape.slots if slots is None else slots

    def make() -> Call:
        g = make_generator(bench.device, 21)
        size = (shape.batch, shape.length, shape.heads, shape.width, shape.top_k, num_slots)
        inputs = draw_memory(g, *size, shape.torch_dtype, hot_writes, hot_reads)
        return one_pass(what, lambda: forward(engine, inputs, num_slots), inputs.leaves, bench.device)

    return make
