"""The recurrence: every engine against a loop over time in float64, outputs, states and all gradients."""

import pytest
import torch
import torch.nn.functional as F

from mixers.ops import recurrence as recurrence_module
from mixers.ops import recurrence_cpu
from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.recurrence import recurrence
from mixers.ops.recurrence_chunk import choose_decay
from mixers.ops.recurrence_decay import FactoredDecay, HalvedDecay

B, H, K, V = 2, 3, 5, 24


def linear(g, T, K=K, V=V):
    """The tensors that all kinds share, in float64: q, k, v."""
    return [torch.randn(B, T, H, width, dtype=torch.float64, generator=g) for width in (K, K, V)]


def scalar_decay(g, T, *sizes):
    return [*linear(g, T, *sizes), -F.softplus(torch.randn(B, T, H, dtype=torch.float64, generator=g))]


def vector_decay(g, T, K=K, V=V):
    return [*linear(g, T, K, V), F.logsigmoid(torch.randn(B, T, H, K, dtype=torch.float64, generator=g))]


def rank_one(g, T, K=K, V=V):
    """a of length one and b against it, as in RWKV-7."""
    a = F.normalize(torch.randn(B, T, H, K, dtype=torch.float64, generator=g), dim=-1)
    return [a, -a * torch.rand(B, T, H, K, dtype=torch.float64, generator=g)]


def delta(g, T, *sizes):
    q, k, v = linear(g, T, *sizes)
    beta = torch.rand(B, T, H, dtype=torch.float64, generator=g)
    return [q, F.normalize(k, dim=-1), v, beta]


KINDS = {
    "linear": (recurrence, linear),
    "scalar-decay": (recurrence, scalar_decay),
    "vector-decay": (recurrence, vector_decay),
    "rank-one": (recurrence, lambda g, T, *s: [*linear(g, T, *s), None, *rank_one(g, T, *s)]),
    "rank-one-scalar-decay": (recurrence, lambda g, T, *s: [*scalar_decay(g, T, *s), *rank_one(g, T, *s)]),
    "rank-one-vector-decay": (recurrence, lambda g, T, *s: [*vector_decay(g, T, *s), *rank_one(g, T, *s)]),
    "delta": (gated_delta_rule, delta),
    "gated-delta": (gated_delta_rule, lambda g, T, *s: [*delta(g, T, *s), scalar_decay(g, T)[3]]),
    "vector-gated-delta": (gated_delta_rule, lambda g, T, *s: [*delta(g, T, *s), vector_decay(g, T, *s)[3]]),
}
by_kind = pytest.mark.parametrize("kind", KINDS)
ENGINES = ("chunk", "cpu")
by_engine = pytest.mark.parametrize("engine", ENGINES)


def run(operation, tensors, state=None, engine="chunk", dtype=torch.float64, final=True):
    """Outputs, final state and the gradients of every tensor, from inputs rounded to ``dtype``."""
    leaves = [None if x is None else x.detach().to(dtype).requires_grad_() for x in (*tensors, state)]
    o, S = operation(*leaves[:-1], scale=0.3, initial_state=leaves[-1], output_final_state=final, engine=engine)
    results = [o] if S is None else [o, S]
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(7)).to(x) for x in results]
    wanted = [x for x in leaves if x is not None]
    return [x.detach() for x in results] + list(torch.autograd.grad(results, wanted, weights, materialize_grads=True))


def worst(got, expected):
    """The largest error over all results, each relative to its largest element, or to 1 if that is less."""
    assert all(x.isfinite().all() for x in got)
    errors = [
        (x.double() - y.double()).abs().max() / y.abs().max().clamp(min=1) for x, y in zip(got, expected, strict=True)
    ]
    return float(torch.stack(errors).max())


def assert_as_good_as_the_loop(operation, tensors, state=None, final=True, room=5e-6):
    """Every engine, in float64 to rounding; in float32 to a few times the loop's own error, and ``room`` for exponents
    of some 50. Both from inputs that float32 holds, for which one oracle does."""
    *tensors, state = (None if x is None else x.float().double() for x in (*tensors, state))
    exact = run(operation, tensors, state, "reference", final=final)
    loop = worst(run(operation, tensors, state, "reference", torch.float32, final), exact)
    for engine in ENGINES:
        assert worst(run(operation, tensors, state, engine, final=final), exact) < 1e-11, engine
        assert worst(run(operation, tensors, state, engine, torch.float32, final), exact) < 4 * loop + room, engine


