import pytest
import torch

import mixers


def make(name="sliding_window_attention", dtype=torch.float64, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build(name, 16, **options).to(dtype)
        mixer.Wqkv.weight.data.mul_(30)  # scores that matter
    return mixer


def sequence(length, batch=2):
    return torch.randn(batch, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("num_heads", [1, 4])
@pytest.mark.parametrize("window, length", [(1, 5), (2, 64), (7, 65), (63, 200), (64, 64), (65, 131), (70, 200)])
def test_equals_a_loop_over_positions(window, length, num_heads):
    mixer, x = make(window=window, num_heads=num_heads), sequence(length)
    q, k, v = mixer.Wqkv(x).view(2, length, 3, num_heads, -1).unbind(2)
    o = torch.empty_like(v)
    for t in range(length):
        seen = slice(max(0, t - window + 1), t + 1)
        scores = torch.einsum("bhd,bshd->bhs", q[:, t], k[:, seen]) / q.shape[-1] ** 0.5
        o[:, t] = torch.einsum("bhs,bshd->bhd", scores.softmax(-1), v[:, seen])
    torch.testing.assert_close(mixer(x), mixer.out_proj(o.flatten(-2)), rtol=1e-9, atol=1e-12)


def test_window_of_one_sees_only_itself():
    mixer, x = make(window=1, num_heads=2), sequence(100)
    torch.testing.assert_close(mixer(x), mixer.out_proj(mixer.Wqkv(x)[..., 32:]))
    assert mixer.state_size(100) == 0
    state = mixer.step(x[:, 0], mixer.init_state(2))[1]
    torch.testing.assert_close(mixer.step(x[:, 1], state)[0], mixer(x)[:, 1])


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("length", [10, 64, 150])
def test_a_window_over_everything_is_attention(length, rotary):
    x, options = sequence(length), {"num_heads": 2, "rotary": rotary}
    full = make("attention", **options)
    for window in (length, length + 40):
        mixer = make(window=window, **options)
        mixer.load_state_dict(full.state_dict())
        torch.testing.assert_close(mixer(x), full(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("window, token", [(2, 70), (9, 63), (9, 64), (80, 140)])
def test_reaches_back_exactly_one_window(window, token):
    mixer, x = make(window=window), sequence(150, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(mixer(x)[0, token].sum(), x)
    reached = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert reached == list(range(token - window + 1, token + 1))


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("window", [1, 5, 40, 100])
def test_prefill_in_uneven_pieces(window, rotary):
    mixer, x = make(window=window, rotary=rotary), sequence(300)
    outputs, state = [], None
    for piece in x.split([3, 1, 90, 6, 200], 1):
        y, state = mixer.prefill(piece, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), mixer(x), rtol=1e-9, atol=1e-12)
    assert mixers.state_elements(state) == mixer.state_size(300) == 2 * 16 * (window - 1) + rotary


def test_with_rotary_positions_the_place_in_the_sequence_does_not_matter():
    mixer, x = make(window=6, rotary=True), sequence(80)
    torch.testing.assert_close(mixer(x)[:, 35:], mixer(x[:, 30:])[:, 5:], rtol=1e-9, atol=1e-12)


def test_long_sequences_need_no_square_of_their_length():
    mixer = make(window=16, dtype=torch.float32)
    with torch.no_grad():
        assert mixer(sequence(60_000, 1).float()).isfinite().all()  # the scores alone would be 14 GB


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_is_at_least_one_position(window):
    with pytest.raises(mixers.MixerError, match=f"window must be at least 1, got {window}"):
        make(window=window)
