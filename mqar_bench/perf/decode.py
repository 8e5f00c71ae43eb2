"""Case ``decode``: one token at a time from a carried state.

``as called`` is the time of a token in a loop of Python calls, the launches included; ``CUDA graph`` is the same
loop replayed as one graph, so the device's time alone. Every token of the loop has its own inputs.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from mixers.ramnet import decode_address, ops, pdma
from mixers.ramnet.ops import Backend
from mqar_bench.perf import peers
from mqar_bench.perf.bench import Bench, Call, role
from mqar_bench.perf.inputs import draw_clear_logits, draw_normal, make_generator
from mqar_bench.perf.memory import CHECK_SLOTS, EPS, GAMMA
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import Shape

NAME = "decode"
AS_CALLED, AS_GRAPH = "as called", "CUDA graph"

#: Tokens a call.
TOKENS = 16


def check(bench: Bench) -> None:
    """Outputs of 7 tokens and the state after them, of each engine, against addresses and memory in float64."""
    shape = bench.shape.within(CHECK_SLOTS)
    g = make_generator(bench.device, 30)
    q, k = (draw_clear_logits(g, 7, 3, 2, shape=shape) for _ in range(2))
    v = draw_normal(g, 7, 3, 2, shape.width, dtype=shape.torch_dtype)
    inputs = (q, k, v, *draw_state(g, 3, 2, shape.slots, shape.width))

    def by_definition(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, values = (t.transpose(0, 1) for t in (q, k, v))  # [B, T, H, ...]
        write, read = (decode_address(logits, shape.top_k, "reference") for logits in (keys, queries))
        o, after = pdma(*write, *read, values, shape.slots, GAMMA, EPS, (S, z), True, backend="reference")
        assert after is not None
        return o.transpose(0, 1).to(v.dtype), *after

    @torch.no_grad()
    def results(engine: Backend | None, dtype: torch.dtype) -> dict[str, Tensor]:
        if engine is None:  # in what the engine gets, logits and state in float32, or all in float64
            found = by_definition(*(t.double() if dtype == torch.float64 else t for t in inputs))
        else:
            S, z = inputs[3].clone(), inputs[4].clone()
            outputs = [step(engine, *token, S, z, shape.top_k) for token in zip(q, k, v, strict=True)]
            found = torch.stack(outputs), S, z
        return dict(zip(("o", "S", "z"), found, strict=True))

    bench.check(NAME, results, shape.torch_dtype)


def measure(bench: Bench) -> None:
    """Each engine, the reference, and fla's GLA with D and with the same number of state elements."""
    shape, device = bench.shape, bench.device
    for what in (AS_CALLED, AS_GRAPH) if device.type == "cuda" else (AS_CALLED,):
        row = Row(case=NAME, what=what, name="", role="peer", per="token")
        time = partial(bench.time, tokens=TOKENS, graph=what == AS_GRAPH)
        # the reference is no subject for a graph: nobody would run it so
        engines: tuple[Backend, ...] = bench.engines if what == AS_GRAPH else (*bench.engines, "reference")
        for engine in engines:
            state = shape.slots * (shape.width + 1)
            ours = {"name": engine, "role": role(engine), "minimum_bytes": shape.decode_bytes, "state_elements": state}
            time(row.model_copy(update=ours), partial(_decoding, engine, shape, device))
        for width, note in shape.peer_widths:
            theirs = {"name": peers.GLA_DECODING[device.type], "note": note, "state_elements": width * width}
            time(row.model_copy(update=theirs), partial(peers.gla_decoding, shape, width, TOKENS, device))


def step(engine: Backend, q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor, top_k: int) -> Tensor:
    """``ramnet_step`` for one token; S and z change in place."""
    return ops.ramnet_step(q, k, v, S, z, top_k, top_k, GAMMA, EPS, backend=engine)


def draw_state(generator: torch.Generator, batch: int, heads: int, slots: int, width: int) -> tuple[Tensor, Tensor]:
    """A memory in use: S ``[B, H, M, D]`` and z ``[B, H, M]``, float32."""
    S = draw_normal(generator, batch, heads, slots, width)
    z = torch.rand(batch, heads, slots, generator=generator, device=generator.device)
    return S, z + 0.1


def _decoding(engine: Backend, shape: Shape, device: torch.device) -> Call:
    """A call that decodes ``TOKENS`` tokens, one after another."""
    g = make_generator(device, 31)
    rows = (TOKENS, shape.decode_batch, shape.heads)
    q, k = (draw_normal(g, *rows, shape.order, shape.sub_dim) for _ in range(2))
    v = draw_normal(g, *rows, shape.width, dtype=shape.torch_dtype)
    S, z = draw_state(g, shape.decode_batch, shape.heads, shape.slots, shape.width)
    tokens = list(zip(q.unbind(), k.unbind(), v.unbind(), strict=True))

    @torch.no_grad()
    def call() -> None:
        for token in tokens:
            step(engine, *token, S, z, shape.top_k)

    return call
