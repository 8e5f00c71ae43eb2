import cmath

import pytest
import torch

import mixers
from mixers.rotary import rotate


def vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_turns_pairs_of_channels_as_complex_numbers():
    x, positions = vectors(2, 5, 3, 8), torch.tensor([0, 1, 2, 70, 5000])
    pairs = torch.complex(x[..., :4], x[..., 4:])
    for t, position in enumerate(positions.tolist()):
        for i in range(4):
            pairs[:, t, :, i] *= cmath.exp(1j * position * 100.0 ** (-2 * i / 8))
    expected = torch.cat([pairs.real, pairs.imag], -1)
    torch.testing.assert_close(rotate(x, positions, 100.0), expected, rtol=1e-9, atol=1e-9)


def test_interleaved_turns_neighbours():
    x, positions, order = vectors(2, 5, 3, 8), torch.arange(5), [0, 2, 4, 6, 1, 3, 5, 7]
    turned = rotate(x, positions, 100.0, interleaved=True)
    assert torch.equal(turned[..., order], rotate(x[..., order], positions, 100.0))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_scores_depend_only_on_the_distance(dtype, tolerance):
    q, k = (vectors(1, 1, 64, seed=s).to(dtype) for s in (1, 2))
    near = rotate(q, torch.tensor([7])) @ rotate(k, torch.tensor([3])).mT
    far = rotate(q, torch.tensor([1_000_004])) @ rotate(k, torch.tensor([1_000_000])).mT
    other = rotate(q, torch.tensor([7])) @ rotate(k, torch.tensor([4])).mT
    torch.testing.assert_close(near, far, rtol=tolerance, atol=tolerance)
    assert (near - other).abs() > 1e-3


def test_positions_by_sequence_and_the_first():
    x = vectors(2, 4, 3, 6)
    shared = rotate(x, torch.arange(4))
    torch.testing.assert_close(rotate(x, torch.arange(4).expand(2, 4)), shared)
    assert torch.equal(shared[:, 0], x[:, 0])


def test_equals_fla():
    rotary = pytest.importorskip("fla.modules.rotary.ops", reason="fla is not installed")
    x, positions = vectors(2, 30, 3, 16), torch.arange(30)
    angle = positions[:, None] * 10000.0 ** (-torch.arange(0, 16, 2).double() / 16)
    expected = rotary.rotary_embedding_ref(x, angle.cos(), angle.sin())
    torch.testing.assert_close(rotate(x, positions), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_heads", [1, 4])
def test_attention_with_rotary_positions_token_by_token(num_heads):
    mixer = attention(num_heads=num_heads, rotary=True, rotary_base=500.0)
    x = vectors(2, 20, 16, seed=3)
    q, k, v = mixer.Wqkv(x).view(2, 20, 3, num_heads, -1).unbind(2)
    half = q.shape[-1] // 2
    angle = torch.arange(20).double()[:, None] * 500.0 ** (-torch.arange(half).double() / half)
    turn = torch.polar(torch.ones_like(angle), angle).unsqueeze(1)
    q, k = (torch.complex(*t.split(half, -1)) * turn for t in (q, k))
    o = torch.empty_like(v)
    for t in range(20):
        scores = torch.einsum("bhd,bshd->bhs", q[:, t], k[:, : t + 1].conj()).real / (2 * half) ** 0.5
        o[:, t] = torch.einsum("bhs,bshd->bhd", scores.softmax(-1), v[:, : t + 1])
    torch.testing.assert_close(mixer(x), mixer.out_proj(o.flatten(-2)), rtol=1e-9, atol=1e-9)


def attention(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("attention", 16, **options).double()
        mixer.Wqkv.weight.data.mul_(30)  # scores that matter
    return mixer


def test_attention_knows_the_order_only_with_rotary_positions():
    x = vectors(1, 6, 16)
    swapped = x[:, [1, 0, 2, 3, 4, 5]]
    for rotary in (False, True):
        mixer = attention(rotary=rotary)
        assert torch.allclose(mixer(x)[:, -1], mixer(swapped)[:, -1]) is not rotary


def test_rotary_positions_add_no_weights_and_no_state():
    off, on = attention(), attention(rotary=True)
    on.load_state_dict(off.state_dict())
    assert off.state_size(50) == on.state_size(50) == 2 * 16 * 50


@pytest.mark.parametrize("name", ["attention", "sliding_window_attention"])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"rotary": True, "num_heads": 16}, "even head width, got 1"),
        ({"rotary": True, "rotary_base": 0.0}, "rotary_base must be positive, got 0.0"),
        ({"num_heads": 3}, "must be a multiple of num_heads 3"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_options_that_cannot_be(name, options, message):
    with pytest.raises(mixers.MixerError, match=message):
        mixers.build(name, 16, **options)
