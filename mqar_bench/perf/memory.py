"""Case ``memory``: the PDMA memory against its dense reference, fla's operations, and itself at other M."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from mixers.ramnet import pdma
from mixers.ramnet.ops import Backend
from mqar_bench.perf import peers
from mqar_bench.perf.bench import Bench, Call, one_pass, role
from mqar_bench.perf.inputs import MemoryInputs, draw_memory, draw_normal, make_generator
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import PASSES, Shape

NAME = "memory"
GAMMA, EPS = 1.0, 1e-6

#: Slots at most in the check, where the whole memory is kept for every token in float64.
CHECK_SLOTS = 256

#: Exponents of two: the numbers of slots that cost is compared at.
SWEEP = {"cuda": range(8, 19, 2), "cpu": range(8, 15, 2)}

HOT_WRITES = "same writes"
HOT_BOTH = "same writes and reads"


def check(bench: Bench) -> None:
    """Output and the gradients of w, r and v of each engine, on 130 tokens with spread and with equal addresses."""
    shape = bench.shape.model_copy(update={"batch": 2, "length": 130, "heads": 2})
    slots = max(shape.top_k, min(shape.slots, CHECK_SLOTS))

    def results(engine: Backend | None, dtype: torch.dtype) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for label, hot in (("", False), (" (hot slots)", True)):
            g = make_generator(bench.device, 20)
            inputs = draw_memory(g, shape, slots, hot, hot)
            do = draw_normal(g, *inputs.v.shape).to(shape.torch_dtype)
            given = inputs if engine else inputs.to(dtype)
            o = forward(engine or "reference", given, slots)
            gradients = torch.autograd.grad(o, given.leaves, do.to(o.dtype))
            found |= {f"{name}{label}": t for name, t in zip(("o", "dw", "dr", "dv"), (o, *gradients), strict=True)}
        return found

    bench.check(NAME, results, shape.torch_dtype)


def measure(bench: Bench) -> None:
    """Each pass by engine, reference and peers; then, forward + backward, other M and equal addresses."""
    shape, device = bench.shape, bench.device
    per_token = shape.batch * shape.heads * shape.slots * shape.width * 4 * 3  # three float32 copies are kept
    for what in PASSES:
        bench.each(partial(_time, bench, what), per_token)
        for width, note in shape.peer_widths:
            for names, draw in ((peers.GLA, peers.gated_linear_attention), (peers.DELTA, peers.gated_delta_rule)):

                def make(draw=draw, width=width, what=what) -> Call:
                    call, leaves = draw(shape, width, device)
                    return one_pass(what, call, leaves, device)

                name, state = names[device.type], width * width
                row = Row(case=NAME, what=what, name=name, role="peer", note=note, state_elements=state)
                bench.time(row, make)
    for engine in bench.engines:
        for exponent in SWEEP[device.type]:
            if 2**exponent >= shape.top_k:
                _time(bench, PASSES[-1], engine, shape, f"M=2^{exponent}", 2**exponent)
        for label in (HOT_WRITES, HOT_BOTH):
            _time(bench, PASSES[-1], engine, shape, label)


def forward(engine: Backend, inputs: MemoryInputs, num_slots: int) -> Tensor:
    """``pdma`` with gamma 1 and the proxy gradient: o ``[B, T, H, D]``."""
    return pdma(*inputs, num_slots, GAMMA, EPS, backend=engine)[0]


def _time(bench: Bench, what: str, engine: Backend, shape: Shape, size: str, slots: int | None = None) -> None:
    num_slots = shape.slots if slots is None else slots

    def make() -> Call:
        g = make_generator(bench.device, 21)
        inputs = draw_memory(g, shape, num_slots, size in (HOT_WRITES, HOT_BOTH), size == HOT_BOTH)
        return one_pass(what, lambda: forward(engine, inputs, num_slots), inputs.leaves, bench.device)

    row = Row(
        case=NAME,
        what=what,
        name=engine,
        role=role(engine),
        size=size,
        minimum_bytes=shape.memory_bytes[what],
        row_bytes=shape.memory_row_bytes[what],
        state_elements=num_slots * (shape.width + 1),
    )
    bench.time(row, make)
