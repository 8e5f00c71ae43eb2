"""Case ``address``: product softmax and exact Top-K against scoring all M slots."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from mixers.ramnet import decode_address
from mixers.ramnet.ops import Backend
from mqar_bench.perf.bench import Bench, Call, one_pass, role
from mqar_bench.perf.inputs import draw_clear_logits, draw_normal, make_generator
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import PASSES, Shape

NAME = "address"

#: Slots at most in the check, where all of them are scored in float64.
CHECK_SLOTS = 4096


def check(bench: Bench) -> None:
    """Weights, slots and the logits' gradient of each engine, on 2 x 130 x 2 addresses."""
    shape = bench.shape.within(CHECK_SLOTS)
    g = make_generator(bench.device, 10)
    logits = draw_clear_logits(g, 2, 130, 2, shape=shape)
    weight_of_slot = draw_normal(g, 2, 130, 2, shape.slots)

    def results(engine: Backend | None, dtype: torch.dtype) -> dict[str, Tensor]:
        x = logits.to(dtype).requires_grad_()
        weights, slots = decode_address(x, shape.top_k, engine or "reference")
        slots = slots.long()
        # the loss goes by slot, so that equal weights may come in either order
        loss = (weights * weight_of_slot.to(dtype).gather(-1, slots)).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        return {"weights": weights, "slots": slots.sort(-1).values, "dlogits": gradient}

    bench.check(NAME, results, torch.float32)


def measure(bench: Bench) -> None:
    """Each pass by engine and reference."""
    shape = bench.shape
    # scores, their sorted copy and int64 places, and gradients
    per_token = shape.batch * shape.heads * shape.slots * 32
    for what in PASSES:
        bench.each(partial(_time, bench, what), per_token)


def _time(bench: Bench, what: str, engine: Backend, shape: Shape, size: str) -> None:
    def make() -> Call:
        g = make_generator(bench.device, 11)
        logits = draw_normal(g, *shape.tokens, shape.order, shape.sub_dim).requires_grad_()
        return one_pass(what, lambda: decode_address(logits, shape.top_k, engine)[0], (logits,), bench.device)

    minimum = shape.address_bytes[what]
    bench.time(Row(case=NAME, what=what, name=engine, role=role(engine), size=size, minimum_bytes=minimum), make)
