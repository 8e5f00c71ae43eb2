import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(noise=0.3, width=16, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("kda", width, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads=2, num_v_heads=None, allow_neg_eigval=False, lower_bound=None, **_):
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
    gate = x @ m.f_proj[0].weight.T @ m.f_proj[1].weight.T + m.dt_bias
    K = k.shape[-1]
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(num_v_heads):
            shared, A = h // (num_v_heads // num_heads), m.A_log[h].exp()
            S = torch.zeros(K, v.shape[-1], dtype=x.dtype)
            for t in range(x.shape[1]):
                key, beta_t, gate_t = k[b, t, shared], beta[b, t, h], gate[b, t, h * K : (h + 1) * K]
                if lower_bound is None:
                    alpha = torch.exp(-A * torch.log1p(torch.exp(gate_t)))
                else:
                    alpha = torch.exp(lower_bound / (1 + torch.exp(-A * gate_t)))
                S = (torch.eye(K) - beta_t * torch.outer(key, key)) @ torch.diag(alpha) @ S
                S = S + beta_t * torch.outer(key, v[b, t, h])
                o[b, t, h] = q[b, t, shared] @ S / K**0.5
    o = F.rms_norm(o, o.shape[-1:], m.o_norm.weight, 1e-5)
    gate = x @ m.g_proj[0].weight.T @ m.g_proj[1].weight.T + m.g_proj[1].bias
    return m.o_proj((o * torch.sigmoid(gate).unflatten(-1, (num_v_heads, -1))).flatten(-2))


OPTIONS = [
    {},
    {"use_short_conv": False, "expand_v": 0.5, "head_dim": 6, "num_heads": 3},
    {"num_v_heads": 4, "expand_v": 1.5, "allow_neg_eigval": True, "conv_size": 2},
    {"lower_bound": -5.0},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **options), rtol=1e-9, atol=1e-11)


def test_with_the_same_decay_in_all_channels_the_rule_is_gated_delta_nets():
    from mixers.ops.delta_rule import gated_delta_rule

    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 70, 3, 5, dtype=torch.float64, generator=g) for _ in range(3))
    k, beta = F.normalize(k, dim=-1), torch.rand(2, 70, 3, dtype=torch.float64, generator=g)
    decay = -torch.rand(2, 70, 3, dtype=torch.float64, generator=g)
    per_head, per_channel = (gated_delta_rule(q, k, v, beta, d)[0] for d in (decay, decay[..., None].expand(q.shape)))
    torch.testing.assert_close(per_channel, per_head, rtol=1e-9, atol=1e-11)


def test_one_channel_forgets_and_the_others_keep():
    mixer, x = make(0.0, use_short_conv=False, num_heads=1), sequence(5)
    with torch.no_grad():
        mixer.A_log.zero_()
        mixer.dt_bias.fill_(-60.0)
        mixer.dt_bias[3] = 60.0
        state = mixer.prefill(x)[1]
        x[:, -1] = 0  # a token that writes nothing
        after = mixer.step(x[:, -1], state)[1]["S"]
    before = state["S"]
    assert before[:, 0, 3].abs().max() > 0 and after[:, 0, 3].abs().max() < 1e-20
    others = [c for c in range(16) if c != 3]
    torch.testing.assert_close(after[:, 0, others], before[:, 0, others])


def test_no_decay_goes_below_the_bound():
    mixer, x = make(lower_bound=-0.25), 100 * sequence()
    g = mixer._log_decay(x)
    assert g.min() == -0.25 and g.max() <= 0


@pytest.mark.parametrize("bound", [None, -5.0])
def test_initial_decay(bound):
    mixer = make(0.0, 64, num_heads=64, lower_bound=bound)
    if bound is None:
        assert 1 <= mixer.A_log.exp().min() < 3 and 14 < mixer.A_log.exp().max() <= 16
    else:
        assert not mixer.A_log.any()
    step = F.softplus(make(0.0, 256).dt_bias)
    assert 0.00099 < step.min() < 0.002 and 0.05 < step.max() < 0.101
    assert 0.004 < step.log().mean().exp() < 0.025, "log-uniform"
    unregularised = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert unregularised == {"A_log", "dt_bias"}


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 2, "head_dim": 32},
        {"num_heads": 2, "head_dim": 16, "expand_v": 1.5, "num_v_heads": 4, "conv_size": 3},
        {"num_heads": 4, "head_dim": 16, "use_short_conv": False, "allow_neg_eigval": True},
        {"num_heads": 2, "head_dim": 16, "lower_bound": -5.0},
    ],
)
def test_weights_of_fla(options):
    safe = {"safe_gate": True} if "lower_bound" in options else {}
    check_against_fla(
        mixers.build("kda", 64, **options),
        fla_layer("KimiDeltaAttention", hidden_size=64, layer_idx=0, **options, **safe).eval(),
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_flas_operations_with_its_weights(options):
    """fla's layer, but for its kernels: its gate and its recurrence as it has them in PyTorch."""
    pytest.importorskip("fla", reason="fla is not installed")
    from fla.ops.kda.gate import naive_kda_gate, naive_kda_lowerbound_gate
    from fla.ops.kda.naive import naive_recurrent_kda

    mixer, x = make(**options).float(), sequence(20).float()
    heads, v_heads = mixer.num_heads, mixer.num_v_heads
    with torch.no_grad():
        q, k, v = (F.silu(mixer.project(name, x, None, {})) for name in "qkv")
        q, k = (F.normalize(t.unflatten(-1, (heads, -1)), dim=-1) for t in (q, k))
        g, bound = mixer.f_proj(x).unflatten(-1, (v_heads, -1)), options.get("lower_bound")
        if bound is None:
            g = naive_kda_gate(g, mixer.A_log, mixer.dt_bias)
        else:
            g = naive_kda_lowerbound_gate(g, mixer.A_log, mixer.dt_bias, bound)
        beta = mixer.beta_range * mixer.b_proj(x).sigmoid()
        o, _ = naive_recurrent_kda(q, k, v.unflatten(-1, (v_heads, -1)), g, beta)
        o = F.rms_norm(o, o.shape[-1:], mixer.o_norm.weight, 1e-5)
        o = o * mixer.g_proj(x).unflatten(-1, (v_heads, -1)).sigmoid()
        torch.testing.assert_close(mixer(x), mixer.o_proj(o.flatten(-2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"num_heads": 17}, "head_dim must be at least 1, got 0"),
        ({"num_v_heads": 3}, "num_v_heads must be a positive multiple of num_heads 2, got 3"),
        ({"expand_v": 0.1}, "expand_v times head_dim 8 must be at least 1"),
        ({"conv_size": 0}, "conv_size must be at least 1"),
        ({"lower_bound": 0.0}, "lower_bound must be below 0, got 0"),
        ({"lower_bound": 0.5}, "lower_bound must be between -80 and 0, got 0.5"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
