"""Case ``generate``: a language model of each mixer, writing one token after another behind contexts of three lengths.

A model is ``RecallForCausalLM`` with two blocks, as wide as heads times width; RAM-Net has the slots of the shape,
every other mixer its default options with as many heads, where it has any. The likeliest token is the next input, as in
greedy ``generate``. The contexts, random tokens, are read before: a quarter of T, T, and four times T. What a token
costs then does not depend on them, but where the state grows with the sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

import mixers
from mqar_bench.config import MixerSpec
from mqar_bench.language import RecallConfig, RecallForCausalLM, StateCache
from mqar_bench.language.cache import Group
from mqar_bench.perf.bench import Bench, Call, compare, role
from mqar_bench.perf.inputs import make_generator
from mqar_bench.perf.record import Role, Row
from mqar_bench.perf.shape import Shape
from mqar_bench.perf.step import ramnet

NAME = "generate"
LAYERS, VOCAB = 2, 256
#: Tokens a call, and tokens of a context that are read at a time.
TOKENS, PIECE = 8, 256
#: Of the check: tokens at once, then one by one.
CHECK = 5, 4


def check(bench: Bench) -> None:
    """Logits of tokens decoded behind others, of each engine and each mixer, against the whole forward in float64.

    What goes on from a state that grows must leave that state as it was, as ``measure`` begins there again.
    """
    small = {"heads": 2, "width": 8, "order": 2, "top_k": 2, "dtype": "float32"}
    shape = bench.shape.model_copy(update=small)
    tokens = draw_tokens(2, sum(CHECK), bench.device)

    @torch.no_grad()
    def whole(mixer: MixerSpec, dtype: torch.dtype) -> dict[str, Tensor]:
        return {"logits": build(mixer, shape, bench.device, dtype)(tokens, use_cache=False).logits}

    @torch.no_grad()
    def decoded(mixer: MixerSpec) -> dict[str, Tensor]:
        model = build(mixer, shape, bench.device, torch.float32)
        before, after = tokens.split(CHECK, 1)
        first = model(before, past_key_values=StateCache())
        if grows(model, CHECK[0]):
            follow(model, after, fork(first.past_key_values))
        return {"logits": torch.cat([first.logits, follow(model, after, first.past_key_values)], 1)}

    plain = ramnet(shape, "reference")
    exact, rounded = whole(plain, torch.float64), whole(plain, torch.float32)
    for engine in bench.engines:
        bench.checks += compare(NAME, engine, decoded(ramnet(shape, engine)), rounded, exact)
    for mixer in others(shape):
        exact, rounded = whole(mixer, torch.float64), whole(mixer, torch.float32)
        bench.checks += compare(NAME, mixer.name, decoded(mixer), rounded, exact)


def measure(bench: Bench) -> None:
    """RAM-Net with each engine, and at the shortest context with the reference; every other mixer."""
    shape = bench.shape
    contexts = sorted({max(1, shape.length // 4), shape.length, 4 * shape.length})
    for context in contexts:
        for engine in bench.engines:
            _time(bench, f"ramnet, {engine}", role(engine), ramnet(shape, engine), context)
        if context == contexts[0]:
            _time(bench, "ramnet, reference", "reference", ramnet(shape, "reference"), context, piece=1)
        for mixer in others(shape):
            _time(bench, mixer.name, "reference", mixer, context)


def others(shape: Shape) -> Iterator[MixerSpec]:
    """All mixers but RAM-Net."""
    for name in mixers.names():
        if name != "ramnet":
            heads = "num_heads" in inspect.signature(mixers.load(name)).parameters
            yield MixerSpec(name=name, options={"num_heads": shape.heads} if heads else {})


def build(mixer: MixerSpec, shape: Shape, device: torch.device, dtype: torch.dtype) -> RecallForCausalLM:
    """A model in evaluation mode, the same whenever it is asked for."""
    config = RecallConfig(
        vocab_size=VOCAB,
        hidden_size=shape.heads * shape.width,
        num_hidden_layers=LAYERS,
        mixers=[mixer],
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(50)
        return RecallForCausalLM(config).eval().to(device, dtype)


def grows(model: RecallForCausalLM, length: int) -> bool:
    """Whether its state is larger after a few tokens more than so many."""
    return model.state_size(length + TOKENS) > model.state_size(length)


def fork(cache: StateCache) -> StateCache:
    """Another cache of the same tensors, from which a state that grows goes on by itself."""
    groups = [
        Group(list(group.rows), group.states and [dict(state) for state in group.states]) for group in cache.groups
    ]
    return StateCache(groups, cache.seen)


def follow(model: RecallForCausalLM, tokens: Tensor, cache: StateCache) -> Tensor:
    """Logits ``[B, T, vocab]`` of ``[B, T]`` tokens taken in one by one; the cache goes on."""
    return torch.cat([model(tokens[:, i : i + 1], past_key_values=cache).logits for i in range(tokens.shape[1])], 1)


def draw_tokens(batch: int, length: int, device: torch.device) -> Tensor:
    """int64 ``[B, T]``."""
    return torch.randint(VOCAB, (batch, length), generator=make_generator(device, 51), device=device)


@torch.no_grad()
def read(model: RecallForCausalLM, tokens: Tensor, piece: int) -> StateCache:
    """The states after a context, of which so many tokens are read at a time."""
    cache = StateCache()
    for part in tokens.split(piece, 1):
        model(part, past_key_values=cache, logits_to_keep=1)
    return cache


def _time(bench: Bench, name: str, role: Role, mixer: MixerSpec, context: int, piece: int = PIECE) -> None:
    shape = bench.shape
    dtype = torch.bfloat16 if shape.dtype == "bfloat16" else torch.float32
    model = build(mixer, shape, torch.device("cpu"), dtype)
    touched = shape.decode_batch * model.active_state_size(context)
    row = Row(
        case=NAME,
        what="token",
        name=name,
        role=role,
        size=f"T={context}",
        note="float32" if shape.dtype == "float16" else "",
        per="token",
        minimum_bytes=dtype.itemsize * (touched + sum(p.numel() for p in model.parameters())),  # each read once
        state_elements=model.state_size(context),
    )
    sizes: list[int] = []
    make = partial(writing, mixer, shape, bench.device, dtype, context, piece, sizes.append)
    bench.time(row, make, tokens=TOKENS)
    if sizes:
        bench.rows[-1] = bench.rows[-1].model_copy(update={"state_bytes": sizes[0]})


def writing(
    mixer: MixerSpec,
    shape: Shape,
    device: torch.device,
    dtype: torch.dtype,
    context: int,
    piece: int,
    tell: Callable[[int], object],
) -> Call:
    """A call that writes ``TOKENS`` tokens for each sequence, behind the context each time, or where the state has one
    size, behind what was written before. ``tell`` is told the bytes that all sequences carry after the context."""
    model = build(mixer, shape, device, dtype)
    cache = read(model, draw_tokens(shape.decode_batch, context, device), piece)
    tell(sum(t.numel() * t.element_size() for group in cache.groups for s in group.states or [] for t in s.values()))
    first, again = draw_tokens(shape.decode_batch, 1, device), grows(model, context)

    @torch.no_grad()
    def call() -> Tensor:
        here, token = fork(cache) if again else cache, first
        for _ in range(TOKENS):
            token = model(token, past_key_values=here, logits_to_keep=1).logits.argmax(-1)
        return token

    return call
