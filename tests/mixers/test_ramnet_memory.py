"""The PDMA memory: the compiled engine against the dense loop over time, in float64."""

import pytest
import torch

from mixers.ramnet import pdma
from mixers.ramnet.memory import decay

B, H = 2, 3


def draw(T, K=3, R=3, D=5, M=9, seed=0, dtype=torch.float64, hot=False):
    """Random addresses with distinct slots per token, values, and an initial state."""
    g = torch.Generator().manual_seed(seed)
    w, r = (torch.rand(B, T, H, n, generator=g, dtype=torch.float64).to(dtype) for n in (K, R))
    w_idx, r_idx = (torch.rand(B, T, H, M, generator=g).argsort(-1)[..., :n] for n in (K, R))
    if hot:  # every token writes and reads the same slots
        w_idx, r_idx = (torch.arange(n).expand(B, T, H, n).contiguous() for n in (K, R))
    v = torch.randn(B, T, H, D, generator=g, dtype=torch.float64).to(dtype)
    S = torch.randn(B, H, M, D, generator=g, dtype=torch.float64).to(dtype)
    z = torch.rand(B, H, M, generator=g, dtype=torch.float64).to(dtype) + 0.1
    return w, w_idx, r, r_idx, v, S, z


def outputs_and_gradients(backend, inputs, M, gamma, proxy, initial, eps=1e-3):
    w, w_idx, r, r_idx, v, S, z = (t.clone() for t in inputs)
    leaves = [w, r, v, *([S, z] if initial else [])]
    for leaf in leaves:
        leaf.requires_grad_()
    state = (S, z) if initial else None
    o, (S_T, z_T) = pdma(w, w_idx, r, r_idx, v, M, gamma, eps, state, True, proxy, backend)
    g = torch.Generator().manual_seed(7)
    loss = sum((t * torch.randn(t.shape, generator=g, dtype=torch.float64).to(t.dtype)).sum() for t in (o, S_T, z_T))
    names = ["o", "S", "z", "dw", "dr", "dv", "dS", "dz"]
    return dict(zip(names, [o, S_T, z_T, *torch.autograd.grad(loss, leaves)], strict=False))


