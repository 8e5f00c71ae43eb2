"""Case ``address``: product softmax and exact Top-K against scoring all M slots."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixers.ramnet import decode_address
from mixers.ramnet.ops import Backend
from mqar_bench.perf.bench import PASSES, Bench, Call, one_pass
from mqar_bench.perf.check import compare
from mqar_bench.perf.inputs import draw_clear_logits, draw_normal, make_generator
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import Shape, shortened, tokens_that_fit
from mqar_bench.perf.traffic import address_bytes

NAME = "address"

#: Slots at most in the check, where all of them are scored in float64.
CHECK_SLOTS = 4096


def check(bench: Bench) -> None:
    """Weights, slots and the logits' gradient of each engine, on 2 x 130 x 2 addresses.

    Raises:
        PerfError: one is wrong.
    """
    shape = bench.shape
    order = shape.order
    while order > 1 and shape.sub_dim**order > CHECK_SLOTS:
        order -= 1
    slots = shape.sub_dim**order
    top_k = min(shape.top_k, slots)
    g = make_generator(bench.device, 10)
    logits = draw_clear_logits(g, 2, 130, 2, order=order, sub_dim=shape.sub_dim, top_k=top_k)
    weight_of_slot = draw_normal(g, 2, 130, 2, slots)

    def results(backend: Backend, dtype: torch.dtype) -> dict[str, Tensor]:
        x = logits.to(dtype).requires_grad_()
        weights, chosen = decode_address(x, top_k, backend)
        chosen = chosen.long()
        # the loss goes by slot, so that equal weights may come in either order
        loss = (weights * weight_of_slot.to(dtype).gather(-1, chosen)).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        return {"weights": weights, "slots": chosen.sort(-1).values, "dlogits": gradient}

    exact, plain = results("reference", torch.float64), results("reference", torch.float32)
    for engine in bench.engines:
        bench.checks += compare(NAME, engine, results(engine, torch.float32), plain, exact)


def measure(bench: Bench) -> None:
    """Each engine at the whole size; the reference, and each engine again, at the size that the reference can do."""
    shape = bench.shape
    per_token = (
        shape.batch * shape.heads * shape.slots * 32
    )  # scores, their sorted copy and int64 places, and gradients
    short, size = shortened(shape, tokens_that_fit(per_token, shape, bench.device))
    for what in PASSES:
        for engine in bench.engines:
            bench.time(_row(what, engine, shape, ""), _make(bench, what, engine, shape))
        if size:
            for engine in bench.engines:
                bench.time(_row(what, engine, short, size), _make(bench, what, engine, short))
        bench.time(_row(what, "reference", short, size), _make(bench, what, "reference", short))


def _row(what: str, engine: Backend, shape: Shape, size: str) -> Row:
    role = "reference" if engine == "reference" else "ours"
    return Row(case=NAME, what=what, name=engine, role=role, size=size, minimum_bytes=address_bytes(shape)[what])


def _make(bench: Bench, what: str, engine: Backend, shape: Shape) -> Callable[[], Call]:
    def make() -> Call:
        g = make_generator(bench.device, 11)
        tokens = (shape.batch, shape.length, shape.heads)
        logits = draw_normal(g, *tokens, shape.order, shape.sub_dim).requires_grad_()
        forward = lambda: decode_address(logits, shape.top_k, engine)[0]  # noqa: E731
        return one_pass(what, forward, (logits,), bench.device)

    return make
