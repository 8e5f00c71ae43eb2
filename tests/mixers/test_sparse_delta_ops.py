"""The sparse delta memory and its product keys: every engine against the definition, in float64."""

import importlib.util

import pytest
import torch

from mixers.base import TensorKind
from mixers.sparse_delta_memory import address, memory_cpu, sparse_delta
from mixers.sparse_delta_memory.ops import choose_backend, decide_backend

B, H = 2, 3


def distinct(g, T, count, N):
    return torch.rand(B, T, H, N, generator=g).argsort(-1)[..., :count]


def draw(T, W=3, R=4, D=5, N=9, each=False, dtype=torch.float64, hot=False, decay=1.0):
    """Weights of any sign at distinct slots, values, gates, and log-decays of one size per token or per slot."""
    g = torch.Generator().manual_seed(T)

    def normal(*size):
        return torch.randn(*size, generator=g, dtype=torch.float64).to(dtype)

    k, q, v = 0.5 * normal(B, T, H, W), normal(B, T, H, R), normal(B, T, H, D)
    k_idx, q_idx = distinct(g, T, W, N), distinct(g, T, R, N)
    if hot:  # every token writes and reads the same slots
        k_idx, q_idx = (torch.arange(n).expand(B, T, H, n).contiguous() for n in (W, R))
    beta = torch.rand(B, T, H, generator=g, dtype=torch.float64).to(dtype)
    log_decay = -decay * torch.rand(B, T, H, *([W] if each else []), generator=g, dtype=torch.float64).to(dtype)
    return [k, k_idx, q, q_idx, v, beta, log_decay]


def draw_state(sequences, D=5, N=9, dtype=torch.float64):
    g = torch.Generator().manual_seed(5)
    return torch.randn(sequences, H, N, D, generator=g, dtype=torch.float64).to(dtype)


def results(backend, inputs, N=9, state=None, final=True):
    """Outputs, final state, and all gradients, by name."""
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    S = None if state is None else state.clone().requires_grad_()
    o, S_T = sparse_delta(*leaves, N, S, final, backend)
    assert (S_T is not None) == final
    g = torch.Generator().manual_seed(7)
    loss = sum((x * torch.randn(x.shape, generator=g).to(x)).sum() for x in (o, S_T) if x is not None)
    found = {"o": o.detach(), **({} if S_T is None else {"S_T": S_T.detach()})}
    wanted = {n: x for n, x in zip(("k", "", "q", "", "v", "beta", "g"), leaves, strict=True) if n}
    wanted |= {} if S is None else {"S_0": S}
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
    return found | {f"d{name}": x for name, x in zip(wanted, gradients, strict=True)}


def assert_same(got, expected, rtol=1e-9, atol=1e-11):
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            got[name], expected[name], rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


def slot_by_slot(k, k_idx, q, q_idx, v, beta, g, N, state=None):
    """The authors' description, with nothing but the slots that a token names: decay, what is held, write, read."""
    o = torch.zeros_like(v)
    S_T = torch.zeros(B, H, N, v.shape[-1], dtype=v.dtype)
    for b in range(B):
        for h in range(H):
            S = S_T[b, h] if state is None else state[b % len(state), h].clone()
            for t in range(v.shape[1]):
                slots = k_idx[b, t, h].tolist()
                held = torch.zeros_like(v[b, t, h])
                for i, slot in enumerate(slots):
                    S[slot] *= torch.exp(g[b, t, h, i] if g.dim() == 4 else g[b, t, h])
                    held = held + k[b, t, h, i] * S[slot]
                for i, slot in enumerate(slots):
                    S[slot] += beta[b, t, h] * k[b, t, h, i] * (v[b, t, h] - held)
                for j, slot in enumerate(q_idx[b, t, h].tolist()):
                    o[b, t, h] += q[b, t, h, j] * S[slot]
            S_T[b, h] = S
    return {"o": o, "S_T": S_T}


