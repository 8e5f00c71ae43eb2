"""Every registered mixer on inputs of up to 1,000 times the usual: finite, and the same whole, in pieces and by step.

Equality is held in float64, where rounding stays far below any choice. In float32 the results may differ by as much as
float64 says that inputs which are rounded off change them: where attention is torn between two tokens, nearly
everything.
"""

import pytest
import torch

import mixers
from mixers.ops.recurrence_chunk import CHUNK, FACTOR_SPAN
from tests.mixers.test_contract import CASES, D_MODEL, make

SCALES = [1, pytest.param(10, marks=pytest.mark.slow), 100, 1000]
#: A piece of every length up to 8, down which chunks are short.
PIECES = [8, 7, 6, 5, 4, 3, 2, 1]
LENGTH = sum(PIECES)
#: Mixers that choose slots or memories by rank. One that rounding chooses differently changes much, so float64 only.
CHOOSING = {"mom", "ramnet", "sparse_delta_memory"}
#: What float32 loses, relatively: sums of up to CHUNK terms, and exponents up to the span.
ROUNDING = 2 * torch.finfo(torch.float32).eps * (CHUNK + FACTOR_SPAN[torch.float32])

by_scale = pytest.mark.parametrize("scale", SCALES)


def inputs(scale, width=D_MODEL, length=LENGTH):
    return scale * torch.randn(2, length, width, dtype=torch.float64, generator=torch.Generator().manual_seed(scale))


def in_pieces(mixer, x):
    state, outputs = None, []
    for piece in x.split(PIECES, 1):
        y, state = mixer.prefill(piece, state)
        outputs.append(y)
    return torch.cat(outputs, 1)


def by_step(mixer, x):
    state, outputs = mixer.init_state(len(x)), []
    for x_t in x.unbind(1):
        y, state = mixer.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def distance(a, b):
    """The largest difference, relative to the largest element of b, or to 1 if that is less."""
    assert a.isfinite().all() and b.isfinite().all()
    return float((a.double() - b.double()).abs().max() / b.abs().max().clamp(min=1))


@by_scale
@pytest.mark.parametrize("name, options", CASES)
def test_whole_in_pieces_and_by_step_are_equal(name, options, scale):
    mixer, x = make(name, options), inputs(scale)
    with torch.no_grad():
        whole = mixer(x)
        assert distance(in_pieces(mixer, x), whole) < 1e-9
        assert distance(by_step(mixer, x), whole) < 1e-9


@by_scale
@pytest.mark.parametrize("name, options", CASES)
def test_float32_is_finite_with_its_gradients(name, options, scale):
    mixer = make(name, options, torch.float32).train()
    mixer.set_training_progress(0.0)
    for run in (type(mixer).forward, in_pieces, by_step):
        x = inputs(scale).float().requires_grad_()
        y = run(mixer, x)
        given = [x, *(p for p in mixer.parameters() if p.requires_grad)]
        gradients = torch.autograd.grad(y.square().mean(), given, materialize_grads=True)
        assert all(tensor.isfinite().all() for tensor in (y, *gradients)), run.__name__


@by_scale
@pytest.mark.parametrize("name, options", [case for case in CASES if case.values[0] not in CHOOSING])
def test_float32_is_equal_as_far_as_it_can_be(name, options, scale):
    mixer, x = make(name, options, torch.float32), inputs(scale).float()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        whole, pieces, steps = mixer(x), in_pieces(mixer, x), by_step(mixer, x)
        mixer, x = mixer.double(), x.double()
        exact = mixer(x)
        noises = [2 * torch.rand(x.shape, dtype=x.dtype, generator=g) - 1 for _ in range(3)]
        allowed = max(distance(mixer(x * (1 + ROUNDING * noise)), exact) for noise in noises)
    assert distance(pieces, whole) <= allowed
    assert distance(steps, whole) <= allowed


@by_scale
@pytest.mark.parametrize("name", mixers.names())
def test_short_sequences_at_width_64(name, scale):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build(name, 64).eval()
    x = inputs(scale, 64, 5)
    with torch.no_grad():
        assert mixer(x.float()).isfinite().all()
        mixer.double()
        assert distance(by_step(mixer, x), mixer(x)) < 1e-9
