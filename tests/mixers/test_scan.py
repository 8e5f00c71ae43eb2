"""The selective scan and RWKV-4's average: both engines against a loop over time in float64, and which one runs."""

import pytest
import torch

from mixers.base import TensorKind
from mixers.ops import scan
from mixers.ops.selective_scan import selective_scan
from mixers.ops.wkv import NOTHING, wkv

ENGINES = ["torch", "cpu"]


def draw(*shapes):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=g) for shape in shapes]


def scan_inputs(B, T, D, N, strength=1.0):
    x, dt, A, b, c, h = draw((B, T, D), (B, T, D), (D, N), (B, T, N), (B, T, N), (B, D, N))
    return [x, strength * dt.abs(), -A.abs(), b, c, h]


def scan_by_loop(x, dt, A, B, C, h):
    outputs = []
    for t in range(x.shape[1]):
        h = (dt[:, t, :, None] * A).exp() * h + (dt[:, t] * x[:, t])[..., None] * B[:, t, None]
        outputs.append((h * C[:, t, None]).sum(-1))
    return torch.stack(outputs, 1), h


def wkv_inputs(B, T, C, size=1.0):
    k, v, w, u, p, q, o = draw((B, T, C), (B, T, C), (C,), (C,), (B, C), (B, C), (B, C))
    return [size * k, v, -w.abs(), u, p, q.abs(), o]


def wkv_by_loop(k, v, w, u, p, q, o):
    """The sums as they are, without a care for overflow."""
    p, q, outputs = p * o.exp(), q * o.exp(), []
    for t in range(k.shape[1]):
        now = (u + k[:, t]).exp()
        outputs.append((p + now * v[:, t]) / (q + now))
        p, q = w.exp() * p + k[:, t].exp() * v[:, t], w.exp() * q + k[:, t].exp()
    return torch.stack(outputs, 1), p, q


def wkv_sums(k, v, w, u, *state, engine):
    y, (p, q, o) = wkv(k, v, w, u, state, engine)
    return y, p * o.exp(), q * o.exp()


def results(operation, tensors, dtype=torch.float64):
    """Outputs, last states, and the gradients of all of them in all inputs."""
    leaves = [x.to(dtype).requires_grad_() for x in tensors]
    outputs = operation(*leaves)
    g = torch.Generator().manual_seed(7)
    loss = sum((y * torch.randn(y.shape, generator=g).to(dtype)).sum() for y in outputs)
    return [*(y.detach() for y in outputs), *torch.autograd.grad(loss, leaves)]


def assert_close(got, expected, size):
    for a, b in zip(got, expected, strict=True):
        assert a.isfinite().all()
        assert (a.double() - b).abs().max() <= size * b.abs().max().clamp(min=1e-3)