def draw_state(g, K=K, V=V):
    return torch.randn(B, H, K, V, dtype=torch.float64, generator=g)


@pytest.mark.parametrize("with_state", [False, True], ids=["no-state", "state"])
@pytest.mark.parametrize("length", [1, 63, 64, 130])
@by_kind
def test_engines_equal_the_loop_over_time(kind, length, with_state):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(length)
    state = draw_state(g) if with_state else None
    assert_as_good_as_the_loop(operation, make(g, length), state, final=with_state)


@pytest.mark.parametrize("cache", [None, 1], ids=["long-blocks", "short-blocks"])
@pytest.mark.parametrize("length, keys, values", [(1, 1, 1), (2, 17, 3), (13, 3, 17), (23, 33, 1), (37, 1, 5)])
@by_kind
def test_the_compiled_engine_at_awkward_sizes(kind, length, keys, values, cache, monkeypatch):
    if cache:
        monkeypatch.setattr(recurrence_cpu, "CACHE", cache)
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(length)
    tensors, state = make(g, length, keys, values), draw_state(g, keys, values)
    exact = run(operation, tensors, state, "reference")
    assert worst(run(operation, tensors, state, "cpu"), exact) < 1e-12


@by_kind
def test_the_compiled_engine_is_as_exact_as_pytorch(kind):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(1)
    tensors, state = [x if x is None else x.float() for x in make(g, 64, 32, 32)], draw_state(g, 32, 32).float()
    exact = run(operation, tensors, state, "reference")
    chunk, compiled = (run(operation, tensors, state, engine, torch.float32) for engine in ENGINES)
    for ours, theirs, expected in zip(compiled, chunk, exact, strict=True):
        error, allowed = ((x.double() - expected).square().mean().sqrt() for x in (ours, theirs))
        assert error <= 2 * allowed


@by_kind
def test_results_do_not_depend_on_the_number_of_threads(kind):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    tensors, state = make(g, 20), draw_state(g)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(run(operation, tensors, state, "cpu", torch.float32))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(other, results[0], strict=True))


@by_kind
def test_inputs_may_be_cut_out_of_larger_tensors(kind):
    """With one channel and one head their numbers are evenly spaced, and so one dimension without a copy."""
    operation, make = KINDS[kind]
    tensors = [x if x is None else x[:, :, :1] for x in make(torch.Generator().manual_seed(0), 20, 1, 1)]
    wide = [None if x is None else torch.stack([x, x], -1)[..., 0] for x in tensors]
    expected, got = (operation(*x, engine="cpu")[0] for x in (tensors, wide))
    assert torch.equal(got, expected)


@pytest.mark.parametrize("given, asked", [(True, False), (False, True)], ids=["given", "asked"])
@pytest.mark.parametrize("length", [20, 70])
@by_kind
def test_a_state_may_be_only_given_or_only_asked_for(kind, length, given, asked):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    assert_as_good_as_the_loop(operation, make(g, length), draw_state(g) if given else None, asked)


