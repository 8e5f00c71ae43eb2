"""Case ``sparse_delta``: the sparse delta memory against its dense definition, with M slots of which K are written and
K read. Its engine is the one that ``auto`` takes on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from mixers.base import TensorKind
from mixers.sparse_delta_memory import sparse_delta
from mixers.sparse_delta_memory.ops import Engine, choose_backend
from mqar_bench.perf.bench import Bench, Call, compare, one_pass
from mqar_bench.perf.inputs import draw_memory, draw_normal, make_generator
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import PASSES, Shape

NAME = "sparse_delta"

#: Slots at most in the check, where the whole memory is kept for every token in float64.
CHECK_SLOTS = 256


def check(bench: Bench) -> None:
    """Output and all gradients on 130 tokens with spread and with equal addresses."""
    shape = bench.shape.model_copy(update={"batch": 2, "length": 130, "heads": 2})
    slots = max(shape.top_k, min(shape.slots, CHECK_SLOTS))

    def results(engine: Engine, dtype: torch.dtype) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for label, hot in (("", False), (" (hot slots)", True)):
            leaves, places = _draw(bench, shape, slots, hot)
            leaves = tuple(x.detach().to(dtype).requires_grad_() for x in leaves)
            o = forward(engine, leaves, places, slots)
            do = draw_normal(make_generator(bench.device, 51), *o.shape).to(o.dtype)
            results = (o, *torch.autograd.grad(o, leaves, do))
            names = ("o", "dk", "dq", "dv", "dbeta", "dg")
            found |= {f"{name}{label}": x for name, x in zip(names, results, strict=True)}
        return found

    exact, plain = results("reference", torch.float64), results("reference", torch.float32)
    for engine in engines(bench):
        bench.checks += compare(NAME, engine, results(engine, torch.float32), plain, exact)


def measure(bench: Bench) -> None:
    """Each pass by engine and reference."""
    shape = bench.shape
    per_token = shape.batch * shape.heads * shape.slots * shape.width * 4 * 3  # three float32 copies are kept
    short, size = shape.for_reference(per_token, bench.device.type)
    for what in PASSES:
        for each, note in dict.fromkeys([(shape, ""), (short, size)]):
            for engine in engines(bench):
                _time(bench, what, engine, each, note)
        _time(bench, what, "reference", short, size)


def engines(bench: Bench) -> tuple[Engine, ...]:
    """The one for the device, if any engine is under test."""
    v = TensorKind((1, bench.shape.length + 1), bench.shape.torch_dtype, bench.device)  # of more than one token
    return (choose_backend("auto", v),) if bench.engines else ()


def forward(engine: Engine, leaves: tuple[Tensor, ...], places: tuple[Tensor, Tensor], num_slots: int) -> Tensor:
    """o ``[B, T, H, D]`` from k, q, v, beta and g, and the slots of k and q."""
    k, q, v, beta, g = leaves
    assert engine != "step"
    return sparse_delta(k, places[0], q, places[1], v, beta, g, num_slots, backend=engine)[0]


def _draw(
    bench: Bench, shape: Shape, slots: int, hot: bool = False
) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """k, q, v, beta and g as leaves, and the slots of k and q."""
    generator = make_generator(bench.device, 50)
    k, k_idx, q, q_idx, v = draw_memory(generator, shape, slots, hot, hot)
    beta, g = torch.rand(2, *shape.tokens, generator=generator, device=bench.device).unbind()
    return (k, q, v, beta.requires_grad_(), (-g).requires_grad_()), (k_idx, q_idx)


def _time(bench: Bench, what: str, engine: Engine, shape: Shape, size: str) -> None:
    def make() -> Call:
        leaves, places = _draw(bench, shape, shape.slots)
        return one_pass(what, lambda: forward(engine, leaves, places, shape.slots), leaves, bench.device)

    row = Row(
        case=NAME,
        what=what,
        name=engine,
        role="reference" if engine == "reference" else "ours",
        size=size,
        minimum_bytes=shape.sparse_delta_bytes[what],
        row_bytes=shape.memory_row_bytes[what],
        state_elements=shape.slots * shape.width,
    )
    bench.time(row, make)
