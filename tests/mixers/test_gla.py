import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("gla", 16, **options).double()
        for p in mixer.parameters():  # gates and norms that differ from each other
            p.data.add_(0.3 * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads, normalizer):
    """The paper's equations, a state [K, V] per sequence and head."""
    q, k, v = m.q_proj(x), m.k_proj(x), m.v_proj(x)
    if hasattr(m, "q_conv1d"):
        q, k, v = (
            F.silu(F.conv1d(F.pad(t.mT, (conv.kernel_size[0] - 1, 0)), conv.weight, groups=t.shape[-1]).mT)
            for t, conv in ((q, m.q_conv1d), (k, m.k_conv1d), (v, m.v_conv1d))
        )
    down, up = m.gk_proj
    alpha = torch.sigmoid(up(down(x))) ** (1 / normalizer)
    q, k, v, alpha = (t.unflatten(-1, (num_heads, -1)) for t in (q, k, v, alpha))
    K, V = q.shape[-1], v.shape[-1]
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(num_heads):
            S = torch.zeros(K, V, dtype=x.dtype)
            for t in range(x.shape[1]):
                S = torch.diag(alpha[b, t, h]) @ S + torch.outer(k[b, t, h], v[b, t, h])
                o[b, t, h] = q[b, t, h] @ S / K**0.5
    if m.g_proj is not None:
        o = F.rms_norm(o, (V,), m.g_norm_swish_gate.weight, 1e-5) * F.silu(m.g_proj(x).unflatten(-1, (num_heads, -1)))
    else:
        o = F.rms_norm(o, (V,), m.g_norm.weight, 1e-5)
    return m.o_proj(o.flatten(-2))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_heads": 4, "expand_k": 0.75, "expand_v": 1.25, "use_output_gate": False},
        {"use_short_conv": True, "conv_size": 3, "gate_logit_normalizer": 1.0},
    ],
)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        expected = token_by_token(mixer, x, options.get("num_heads", 2), options.get("gate_logit_normalizer", 16))
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-11)


def test_with_gates_open_it_is_linear_attention():
    mixer, x = make(expand_k=1.0, use_output_gate=False), sequence()
    up = mixer.gk_proj[1]
    torch.nn.init.zeros_(up.weight)
    torch.nn.init.constant_(up.bias, 60.0)
    linear = mixers.build("linear_attention", 16, feature_map="identity").double()
    weights = {name.replace("g_norm", "norm"): w for name, w in mixer.state_dict().items() if "gk_proj" not in name}
    linear.load_state_dict(weights)
    torch.testing.assert_close(mixer(x), linear(x), rtol=1e-9, atol=1e-11)


def test_with_gates_shut_only_the_current_token_counts():
    mixer, x = make(), sequence()
    up = mixer.gk_proj[1]
    torch.nn.init.zeros_(up.weight)
    torch.nn.init.constant_(up.bias, -16 * 60.0)
    one_by_one = torch.cat([mixer(x[:, t : t + 1]) for t in range(x.shape[1])], 1)
    torch.testing.assert_close(mixer(x), one_by_one, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"expand_k": 1.0, "expand_v": 2.0, "use_short_conv": True, "gate_low_rank_dim": 8},
        {"use_output_gate": False, "gate_logit_normalizer": 8, "num_heads": 4, "expand_k": 1.0},
    ],
)
def test_weights_of_fla(options):
    theirs = fla_layer("GatedLinearAttention", hidden_size=64, layer_idx=0, **{"num_heads": 2, **options})
    check_against_fla(mixers.build("gla", 64, **options), theirs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "expand_k times d_model must be a positive multiple of num_heads 3, got 8"),
        ({"gate_logit_normalizer": 0.0}, "gate_logit_normalizer must be above 0"),
        ({"gate_low_rank_dim": 0}, "gate_low_rank_dim must be at least 1"),
        ({"use_short_conv": True, "conv_size": 0}, "conv_size must be at least 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
