import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("gsa", 16, **options).double()
        for p in mixer.parameters():  # gates and norms that differ from each other
            p.data.add_(0.3 * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads, tau=8.0, phi=F.silu, scale=1.0):
    """The paper's equations, slots [M, d] per sequence and head."""
    q, k, v = m.q_proj(x), m.k_proj(x), m.v_proj(x)
    if hasattr(m, "q_conv1d"):
        q, k, v = (
            F.silu(F.conv1d(F.pad(t.mT, (conv.kernel_size[0] - 1, 0)), conv.weight, groups=t.shape[-1]).mT)
            for t, conv in ((q, m.q_conv1d), (k, m.k_conv1d), (v, m.v_conv1d))
        )
    alpha = torch.sigmoid(m.f_proj(x)) ** (1 / tau)
    q, k, v, alpha = (t.unflatten(-1, (num_heads, -1)) for t in (phi(q), phi(k), F.silu(v), alpha))
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(num_heads):
            keys = torch.zeros(alpha.shape[-1], k.shape[-1], dtype=x.dtype)
            values = torch.zeros(alpha.shape[-1], v.shape[-1], dtype=x.dtype)
            for t in range(x.shape[1]):
                keep = alpha[b, t, h]
                keys = torch.diag(keep) @ keys + torch.outer(1 - keep, k[b, t, h])
                values = torch.diag(keep) @ values + torch.outer(1 - keep, v[b, t, h])
                o[b, t, h] = torch.softmax(scale * keys @ q[b, t, h], 0) @ values
    o = F.silu(o.flatten(-2))
    return m.o_proj(F.rms_norm(o, o.shape[-1:], m.g_norm.weight, 1e-5))


@pytest.mark.parametrize(
    "options, given",
    [
        ({}, {}),
        ({"use_short_conv": True, "conv_size": 3, "num_slots": 5}, {}),
        ({"num_heads": 4, "expand_k": 0.5, "expand_v": 1.5, "num_slots": 1}, {}),
        (
            {"gate_logit_normalizer": 0.5, "feature_map": "relu", "scale": 0.3},
            {"tau": 0.5, "phi": F.relu, "scale": 0.3},
        ),
    ],
    ids=["defaults", "convolutions", "widths", "gates"],
)
def test_equals_the_paper_token_by_token(options, given):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        expected = token_by_token(mixer, x, options.get("num_heads", 2), **given)
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-10)


def test_state_is_a_key_and_a_value_a_slot():
    assert make(num_slots=5).state_size(9) == 2 * 5 * (8 + 8) == make(num_slots=5).active_state_size(9)
    assert make(expand_k=0.5, expand_v=2.0).state_size(9) == 2 * 4 * (4 + 16)
    assert make(num_slots=5, use_short_conv=True).state_size(9) == 2 * 5 * 16 + 3 * 48


def test_one_slot_is_an_average_of_values():
    """Then there is nothing to choose, whatever is asked."""
    mixer, x = make(num_slots=1), sequence()
    other = make(num_slots=1)
    other.q_proj.weight.data.normal_()
    with torch.no_grad():
        assert torch.equal(mixer(x), other(x))


@pytest.mark.parametrize(
    "options", [{}, {"num_slots": 16, "use_short_conv": True}, {"expand_k": 0.5, "feature_map": "relu"}]
)
def test_weights_of_fla(options):
    theirs = fla_layer("GatedSlotAttention", hidden_size=64, num_heads=2, layer_idx=0, **options)
    check_against_fla(mixers.build("gsa", 64, **options), theirs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "expand_k times d_model must be a positive multiple of num_heads 3, got 16"),
        ({"expand_v": 0.0}, "expand_v"),
        ({"num_slots": 0}, "num_slots must be at least 1, got 0"),
        ({"gate_logit_normalizer": 0.0}, "gate_logit_normalizer must be above 0"),
        ({"conv_size": 0, "use_short_conv": True}, "conv_size must be at least 1"),
        ({"scale": -1.0}, "scale must be between 0 and 1e\\+06, got -1.0"),
        ({"feature_map": "t2r"}, "option 'feature_map'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
