"""The long convolution against the sum that it is, over blocks, halves by FFT, and in pieces."""

import pytest
import torch

from mixers.ops import long_convolution as module
from mixers.ops.long_convolution import long_convolution


def draw(batch, length, channels, taps, before=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    shapes = (batch, length, channels), (channels, taps), (batch, before, channels)
    return [torch.randn(shape, generator=g, dtype=dtype) for shape in shapes]


def by_sums(u, taps, before):
    inputs, start = torch.cat([before, u], 1), before.shape[1]
    y = torch.zeros_like(u)
    for j in range(min(taps.shape[1], inputs.shape[1])):
        first = max(0, j - start)  # the first output that has an input so long ago
        y[:, first:] = y[:, first:] + taps[:, j] * inputs[:, start + first - j : inputs.shape[1] - j]
    return y


def results(operation, tensors):
    leaves = [x.clone().requires_grad_() for x in tensors]
    y = operation(*leaves)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, cotangent, materialize_grads=True)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 8)


#: Length, taps and inputs before: within a block, over several, filters shorter than a block, than half of it all,
#: and longer than the sequence.
SIZES = [
    (1, 1, 0), (1, 5, 9), (7, 3, 0), (8, 8, 2), (9, 1, 4), (17, 9, 0), (33, 10, 40), (50, 50, 0), (50, 17, 21),
    (64, 100, 3), (1, 200, 150), (40, 200, 100),
]  # fmt: skip


@pytest.mark.parametrize("length, taps, before", SIZES)
def test_equals_the_sum_over_taps(length, taps, before, small_blocks):
    tensors = draw(2, length, 3, taps, before)
    for got, expected in zip(results(long_convolution, tensors), results(by_sums, tensors), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_equals_the_sum_at_the_real_block():
    tensors = draw(1, 600, 2, 590, 300)
    with torch.no_grad():
        torch.testing.assert_close(long_convolution(*tensors), by_sums(*tensors), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("length", [8, 100])
def test_no_trace_of_later_tokens(length, small_blocks):
    """Not within rounding: exactly."""
    u, taps, before = draw(2, length, 3, length, 5)
    for t in {0, 1, length // 2 - 1, length // 2, length - 2}:
        changed = u.clone()
        changed[:, t + 1 :] = 1e6
        after = long_convolution(changed, taps, before)
        assert torch.equal(long_convolution(u, taps, before)[:, : t + 1], after[:, : t + 1])
        leaf = u.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(long_convolution(leaf, taps, before)[:, t].square().sum(), leaf)
        assert gradient[:, : t + 1].ne(0).all() and gradient[:, t + 1 :].eq(0).all()


def test_pieces_are_the_whole(small_blocks):
    u, taps, before = draw(2, 90, 3, 30, 0)
    whole = long_convolution(u, taps)
    for piece in u.split([40, 1, 20, 29], 1):
        y = long_convolution(piece, taps, before[:, max(0, before.shape[1] - 29) :])
        start = before.shape[1]
        torch.testing.assert_close(y, whole[:, start : start + piece.shape[1]], rtol=1e-10, atol=1e-10)
        before = torch.cat([before, piece], 1)


def test_sixteen_bits_are_computed_in_float32():
    u, taps, before = draw(2, 300, 3, 280, 10, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = long_convolution(u.bfloat16(), taps, before)
    assert y.dtype == torch.bfloat16
    exact = long_convolution(u.bfloat16().double(), taps.double(), before.double())
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=1e-4)


def test_float32_is_as_good_as_a_sum():
    tensors = draw(3, 700, 4, 700, 0, torch.float32)
    exact = results(long_convolution, [x.double() for x in tensors])
    for got, expected in zip(results(long_convolution, tensors), exact, strict=True):
        error = (got.double() - expected).square().mean().sqrt()
        assert not expected.numel() or error <= 1e-6 * expected.square().mean().sqrt()
