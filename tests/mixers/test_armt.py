import pytest
import torch

import mixers
from mixers import state_elements
from mixers.armt import associate


def make(noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("armt", 16, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=50, batch=2):
    return torch.randn(batch, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def dpfp(u, nu, normalize):
    y = torch.cat([u.clamp(min=0), (-u).clamp(min=0)])
    phi = torch.stack([y[i] * y[i - j] for j in range(1, nu + 1) for i in range(len(y))])
    return phi / (phi.pow(2).sum() + 1e-6).sqrt() if normalize else phi


def turned(u, place, rotary):
    """Pairs of channels as complex numbers, turned by the place times their frequency."""
    if not rotary:
        return u
    half = len(u) // 2
    angle = place * 10000.0 ** (-torch.arange(half, dtype=u.dtype) / half)
    pairs = torch.complex(u[:half], u[half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag])


def segment_by_segment(m, x, segment_size=8, nu=3, correction=True, normalize=True, num_heads=1, rotary=True, **_):
    """The equations for one sequence ``[T, d]``, vector by vector."""
    A, z, outputs = x.new_zeros(2 * nu * m.d_mem, 16), x.new_zeros(2 * nu * m.d_mem), []
    for first in range(0, len(x), segment_size):
        tokens = x[first : first + segment_size]
        inputs = []
        for u in [*tokens, *m.memory]:
            q = dpfp(m.W_mq(u), nu, normalize)
            inputs.append(u + A.T @ q / (z @ q + 1e-5))
        attended = []
        for i, u in enumerate(inputs):
            heads = []
            for h in range(num_heads):
                D = 16 // num_heads
                q, k, v = (
                    torch.stack([w.view(3, num_heads, D)[n, h] for w in m.Wqkv(torch.stack(inputs[: i + 1]))])
                    for n in range(3)
                )
                q, k = (torch.stack([turned(each, p, rotary) for p, each in enumerate(rows)]) for rows in (q, k))
                heads.append((q[-1] @ k.T / D**0.5).softmax(-1) @ v)
            attended.append(u + m.out_proj(torch.cat(heads)))
        outputs += [a - t for a, t in zip(attended, tokens, strict=False)]
        A_before, z_before = A, z
        for h in attended[len(tokens) :]:
            h = h / (h.square().mean() + 1e-5).sqrt()
            k = dpfp(m.W_mk(h), nu, normalize)
            old = A_before.T @ k / (z_before @ k + 1e-5)
            gamma = (1 - z_before @ k / (k @ k + 1e-5)).clamp(0, 1) if correction else 1.0
            A = A + torch.sigmoid(m.W_mb(h)) * torch.outer(k, m.W_mv(h) - old)
            z = z + gamma * k
    return torch.stack(outputs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"segment_size": 5, "num_mem_tokens": 3, "d_mem": 6, "num_heads": 4, "nu": 2, "normalize": False},
        {"segment_size": 1, "num_mem_tokens": 1, "d_mem": 4, "nu": 1, "correction": False},
        {"num_mem_tokens": 8, "num_heads": 16, "rotary": False},
    ],
)
def test_equals_the_definition_segment_by_segment(options):
    mixer, x = make(**options), sequence(length=21)
    with torch.no_grad():
        expected = torch.stack([segment_by_segment(mixer, sample, **options) for sample in x])
        torch.testing.assert_close(mixer(x), expected, rtol=1e-8, atol=1e-10)


def random_features(count, width=12):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(1, count, width, dtype=torch.float64, generator=generator) + 0.1


def read(A, k):
    found = k @ A
    return found[..., :-1] / (found[..., -1:] + 1e-5)


@pytest.mark.parametrize("correction", [True, False])
def test_gamma_makes_a_rewritten_key_read_back_exactly(correction):
    k, (v, w) = random_features(1), sequence(length=2, batch=1).unsqueeze(2).unbind(1)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    A = associate(None, k, v, one, correction)
    torch.testing.assert_close(read(A, k), v, rtol=1e-4, atol=0)
    A = associate(A, k, w, one, correction)
    torch.testing.assert_close(read(A, k), w if correction else w / 2, rtol=1e-4, atol=0)


def test_beta_says_how_much_of_the_old_value_goes():
    k, (v, w) = random_features(1), sequence(length=2, batch=1).unsqueeze(2).unbind(1)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    A = associate(associate(None, k, v, one), k, w, 0.25 * one)
    torch.testing.assert_close(read(A, k), 0.75 * v + 0.25 * w, rtol=1e-4, atol=1e-4)


def test_an_empty_memory_is_no_memory():
    k, v, beta = random_features(3), sequence(length=3, batch=1), torch.rand(1, 3, 1, dtype=torch.float64)
    torch.testing.assert_close(associate(torch.zeros(1, 12, 17).double(), k, v, beta), associate(None, k, v, beta))


@pytest.mark.parametrize("segment_size", [21, 22, 100])
def test_a_single_segment_is_plain_attention(segment_size):
    mixer, x = make(segment_size=segment_size, num_heads=2), sequence(length=21)
    attention = mixers.build("attention", 16, num_heads=2, rotary=True).double()
    attention.load_state_dict({n: w for n, w in mixer.state_dict().items() if n.startswith(("Wqkv", "out_proj"))})
    torch.testing.assert_close(mixer(x), attention(x), rtol=1e-9, atol=1e-11)


def test_causal_and_batch_independent_across_segments():
    mixer, t = make(segment_size=4).train(), 18
    x = sequence(length=30, batch=3).requires_grad_()
    (gradient,) = torch.autograd.grad(mixer(x)[1, t].square().sum(), x)
    assert gradient[1, : t + 1].abs().sum(-1).gt(0).all(), "the memory carries every segment"
    assert gradient[1, t + 1 :].eq(0).all() and gradient[[0, 2]].eq(0).all()


@pytest.mark.parametrize("pieces", [[8, 8, 5], [1] * 21, [3, 13, 4, 1], [7, 1, 1, 12], [21]])
def test_pieces_of_any_length_equal_the_whole(pieces):
    mixer, x, state, outputs = make(), sequence(length=21), None, []
    with torch.no_grad():
        for piece in x.split(pieces, 1):
            y, state = mixer.prefill(piece, state)
            outputs.append(y)
            assert state_elements(state) == mixer.state_size(0), "as much room at every length"
        torch.testing.assert_close(torch.cat(outputs, 1), mixer(x), rtol=1e-9, atol=1e-11)
    assert state["place"].eq(21 % 8).all() and state["k"][:, 21 % 8 :].eq(0).all()


def test_every_parameter_learns_from_the_first_step():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("armt", 16)
    mixer(sequence(length=30).float()).sin().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.ne(0).any() for p in mixer.parameters())


def test_bfloat16_autocast_keeps_the_memory_in_float32():
    mixer, x = make().float(), sequence().float()
    expected = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = mixer.prefill(x)
    assert state["A"].dtype == torch.float32
    assert (y - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"segment_size": 0}, "segment_size must be at least 1, got 0"),
        ({"num_heads": 16}, "rotary positions need an even head width, got 1"),
        ({"num_mem_tokens": 0}, "num_mem_tokens must be at least 1, got 0"),
        ({"d_mem": 0}, "d_mem must be at least 1, got 0"),
        ({"nu": 0}, "nu must be at least 1, got 0"),
        ({"nu": 5, "d_mem": 2}, "nu must be at most 2 d_mem = 4, got 5"),
        ({"num_heads": 3}, "d_model 16 must be a multiple of num_heads 3"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