by_backend = pytest.mark.parametrize("backend", ["cpu", "dense"])
by_each = pytest.mark.parametrize("each", [False, True], ids=["decay-per-token", "decay-per-slot"])
by_state = pytest.mark.parametrize("sequences", [0, 1, B], ids=["blank", "one-state-for-all", "given-state"])
SIZES = [
    dict(T=1),
    dict(T=3, W=1, R=1, D=1, N=1),
    dict(T=23, W=3, R=5, D=24, N=16),
    dict(T=70, W=8, R=2, D=7, N=8),
    dict(T=20, hot=True),
    dict(T=9, W=5, R=4, D=48, N=12),
    dict(T=5, W=2, R=3, D=33, N=64),
    dict(T=14, W=4, R=4, D=32, N=6),
]
by_size = pytest.mark.parametrize("size", SIZES, ids=lambda s: "-".join(f"{k}{v}" for k, v in s.items()))


@by_state
@by_each
@pytest.mark.parametrize("backend", ["reference", "cpu", "dense", "auto"])
def test_is_what_the_authors_describe(backend, each, sequences):
    for length in (1, 12):
        inputs, state = draw(length, each=each), draw_state(sequences) if sequences else None
        found = results(backend, inputs, state=state)
        assert_same({name: found[name] for name in ("o", "S_T")}, slot_by_slot(*inputs, 9, state))


@by_state
@by_each
@by_size
@by_backend
def test_engine_equals_reference(backend, size, each, sequences):
    inputs, N, D = draw(each=each, **size), size.get("N", 9), size.get("D", 5)
    state = draw_state(sequences, D, N) if sequences else None
    assert_same(results(backend, inputs, N, state), results("reference", inputs, N, state))


@by_each
def test_one_token_as_auto_takes_it(each):
    inputs, state = draw(1, each=each), draw_state(B)
    assert_same(results("auto", inputs, state=state), results("reference", inputs, state=state))


@by_state
@pytest.mark.parametrize("length, W, N", [(23, 1, 3), (40, 3, 9), (17, 4, 4), (64, 2, 8)])
def test_a_row_in_several_blocks(length, W, N, sequences, monkeypatch):
    monkeypatch.setattr(memory_cpu, "KEPT", 1)
    assert 1 < memory_cpu._block(length, N, W, 4) < length
    inputs, state = draw(length, W, min(N, 4), 5, N), draw_state(sequences, 5, N) if sequences else None
    assert_same(results("cpu", inputs, N, state), results("reference", inputs, N, state))


@pytest.mark.parametrize("block", [1, 2, 5, 20])
def test_blocks_of_any_length(block, monkeypatch):
    monkeypatch.setattr(memory_cpu, "_block", lambda *sizes: block)
    inputs, state = draw(20), draw_state(1)
    assert_same(results("cpu", inputs, state=state), results("reference", inputs, state=state))


@pytest.mark.parametrize("given, asked", [(True, False), (False, True), (False, False)])
@by_backend
def test_a_state_may_be_only_given_or_only_asked_for(backend, given, asked):
    inputs, state = draw(15), draw_state(B) if given else None
    assert_same(results(backend, inputs, 9, state, asked), results("reference", inputs, 9, state, asked))


@by_each
@pytest.mark.parametrize("decay", [0.0, 50.0, 1000.0, torch.inf])
@by_backend
def test_any_strength_of_decay(backend, decay, each):
    inputs = draw(40, W=2, N=4, R=4, each=each)
    inputs[-1] = torch.where(inputs[-1] < -0.5, -decay, -0.0)
    state = draw_state(B, 5, 4)
    expected = results("reference", inputs, 4, state)
    assert all(x.isfinite().all() for name, x in expected.items() if name != "dg" or decay < torch.inf)
    if decay == torch.inf:  # whose gradient is 0 times infinity in the definition
        got = results(backend, inputs, 4, state)
        del got["dg"], expected["dg"]
        assert_same(got, expected)
    else:
        assert_same(results(backend, inputs, 4, state), expected)


