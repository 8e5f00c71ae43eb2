"""Case ``decode``: one token at a time from a carried state.

``as called`` is the time of a token in a loop of Python calls, the launches included; ``CUDA graph`` is the same
loop replayed as one graph, so the device's time alone. Every token of the loop has its own inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mixers.ramnet import decode_address, ops, pdma
from mixers.ramnet.ops import Backend
from mqar_bench.perf import peers
from mqar_bench.perf.bench import Bench, Call
from mqar_bench.perf.check import compare
from mqar_bench.perf.inputs import draw_clear_logits, draw_normal, make_generator
from mqar_bench.perf.memory import CHECK_SLOTS, EPS, EQUAL_STATE, GAMMA
from mqar_bench.perf.record import Row
from mqar_bench.perf.shape import Shape
from mqar_bench.perf.traffic import decode_bytes

NAME = "decode"
AS_CALLED, AS_GRAPH = "as called", "CUDA graph"

#: Tokens a call.
TOKENS = 16


def check(bench: Bench) -> None:
    """Outputs of 7 tokens and the state after them, of each engine, against addresses and memory in float64.

    Raises:
        PerfError: one is wrong.
    """
    shape, device = bench.shape, bench.device
    order = shape.order
    while order > 1 and shape.sub_dim**order > CHECK_SLOTS:
        order -= 1
    slots = shape.sub_dim**order
    top_k = min(shape.top_k, slots)
    g = make_generator(device, 30)
    q, k = (draw_clear_logits(g, 7, 3, 2, order=order, sub_dim=shape.sub_dim, top_k=top_k) for _ in range(2))
    v = draw_normal(g, 7, 3, 2, shape.width, dtype=shape.torch_dtype)
    S, z = draw_state(g, 3, 2, slots, shape.width)

    def by_definition(tokens: Iterable[Tensor], state: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        keys, queries, values = (t.transpose(0, 1) for t in tokens)  # [B, T, H, ...]
        addresses = (*decode_address(keys, top_k, "reference"), *decode_address(queries, top_k, "reference"))
        o, after = pdma(*addresses, values, slots, GAMMA, EPS, state, True, backend="reference")
        assert after is not None
        return {"o": o.transpose(0, 1).to(values.dtype), "S": after[0], "z": after[1]}

    def by_engine(engine: Backend) -> dict[str, Tensor]:
        state = S.clone(), z.clone()
        outputs = [step(engine, *token, *state, top_k) for token in zip(q, k, v, strict=True)]
        return {"o": torch.stack(outputs), "S": state[0], "z": state[1]}

    exact = by_definition((t.double() for t in (k, q, v)), (S.double(), z.double()))
    plain = by_definition((k, q, v), (S, z))  # in what the engine gets: logits and state in float32
    for engine in bench.engines:
        with torch.no_grad():
            bench.checks += compare(NAME, engine, by_engine(engine), plain, exact)


def measure(bench: Bench) -> None:
    """Each engine, the reference, and fla's GLA with D and with the same number of state elements."""
    shape, device = bench.shape, bench.device
    modes = (AS_CALLED, AS_GRAPH) if device.type == "cuda" else (AS_CALLED,)
    equal = shape.equal_state_width
    for what in modes:
        # the reference is no subject for a graph: nobody would run it so
        engines: tuple[Backend, ...] = bench.engines if what == AS_GRAPH else (*bench.engines, "reference")
        for engine in engines:
            row = Row(
                case=NAME,
                what=what,
                name=engine,
                role="reference" if engine == "reference" else "ours",
                per="token",
                minimum_bytes=decode_bytes(shape),
                state_elements=shape.slots * (shape.width + 1),
            )
            bench.time(row, _make(engine, shape, device), TOKENS, graph=what == AS_GRAPH, flush=False)
        for width, note in ((shape.width, ""), (equal, f"{EQUAL_STATE}, d={equal}")):

            def make(width=width) -> Call:
                size = (shape.decode_batch, shape.heads, width, TOKENS)
                return peers.gla_decoding(*size, shape.torch_dtype, device)

            row = Row(
                case=NAME,
                what=what,
                name=peers.gla_decode_name(device),
                role="peer",
                note=note,
                per="token",
                state_elements=width * width,
            )
            bench.time(row, make, TOKENS, graph=what == AS_GRAPH, flush=False)


def step(engine: Backend, q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor, top_k: int) -> Tensor:
    """``ramnet_step`` for one token; S and z change in place."""
    return ops.ramnet_step(q, k, v, S, z, top_k, top_k, GAMMA, EPS, backend=engine)


def draw_state(generator: torch.Generator, batch: int, heads: int, slots: int, width: int) -> tuple[Tensor, Tensor]:
    """A memory in use: S ``[B, H, M, D]`` and z ``[B, H, M]``, float32."""
    S = draw_normal(generator, batch, heads, slots, width)
    z = torch.rand(batch, heads, slots, generator=generator, device=generator.device)
    return S, z + 0.1


def _make(engine: Backend, shape: Shape, device: torch.device) -> Callable[[], Call]:
    def make() -> Call:
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

    return make