@pytest.mark.parametrize("initial", [False, True], ids=["blank", "given-state"])
@pytest.mark.parametrize("proxy", [False, True], ids=["exact-gradient", "proxy-gradient"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    "size",
    [
        dict(T=1),
        dict(T=3, K=1, R=1, D=1, M=2),
        dict(T=63, K=3, R=5, D=24, M=16),
        dict(T=130, K=8, R=2, D=7, M=8),
        dict(T=40, hot=True),
        dict(T=5, K=2, R=3, D=33, M=64),
        dict(T=20, K=5, R=4, D=48, M=12),
        dict(T=9, K=4, R=4, D=32, M=6),
    ],
    ids=lambda s: "-".join(f"{k}{v}" for k, v in s.items()),
)
def test_engine_equals_reference(size, gamma, proxy, initial):
    inputs = draw(**size)
    M = inputs[5].shape[2]
    expected = outputs_and_gradients("reference", inputs, M, gamma, proxy, initial)
    got = outputs_and_gradients("cpu", inputs, M, gamma, proxy, initial)
    assert expected.keys() == got.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("initial", [False, True], ids=["blank", "given-state"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.5])
def test_gradients_where_a_write_leaves_little_or_nothing(gamma, initial):
    w, w_idx, *rest = draw(60, K=4, R=4, D=20, M=9)
    around = torch.tensor([0.0, 0.45, 0.5, 0.55, 1 - 1e-9, 1.0], dtype=torch.float64)
    w = around[torch.randint(len(around), w.shape, generator=torch.Generator().manual_seed(3))]
    inputs = w, w_idx, *rest
    expected = outputs_and_gradients("reference", inputs, 9, gamma, True, initial)
    got = outputs_and_gradients("cpu", inputs, 9, gamma, True, initial)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_results_do_not_depend_on_the_number_of_threads():
    inputs = draw(50, K=4, R=5, D=20, M=16, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(outputs_and_gradients("cpu", inputs, 16, 1.0, True, True))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(other[name], t) for other in results[1:] for name, t in results[0].items())


def test_slots_of_32_and_64_bits_are_the_same():
    w, w_idx, r, r_idx, *rest = draw(20)
    wide = outputs_and_gradients("cpu", (w, w_idx, r, r_idx, *rest), 9, 1.0, True, True)
    narrow = outputs_and_gradients("cpu", (w, w_idx.int(), r, r_idx.int(), *rest), 9, 1.0, True, True)
    assert all(torch.equal(narrow[name], t) for name, t in wide.items())


def test_float32_error_is_at_most_twice_pytorchs():
    inputs = draw(63, K=4, R=4, D=24, M=64)
    exact = outputs_and_gradients("reference", inputs, 64, 1.0, True, True)
    single = [t.float() if t.is_floating_point() else t for t in inputs]
    plain = outputs_and_gradients("reference", single, 64, 1.0, True, True)
    fast = outputs_and_gradients("cpu", single, 64, 1.0, True, True)
    for name in exact:
        ours, torchs = ((t[name].double() - exact[name]).square().mean().sqrt() for t in (fast, plain))
        assert ours <= 2 * torchs, f"{name}: {ours} against {torchs}"


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_proxy_gradient_is_the_smoothed_derivative(gamma, backend):
    """One write on a known state: do/dw follows from (eps + (1 - eps)(1 - w)) ** gamma, also at w = 1."""
    eps, S0, z0, x = 1e-2, 2.0, 0.5, 3.0
    for weight in (0.0, 0.3, 1.0):
        w = torch.full((1, 1, 1, 1), weight, dtype=torch.float64, requires_grad=True)
        r = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        slot = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
        v = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
        state = (
            torch.full((1, 1, 1, 1), S0, dtype=torch.float64),
            torch.full((1, 1, 1), z0, dtype=torch.float64),
        )
        o, _ = pdma(w, slot, r, slot, v, 1, gamma, eps, state, True, True, backend)
        (got,) = torch.autograd.grad(o.sum(), w)
        a = (1 - weight) ** gamma
        slope = -gamma * (1 - eps) * (eps + (1 - eps) * (1 - weight)) ** (gamma - 1)
        S, z = a * S0 + weight * x, a * z0 + weight
        dS, dz = slope * S0 + x, slope * z0 + 1
        expected = dS / (z + eps) - S * dz / (z + eps) ** 2
        assert o.item() == pytest.approx(S / (z + eps)), "the forward must stay exact"
        assert got.item() == pytest.approx(expected)


def test_decay_forward_is_exact_with_the_proxy_on():
    w = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(decay(w, 0.5, 1e-2, True), (1 - w) ** 0.5, rtol=1e-15)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gamma_zero_is_the_weighted_cumulative_mean(backend):
    w, w_idx, r, r_idx, v, _, _ = draw(20, K=9, R=9)  # all slots, so a dense formula applies
    o, _ = pdma(w, w_idx, r, r_idx, v, 9, 0.0, 1e-12, backend=backend)
    write = torch.zeros(B, 20, H, 9, dtype=torch.float64).scatter(-1, w_idx, w)
    read = torch.zeros_like(write).scatter(-1, r_idx, r)
    numerator = torch.einsum("bthm,bthd->bthmd", write, v).cumsum(1)
    mean = numerator / (write.cumsum(1) + 1 / 9)[..., None]
    torch.testing.assert_close(o, torch.einsum("bthm,bthmd->bthd", read, mean))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gamma_one_with_full_weight_overwrites(backend):
    _, w_idx, r, _, v, _, _ = draw(12, K=1, R=1, M=1)
    o, (S, z) = pdma(
        torch.ones_like(r), w_idx, torch.ones_like(r), w_idx, v, 1, 1.0, 1e-12, None, True, backend=backend
    )
    torch.testing.assert_close(o, v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(S[:, :, 0], v[:, -1])
    assert z.eq(1).all()


@pytest.mark.parametrize("split", [1, 7, 19])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_sequence_may_be_split_anywhere(backend, split):
    w, w_idx, r, r_idx, v, S, z = draw(20)
    whole, final = pdma(w, w_idx, r, r_idx, v, 9, 0.7, 1e-3, (S, z), True, backend=backend)
    first, state = pdma(*(t[:, :split] for t in (w, w_idx, r, r_idx, v)), 9, 0.7, 1e-3, (S, z), True, backend=backend)
    second, end = pdma(*(t[:, split:] for t in (w, w_idx, r, r_idx, v)), 9, 0.7, 1e-3, state, True, backend=backend)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for a, b in zip(end, final, strict=True):
        torch.testing.assert_close(a, b)


def test_the_initial_state_is_not_modified():
    w, w_idx, r, r_idx, v, S, z = draw(20)
    before = S.clone(), z.clone()
    pdma(w, w_idx, r, r_idx, v, 9, 1.0, 1e-3, (S, z), True, backend="cpu")
    assert torch.equal(S, before[0]) and torch.equal(z, before[1])


def test_no_final_state_unless_asked():
    w, w_idx, r, r_idx, v, _, _ = draw(4)
    assert pdma(w, w_idx, r, r_idx, v, 9, 1.0, 1e-3)[1] is None


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(gamma=-1), "gamma must be at least 0, got -1"),
        (dict(eps=0), "eps must be above 0"),
        (dict(num_slots=8), "w_idx has slots outside 0..7"),
        (dict(backend="triton"), "triton engine takes float32, bfloat16 or float16, got torch.float64"),
        (dict(backend="gpu"), "unknown backend 'gpu'"),
        (dict(initial_state=(torch.zeros(1), torch.zeros(1))), "initial_state must be S"),
        (dict(r=torch.zeros(1)), "r and r_idx must be"),
    ],
    ids=lambda c: next(iter(c)) if isinstance(c, dict) else "",
)
def test_mistakes_are_named(change, message):
    names = ("w", "w_idx", "r", "r_idx", "v")
    arguments = dict(zip(names, draw(4)[:5], strict=True), num_slots=9, gamma=1.0, eps=1e-3, backend="cpu") | change
    with pytest.raises(ValueError, match=message):
        pdma(**arguments)


def test_the_cpu_engine_refuses_what_it_cannot_run():
    arguments = [t.half() if t.is_floating_point() else t for t in draw(4)[:5]]
    with pytest.raises(ValueError, match="takes float32 or float64 on the CPU, got torch.float16"):
        pdma(*arguments, 9, 1.0, 1e-3, backend="cpu")