def test_slots_that_are_not_written_keep_what_they_hold():
    k, k_idx, q, q_idx, v, beta, g = draw(30, W=2, N=9)
    S = draw_state(B)
    for backend in ("reference", "cpu", "dense"):
        _, after = sparse_delta(k, k_idx % 4, q, q_idx, v, beta, 9 * g, 9, S, True, backend)
        torch.testing.assert_close(after[:, :, 4:], S[:, :, 4:], rtol=0, atol=0)
        assert (after[:, :, :4] - S[:, :, :4]).abs().amax((2, 3)).gt(0).all()


def test_results_do_not_depend_on_the_number_of_threads():
    inputs, state = draw(50, W=4, R=5, D=20, N=16, dtype=torch.float32), draw_state(1, 20, 16, torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            found.append(results("cpu", inputs, 16, state))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(other[name], x) for other in found[1:] for name, x in found[0].items())


def test_slots_of_32_and_64_bits_are_the_same():
    inputs = draw(20)
    narrow = [x.int() if x.dtype == torch.int64 else x for x in inputs]
    for backend in ("cpu", "dense", "reference"):
        assert_same(results(backend, narrow), results(backend, inputs), 0, 0)


def test_float32_error_is_at_most_twice_pytorchs():
    inputs, state = draw(63, W=4, R=4, D=24, N=64), draw_state(1, 24, 64)
    exact = results("reference", inputs, 64, state)
    single, first = [x.float() if x.is_floating_point() else x for x in inputs], state.float()
    plain, fast = (results(backend, single, 64, first) for backend in ("reference", "cpu"))
    for name in exact:
        ours, torchs = ((x[name].double() - exact[name]).square().mean().sqrt() for x in (fast, plain))
        assert ours <= 2 * torchs, f"{name}: {ours} against {torchs}"