@pytest.mark.parametrize("channels", [1, K], ids=["per-head", "per-channel"])
def test_delta_rule_is_what_it_says(channels):
    g = torch.Generator().manual_seed(0)
    q, k, v, beta = delta(g, 20)
    decay = -torch.rand(B, 20, H, channels, dtype=torch.float64, generator=g)
    S, outputs = draw_state(g), []
    o, final = gated_delta_rule(q, k, v, beta, decay if channels > 1 else decay[..., 0], 0.3, S, True)
    for t in range(20):
        S = decay[:, t].exp()[..., None] * S
        old = torch.einsum("bhkv,bhk->bhv", S, k[:, t])
        S = S + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t], k[:, t], v[:, t] - old)
        outputs.append(0.3 * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    torch.testing.assert_close(o, torch.stack(outputs, 1))
    torch.testing.assert_close(final, S)


@pytest.mark.parametrize("beta", [1.0, 1.9])
@pytest.mark.parametrize("decay", [None, -0.01], ids=["delta", "gated-delta"])
@pytest.mark.parametrize("general", [False, True], ids=["delta-rule", "recurrence"])
def test_repeated_keys(general, decay, beta):
    g = torch.Generator().manual_seed(0)
    q, k, v = linear(g, 130, 32)
    k = F.normalize(k[:, :1].expand_as(k), dim=-1)
    betas = torch.full((B, 130, H), beta, dtype=torch.float64)
    w = None if decay is None else torch.full_like(betas, decay)
    if general:
        a = k if w is None else k * w.exp()[..., None]
        assert_as_good_as_the_loop(recurrence, [q, beta * k, v, w, a, -beta * k], room=2e-5)
    else:
        assert_as_good_as_the_loop(gated_delta_rule, [q, k, v, betas, w], room=2e-5)


def even(strength, shape, g):
    """w around a sum of -strength per 64 tokens."""
    return -strength / 64 * 2 * torch.rand(shape, dtype=torch.float64, generator=g)


def with_entries(value, shape, g):
    """Little decay, except for some entries."""
    w = -0.2 * torch.rand(shape, dtype=torch.float64, generator=g)
    return w.masked_fill(torch.rand(shape, generator=g) < 0.1, value)


STRONG = {
    "zero": lambda shape, g: torch.zeros(shape, dtype=torch.float64),
    "sum-100": lambda shape, g: even(100, shape, g),
    "sum-300": lambda shape, g: even(300, shape, g),
    "sum-800": lambda shape, g: even(800, shape, g),
    "sum-2800": lambda shape, g: even(2800, shape, g),
    "some-20": lambda shape, g: with_entries(-20.0, shape, g),
    "some-2000": lambda shape, g: with_entries(-2000.0, shape, g),
    "some-inf": lambda shape, g: with_entries(-torch.inf, shape, g),
    "all-inf": lambda shape, g: torch.full(shape, -torch.inf, dtype=torch.float64),
}


@pytest.mark.parametrize("strength", STRONG)
@pytest.mark.parametrize("kind", [name for name in KINDS if "decay" in name or name.endswith("gated-delta")])
def test_any_strength_of_decay(kind, strength):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    tensors = make(g, 130)
    place = 4 if kind.endswith("gated-delta") else 3
    tensors[place] = STRONG[strength](tensors[place].shape, g)
    assert_as_good_as_the_loop(operation, tensors, draw_state(g), room=1e-5)


@pytest.mark.parametrize(
    "strength, block", [("zero", 64), ("sum-100", 64), ("sum-300", 16), ("sum-800", 4), ("sum-2800", 1)]
)
def test_decay_is_factored_over_as_much_as_it_allows(strength, block):
    w = STRONG[strength]((B, 64, H, K), torch.Generator().manual_seed(0)).float()
    _, _, decay = choose_decay(w, 64, torch.float32)
    assert isinstance(decay, FactoredDecay if block == 64 else HalvedDecay)
    assert block == 64 or decay.block == block


@pytest.mark.parametrize("length", [2, 9, 64, 130])
@pytest.mark.parametrize("strength", STRONG)
def test_strong_decay_of_a_single_sequence(strength, length):
    """Whose chunks are stretches of what is there, where those of several sequences are copied together."""
    g = torch.Generator().manual_seed(length)
    tensors = [x[:1] for x in (*linear(g, length), STRONG[strength]((B, length, H, K), g).double())]
    assert worst(run(recurrence, tensors), run(recurrence, tensors, engine="reference")) < 1e-11


@by_engine
@by_kind
def test_a_sequence_may_be_cut_anywhere(kind, engine):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    tensors = make(g, 100)
    o, S = operation(*tensors, output_final_state=True, engine=engine)
    for cut in (1, 37, 64, 99):
        before, after = (
            [None if x is None else x[:, part] for x in tensors] for part in (slice(cut), slice(cut, None))
        )
        first, middle = operation(*before, output_final_state=True, engine=engine)
        second, last = operation(*after, initial_state=middle, output_final_state=True, engine=engine)
        torch.testing.assert_close(torch.cat([first, second], 1), o)
        torch.testing.assert_close(last, S)


@pytest.mark.parametrize("with_state", [False, True], ids=["no-state", "state"])
@by_kind
def test_one_token_takes_one_step(kind, with_state, monkeypatch):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    tensors, state = make(g, 1), draw_state(g) if with_state else None
    exact = run(operation, tensors, state, "reference")
    for name in ("recurrence_chunk", "recurrence_reference"):
        monkeypatch.setattr(recurrence_module, name, None)
    monkeypatch.setattr(recurrence_cpu, "over_rows", None)
    assert worst(run(operation, tensors, state, "auto"), exact) < 1e-12


@by_engine
@pytest.mark.parametrize("length", [1, 70])
@by_kind
def test_the_initial_state_is_left_as_it_was(kind, length, engine):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    tensors, state = make(g, length), draw_state(g)
    before = state.clone()
    with torch.no_grad():
        operation(*tensors, initial_state=state, output_final_state=True, engine=engine)[1].zero_()
    assert torch.equal(state, before)


@by_engine
@by_kind
def test_samples_do_not_meet(kind, engine):
    operation, make = KINDS[kind]
    tensors = [x if x is None else x.requires_grad_() for x in make(torch.Generator().manual_seed(0), 70)]
    o, _ = operation(*tensors, engine=engine)
    leaves = [x for x in tensors if x is not None]
    assert all(not grad[1].any() for grad in torch.autograd.grad(o[0].sum(), leaves))
    alone, _ = operation(*(x if x is None else x[:1] for x in tensors), engine=engine)
    torch.testing.assert_close(alone, o[:1])


@pytest.mark.parametrize("length, engine", [(1, "auto"), (70, "chunk"), (70, "cpu")])
@by_kind
def test_sixteen_bits_are_computed_in_thirty_two(kind, length, engine):
    operation, make = KINDS[kind]
    tensors = make(torch.Generator().manual_seed(0), length)
    short = [x if x is None else x.bfloat16() for x in tensors]
    full = [x if x is None else x.float() for x in short]
    o, S = operation(*short, output_final_state=True, engine=engine)
    expected, state = operation(*full, output_final_state=True, engine=engine)
    assert (o.dtype, S.dtype) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast, _ = operation(*full, engine=engine)
    assert worst([under_autocast, o.float()], [expected, expected]) < 0.02
    assert worst([under_autocast, S], [expected, state]) < (0.02 if kind.endswith("delta") else 1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": torch.zeros(1, 4, 2, 3)}, r"k must be \[2, 4, 2, 3\] .*got \[1, 4, 2, 3\]"),
        ({"v": torch.zeros(2, 4, 2)}, r"v must be \[B, T, H, V\] .*got \[2, 4, 2\]"),
        ({"w": torch.zeros(2, 4, 3)}, r"w must be \[2, 4, 2\] or \[2, 4, 2, 3\] .*got \[2, 4, 3\]"),
        ({"initial_state": torch.zeros(2, 2, 5, 3)}, r"initial_state must be \[2, 2, 3, 5\] .*got \[2, 2, 5, 3\]"),
        ({"a": torch.zeros(2, 4, 2, 3)}, "a and b go together"),
        ({"engine": "fla"}, "fla engine needs CUDA tensors, got tensors on cpu"),
        ({"engine": "triton"}, "unknown engine 'triton'"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    arguments = {"q": torch.zeros(2, 4, 2, 3), "k": torch.zeros(2, 4, 2, 3), "v": torch.zeros(2, 4, 2, 5)} | change
    with pytest.raises(ValueError, match=message):
        recurrence(**arguments)


def test_the_delta_rule_names_what_does_not_fit():
    q = torch.zeros(2, 4, 2, 3)
    with pytest.raises(ValueError, match=r"beta must be \[2, 4, 2\] .*got \[2, 4\]"):
        gated_delta_rule(q, q, q, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="T at least 1"):
        gated_delta_rule(q[:, :0], q[:, :0], q[:, :0], torch.zeros(2, 0, 2))
