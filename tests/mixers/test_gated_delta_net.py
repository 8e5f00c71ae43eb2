import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("gated_delta_net", 16, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads=2, num_v_heads=None, allow_neg_eigval=False, **_):
    """The paper's equation with its matrices, a state [K, V] per value head."""
    num_v_heads = num_v_heads or num_heads
    q, k, v = m.q_proj(x), m.k_proj(x), m.v_proj(x)
    if hasattr(m, "q_conv1d"):
        q, k, v = (
            F.conv1d(F.pad(t.mT, (conv.kernel_size[0] - 1, 0)), conv.weight, groups=t.shape[-1]).mT
            for t, conv in ((q, m.q_conv1d), (k, m.k_conv1d), (v, m.v_conv1d))
        )
    q, k = (F.silu(t).unflatten(-1, (num_heads, -1)) for t in (q, k))
    q, k = (t / (t.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt() for t in (q, k))
    v = F.silu(v).unflatten(-1, (num_v_heads, -1))
    beta = torch.sigmoid(m.b_proj(x)) * (2 if allow_neg_eigval else 1)
    alpha = torch.exp(-m.A_log.exp() * torch.log1p(torch.exp(m.a_proj(x) + m.dt_bias)))
    K = k.shape[-1]
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(num_v_heads):
            shared = h // (num_v_heads // num_heads)
            S = torch.zeros(K, v.shape[-1], dtype=x.dtype)
            for t in range(x.shape[1]):
                key, beta_t = k[b, t, shared], beta[b, t, h]
                S = alpha[b, t, h] * (torch.eye(K) - beta_t * torch.outer(key, key)) @ S
                S = S + beta_t * torch.outer(key, v[b, t, h])
                o[b, t, h] = q[b, t, shared] @ S / K**0.5
    o = F.rms_norm(o, o.shape[-1:], m.o_norm.weight, 1e-5)
    if m.g_proj is not None:
        o = o * F.silu(m.g_proj(x)).unflatten(-1, (num_v_heads, -1))
    return m.o_proj(o.flatten(-2))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_short_conv": False, "use_gate": False, "expand_v": 0.5, "head_dim": 6, "num_heads": 3},
        {"num_v_heads": 4, "expand_v": 1.0, "allow_neg_eigval": True, "conv_size": 2},
    ],
)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **options), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("use_gate", [False, True])
def test_without_decay_it_is_delta_net(use_gate):
    mixer, x = make(use_gate=use_gate, expand_v=1.0), sequence()
    torch.nn.init.constant_(mixer.A_log, -60.0)
    delta = mixers.build("delta_net", 16, use_gate=use_gate).double()
    own = ("A_log", "dt_bias", "a_proj.weight")
    delta.load_state_dict({name: w for name, w in mixer.state_dict().items() if name not in own})
    torch.testing.assert_close(mixer(x), delta(x), rtol=1e-9, atol=1e-11)


def test_with_full_decay_only_the_current_token_counts():
    mixer, x = make(use_short_conv=False), sequence(10)
    torch.nn.init.constant_(mixer.A_log, 20.0)
    one_by_one = torch.cat([mixer(x[:, t : t + 1]) for t in range(x.shape[1])], 1)
    torch.testing.assert_close(mixer(x), one_by_one, rtol=1e-9, atol=1e-11)


def test_initial_decay():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("gated_delta_net", 64, num_heads=64)
    assert mixer.A_log.exp().min() < 2 and 14 < mixer.A_log.exp().max() <= 16
    step = F.softplus(mixer.dt_bias)
    assert 0.00099 < step.min() < 0.002 and 0.05 < step.max() < 0.101
    assert 0.004 < step.log().mean().exp() < 0.025, "log-uniform"
    assert {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)} == {
        "A_log",
        "dt_bias",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 2, "head_dim": 32},
        {"num_heads": 2, "head_dim": 16, "expand_v": 1.5, "num_v_heads": 4, "conv_size": 3},
        {"num_heads": 4, "head_dim": 16, "use_gate": False, "use_short_conv": False, "allow_neg_eigval": True},
    ],
)
def test_weights_of_fla(options):
    check_against_fla(
        mixers.build("gated_delta_net", 64, **options),
        fla_layer("GatedDeltaNet", hidden_size=64, layer_idx=0, **options).eval(),
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"num_heads": 17}, "head_dim must be at least 1, got 0"),
        ({"num_v_heads": 3}, "num_v_heads must be a positive multiple of num_heads 2, got 3"),
        ({"expand_v": 0.1}, "expand_v times head_dim 8 must be at least 1"),
        ({"conv_size": 0}, "conv_size must be at least 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