@pytest.mark.parametrize("backend, length", [("cpu", 20), ("dense", 20), ("auto", 1)])
def test_sixteen_bits_are_computed_in_thirty_two(backend, length):
    short = [x.bfloat16() if x.is_floating_point() else x for x in draw(length)]
    full = [x.float() if x.is_floating_point() else x for x in short]
    o, S = sparse_delta(*short, 9, None, True, backend)
    expected, state = sparse_delta(*full, 9, None, True, backend)
    assert (o.dtype, S.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(o, expected.bfloat16()) and torch.equal(S, state)


@by_backend
def test_the_initial_state_is_left_as_it_was_and_samples_do_not_meet(backend):
    inputs, state = draw(20), draw_state(B)
    before = state.clone()
    with torch.no_grad():
        o, S = sparse_delta(*inputs, 9, state, True, backend)
        S.zero_()
        assert torch.equal(state, before)
        alone, _ = sparse_delta(*(x[1:] for x in inputs), 9, state[1:], backend=backend)
    torch.testing.assert_close(alone, o[1:])


def test_a_step_may_take_the_states_place():
    inputs, state = draw(1), draw_state(B)
    with torch.no_grad():
        o, kept = sparse_delta(*inputs, 9, state, True)
        assert kept.data_ptr() != state.data_ptr()
        again, S = sparse_delta(*inputs, 9, state, True, in_place=True)
        assert S.data_ptr() == state.data_ptr() and torch.equal(S, kept) and torch.equal(again, o)
        shared = draw_state(1)
        before = shared.clone()
        sparse_delta(*inputs, 9, shared, True, in_place=True)
    assert torch.equal(shared, before), "one that all sequences begin from is not to write in"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"v": torch.zeros(2, 4, 5)}, r"v must be \[B, T, H, D\] .*got \[2, 4, 5\]"),
        ({"v": torch.zeros(2, 0, 3, 5)}, "T at least 1"),
        ({"k": torch.zeros(2, 4, 3, 2)}, r"k and k_idx must be \[2, 4, 3, n\] .*got \[2, 4, 3, 2\] and \[2, 4, 3, 3\]"),
        ({"q_idx": torch.zeros(2, 4, 3, 4)}, "q_idx must be int32 or int64, got torch.float32"),
        ({"k_idx": torch.full((2, 4, 3, 3), 9)}, "k_idx has slots outside 0..8"),
        ({"q_idx": torch.full((2, 4, 3, 4), -1)}, "q_idx has slots outside 0..8"),
        ({"beta": torch.zeros(2, 4)}, r"beta must be \[2, 4, 3\] .*got \[2, 4\]"),
        ({"g": torch.zeros(2, 4, 3, 4)}, r"g must be \[2, 4, 3\] or \[2, 4, 3, 3\] .*got \[2, 4, 3, 4\]"),
        ({"initial_state": torch.zeros(2, 3, 5, 9)}, r"initial_state must be \[2, 3, 9, 5\] or \[1, 3, 9, 5\] "),
        ({"backend": "fla"}, "unknown backend 'fla': use 'auto', 'reference', 'dense' or 'cpu'"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    names = "k", "k_idx", "q", "q_idx", "v", "beta", "g"
    arguments = {"num_slots": 9, **dict(zip(names, draw(4), strict=True)), **change}
    with pytest.raises(ValueError, match=message):
        sparse_delta(**arguments)


def test_auto_takes_what_the_device_has(monkeypatch):
    def kind(device, length=2, dtype=torch.float32):
        return TensorKind((1, length), dtype, torch.device(device))

    assert decide_backend("auto", kind("cpu")) == ("cpu", None)
    assert decide_backend("auto", kind("cpu", dtype=torch.bfloat16)) == ("cpu", None)
    assert decide_backend("auto", kind("cuda")) == ("dense", None)
    assert decide_backend("auto", kind("cpu", 1)) == decide_backend("auto", kind("cuda", 1)) == ("step", None)
    assert choose_backend("reference", kind("cuda", 1)) == "reference"
    with pytest.raises(ValueError, match="sparse delta memory's cpu engine needs CPU tensors, got tensors on cuda"):
        choose_backend("cpu", kind("cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    missing = "needs the package numba: pip install numba"
    assert decide_backend("auto", kind("cpu")) == ("dense", f"cpu {missing}")
    with pytest.raises(ValueError, match=f"cpu engine {missing}; use backend='auto' or 'dense'"):
        choose_backend("cpu", kind("cpu"))


@pytest.mark.parametrize("backend", ["reference", "dense", "cpu"])
@pytest.mark.parametrize("size, top_k", [(1, 1), (2, 4), (3, 2), (5, 7), (7, 20), (16, 8)])
def test_keys_are_the_best_of_all_slots(size, top_k, backend):
    g = torch.Generator().manual_seed(size)
    scores = torch.randn(B, 6, H, 2, size, generator=g, dtype=torch.float64).requires_grad_()
    values, slots = address(scores, top_k, backend)
    sums = (scores[..., 0, :, None] + scores[..., 1, None, :]).flatten(-2)
    best, places = sums.topk(top_k)
    assert slots.dtype == torch.int32 and torch.equal(slots.long(), places)
    torch.testing.assert_close(values, best)
    weights = torch.randn(values.shape, generator=g, dtype=torch.float64)
    (found,), (expected,) = (
        torch.autograd.grad((x * weights).sum(), scores, retain_graph=True) for x in (values, best)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", ["reference", "dense", "cpu"])
def test_of_equal_scores_the_lower_slots_are_taken(backend):
    scores = torch.zeros(1, 1, 1, 2, 3)
    assert address(scores, 4, backend)[1].flatten().tolist() == [0, 1, 2, 3]
    scores[..., 0, :] = torch.tensor([0.0, 1.0, 1.0])
    scores[..., 1, :] = torch.tensor([1.0, 0.0, 1.0])
    assert address(scores, 4, backend)[1].flatten().tolist() == [3, 5, 6, 8]


@pytest.mark.parametrize("top_k", [0, 10])
def test_there_must_be_as_many_slots(top_k):
    with pytest.raises(ValueError, match=f"top_k must be between 1 and the 9 slots, got {top_k}"):
        address(torch.zeros(1, 1, 1, 2, 3), top_k)