SCAN_SIZES = [(1, 1, 1, 1), (2, 17, 5, 3), (3, 16, 16, 1), (2, 70, 33, 16), (1, 300, 3, 130)]
WKV_SIZES = [(1, 1, 1), (2, 17, 5), (3, 64, 16), (2, 65, 33), (1, 300, 20)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sizes", SCAN_SIZES, ids=str)
def test_selective_scan(sizes, engine):
    tensors = scan_inputs(*sizes)
    expected = results(scan_by_loop, tensors)
    assert_close(results(lambda *given: selective_scan(*given, engine=engine), tensors), expected, 1e-12)
    got = results(lambda *given: selective_scan(*given, engine=engine), tensors, torch.float32)
    assert_close(got, expected, 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sizes", WKV_SIZES, ids=str)
def test_wkv(sizes, engine):
    tensors = wkv_inputs(*sizes)
    expected = results(wkv_by_loop, tensors)
    assert_close(results(lambda *given: wkv_sums(*given, engine=engine), tensors), expected, 1e-12)
    got = results(lambda *given: wkv_sums(*given, engine=engine), tensors, torch.float32)
    assert_close(got, expected, 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_from_the_first_token(engine):
    x, dt, A, B, C, h = (t.double() for t in scan_inputs(2, 40, 5, 3))
    y, last = selective_scan(x, dt, A, B, C, engine=engine)
    expected = scan_by_loop(x, dt, A, B, C, torch.zeros_like(h))
    torch.testing.assert_close((y, last), expected, rtol=1e-12, atol=1e-12)
    k, v, w, u, p, *_ = (t.double() for t in wkv_inputs(2, 40, 5))
    y, (top, bottom, most) = wkv(k, v, w, u, engine=engine)
    expected = wkv_by_loop(k, v, w, u, *[torch.zeros_like(p)] * 3)
    torch.testing.assert_close((y, top * most.exp(), bottom * most.exp()), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(y[:, 0], v[:, 0])


@pytest.mark.parametrize("engine", ENGINES)
def test_pieces_are_the_whole_with_their_gradients(engine):
    """The state goes from one call to the next, with all that the second call makes of it."""

    def scan_in_pieces(x, dt, A, B, C, h):
        first, h = selective_scan(x[:, :23], dt[:, :23], A, B[:, :23], C[:, :23], h, engine)
        second, h = selective_scan(x[:, 23:], dt[:, 23:], A, B[:, 23:], C[:, 23:], h, engine)
        return torch.cat([first, second], 1), h

    def wkv_in_pieces(k, v, w, u, p, q, o):
        first, state = wkv(k[:, :23], v[:, :23], w, u, (p, q, o), engine)
        second, (p, q, o) = wkv(k[:, 23:], v[:, 23:], w, u, state, engine)
        return torch.cat([first, second], 1), p * o.exp(), q * o.exp()

    tensors = scan_inputs(2, 60, 5, 3)
    assert_close(results(scan_in_pieces, tensors), results(scan_by_loop, tensors), 1e-12)
    tensors = wkv_inputs(2, 60, 5)
    assert_close(results(wkv_in_pieces, tensors), results(wkv_by_loop, tensors), 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_that_would_overflow(engine):
    """exp(1000) is infinite even in float64; the average is not. The largest key decides, as long as it is not old."""
    k, v, w, u, *_ = (t.double() for t in wkv_inputs(2, 50, 5))
    k, w = 1000 * k, w / 1000
    for dtype in (torch.float64, torch.float32):
        leaves = [t.to(dtype).requires_grad_() for t in (k, v, w, u)]
        y, state = wkv(*leaves, engine=engine)
        gradients = torch.autograd.grad(y.square().sum(), leaves)
        assert all(t.isfinite().all() for t in (y, *state, *gradients))
        best = torch.cummax(k, 1).indices
        expected = torch.where((u + k - k.cummax(1).values).abs() > 100, v.gather(1, best), y.double())
        torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
        shifted, _ = wkv(leaves[0] - 500, *leaves[1:], engine=engine)
        torch.testing.assert_close(shifted, y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_strong_decay_forgets_all(engine):
    x, dt, A, B, C, h = scan_inputs(2, 40, 5, 3, strength=1e6)
    y, last = selective_scan(x, dt, A - 1, B, C, h, engine)
    only = (dt * x)[..., None] * B.unsqueeze(-2)
    torch.testing.assert_close(y, (only * C.unsqueeze(-2)).sum(-1), rtol=1e-4, atol=1e-6 * y.abs().max().item())
    k, v, w, u, *state = wkv_inputs(2, 40, 5)
    y, (p, q, o) = wkv(k, v, w - 1e6, u, tuple(state), engine)
    torch.testing.assert_close(p / q, v[:, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_sixteen_bits_are_computed_in_float32(engine):
    tensors = [t.bfloat16() for t in scan_inputs(2, 40, 5, 3)]
    y, h = selective_scan(*tensors, engine=engine)
    exact = scan_by_loop(*(t.double() for t in tensors))
    assert (y.dtype, h.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close((y.double(), h.double()), exact, rtol=1e-2, atol=1e-2)
    k, v, w, u, *_ = (t.half() for t in wkv_inputs(2, 40, 5))
    y, (_, _, o) = wkv(k, v, w, u, engine=engine)
    assert (y.dtype, o.dtype) == (torch.float16, torch.float32) and y.isfinite().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_slices_of_a_projection(engine):
    """What is read is numbers with gaps between them, even where there is one a token."""
    x, dt, A, B, C, h = scan_inputs(2, 9, 1, 1)
    x, dt, B, C = torch.cat([x, dt, B, C], -1).split(1, -1)
    expected = scan_by_loop(x, dt, A, B, C, h)
    torch.testing.assert_close(selective_scan(x, dt, A, B, C, h, engine), expected, rtol=1e-5, atol=1e-5)


def test_who_runs():
    def kind(device, length=2, dtype=torch.float32):
        return TensorKind((2, length, 5), dtype, torch.device(device))

    assert scan.choose_engine("auto", kind("cpu")) == "cpu"
    assert scan.choose_engine("auto", kind("cpu", dtype=torch.bfloat16)) == "cpu"
    assert scan.choose_engine("auto", kind("cpu", 1)) == "torch"
    assert scan.choose_engine("auto", kind("cuda")) == "torch"
    assert scan.choose_engine("torch", kind("cpu")) == "torch"
    with pytest.raises(ValueError, match="the scan's cpu engine needs CPU tensors, got tensors on cuda; use engine="):
        scan.choose_engine("cpu", kind("cuda"))
    with pytest.raises(ValueError, match="unknown engine 'fast': use 'auto', 'torch' or 'cpu'"):
        scan.choose_engine("fast", kind("cpu"))


def test_without_numba_the_reason_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    x = torch.empty(2, 5, 3)
    assert scan.decide_engine("auto", x) == ("torch", "cpu needs the package numba: pip install numba")
    with pytest.raises(ValueError, match="the scan's cpu engine needs the package numba"):
        scan.choose_engine("cpu", x)


def test_shapes_that_do_not_fit():
    x, dt, A, B, C, h = scan_inputs(2, 7, 5, 3)
    with pytest.raises(ValueError, match=r"B must be \[2, 7, 3\] to go with x \[2, 7, 5\], got \[2, 7, 2\]"):
        selective_scan(x, dt, A, B[..., :2], C)
    with pytest.raises(ValueError, match=r"initial_state must be \[2, 5, 3\] to go with x"):
        selective_scan(x, dt, A, B, C, h[:1])
    with pytest.raises(ValueError, match=r"x must be \[B, T, D\] with T at least 1, and A \[D, N\], got"):
        selective_scan(x[:, :0], dt, A, B, C)
    k, v, w, u, p, q, o = wkv_inputs(2, 7, 5)
    with pytest.raises(ValueError, match=r"v must be \[2, 7, 5\] to go with k \[2, 7, 5\], got \[2, 6, 5\]"):
        wkv(k, v[:, :6], w, u)
    with pytest.raises(ValueError, match=r"q must be \[2, 5\] to go with k"):
        wkv(k, v, w, u, (p, q[:1], o))
    with pytest.raises(ValueError, match=r"k must be \[B, T, C\] with T at least 1, got \[2, 5\]"):
        wkv(k[:, 0], v, w, u)


def test_nothing_is_the_least():
    """A first key as low as they come still outweighs what there is before it."""
    v = torch.randn(1, 2, 3)
    y, _ = wkv(torch.full((1, 2, 3), NOTHING / 10), v, -torch.ones(3), torch.zeros(3), engine="torch")
    assert torch.equal(y[:, 0], v[:, 0])
