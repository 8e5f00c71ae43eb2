"""The compiled convolution and norms: against PyTorch in float64, all gradients, with at most twice PyTorch's error."""

import pytest
import torch

from mixers.ops.causal_conv import causal_conv
from mixers.ops.causal_conv_cpu import causal_conv_cpu
from mixers.ops.norm import l2_norm, rms_norm
from mixers.ops.norm_cpu import BLOCK, norm_cpu


def draw(*shapes):
    g = torch.Generator().manual_seed(0)
    return [None if shape is None else torch.randn(shape, generator=g) for shape in shapes]


def results(operation, tensors, dtype=torch.float32):
    leaves = [None if x is None else x.to(dtype).requires_grad_() for x in tensors]
    y = operation(*leaves)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(dtype)
    return [y.detach(), *torch.autograd.grad(y, [x for x in leaves if x is not None], weight)]


def assert_as_exact(compiled, plain, tensors):
    """Of the size of PyTorch's own error; a few roundings where that happens to be next to nothing."""
    exact = results(plain, tensors, torch.float64)
    for got, torchs, expected in zip(results(compiled, tensors), results(plain, tensors), exact, strict=True):
        error, allowed = ((x.double() - expected).square().mean().sqrt() for x in (got, torchs))
        assert not expected.numel() or error <= 2 * allowed + 1e-6 * expected.abs().max()


SIZES = [(1, 1, 4), (2, 5, 4), (7, 17, 3), (3, 48, 1), (37, 16, 5)]


@pytest.mark.parametrize("before", [False, True], ids=["start", "later"])
@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize("length, channels, taps", SIZES)
def test_convolution(length, channels, taps, bias, before):
    shapes = (3, length, channels), (channels, taps), (channels,), (3, taps - 1, channels)
    x, weight, b, state = draw(*shapes)
    tensors = [x, weight, b if bias else None, state if before else None]
    assert_as_exact(causal_conv_cpu, causal_conv_in_pytorch, tensors)
    assert torch.equal(causal_conv(*tensors), causal_conv_cpu(*tensors))


def causal_conv_in_pytorch(x, weight, bias, before):
    taps = weight.shape[1]
    x = torch.nn.functional.pad(x, (0, 0, taps - 1, 0)) if before is None else torch.cat([before, x], 1)
    return torch.nn.functional.conv1d(x.mT, weight[:, None], bias, groups=len(weight)).mT


@pytest.mark.parametrize("rows, width", [(1, 1), (3, 5), (BLOCK + 1, 32), (2 * BLOCK, 17)])
def test_norms(rows, width):
    x, weight = draw((rows, 2, width), (width,))

    def plain(x, weight):
        return torch.nn.functional.rms_norm(x, (width,), weight, 1e-5)

    assert_as_exact(lambda x, weight: rms_norm(x, weight, 1e-5), plain, [x, weight])
    assert_as_exact(l2_norm, lambda x: x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt(), [x])
    assert torch.equal(rms_norm(x, None, 1e-5), norm_cpu(x, None, 1 / width, 1e-5))


def test_results_do_not_depend_on_the_number_of_threads():
    x, weight, gain = draw((5, 40, 24), (24, 4), (24,))
    threads, got = torch.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            convolved = results(lambda x, weight: causal_conv(x, weight), [x, weight])
            got.append([*convolved, *results(lambda x, gain: rms_norm(x, gain, 1e-5), [x, gain])])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in got[1:] for a, b in zip(other, got[0], strict=True))


def test_one_row_that_is_not_a_number_stays_alone():
    x, weight, gain = draw((3, 4, 5), (5, 3), (5,))
    x[0] = torch.nan
    for y in (causal_conv(x, weight), rms_norm(x, gain, 1e-5), l2_norm(x)):
        assert y[0].isnan().any() and y[1:].isfinite().all()
