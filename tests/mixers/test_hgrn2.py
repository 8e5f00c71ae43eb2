import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("hgrn2", 16, **{"expand_ratio": 8, **options}).double()
        for p in mixer.parameters():
            p.data.add_(0.3 * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads, gamma):
    """The paper's equations, a state [d_f, d_i] per sequence and head."""
    q, f, i = m.q_proj(x), m.f_proj(x), m.i_proj(x)
    if hasattr(m, "q_conv1d"):
        q, f, i = (
            F.conv1d(F.pad(t.mT, (conv.kernel_size[0] - 1, 0)), conv.weight, groups=t.shape[-1]).mT
            for t, conv in ((q, m.q_conv1d), (f, m.f_conv1d), (i, m.i_conv1d))
        )
    q, f = q * torch.sigmoid(q), gamma + (1 - gamma) * torch.sigmoid(f)
    q, f, i = (t.unflatten(-1, (num_heads, -1)) for t in (q, f, i))
    o = torch.zeros_like(i)
    for b in range(len(x)):
        for h in range(num_heads):
            S = torch.zeros(q.shape[-1], i.shape[-1], dtype=x.dtype)
            for t in range(x.shape[1]):
                S = torch.diag(f[b, t, h]) @ S + torch.outer(1 - f[b, t, h], i[b, t, h])
                o[b, t, h] = q[b, t, h] @ S / q.shape[-1] ** 0.5
    return m.o_proj(F.rms_norm(o.flatten(-2), (16,), m.g_norm.weight, 1e-5))


@pytest.mark.parametrize(
    "options",
    [{}, {"expand_ratio": 6, "use_short_conv": True}, {"expand_ratio": 16, "lower_bound": 0.7}, {"expand_ratio": 1}],
)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        expected = token_by_token(mixer, x, 16 // options.get("expand_ratio", 8), options.get("lower_bound", 0.0))
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("lower_bound", [0.0, 0.4])
def test_a_state_is_a_mean_of_its_inputs(lower_bound):
    """What a gate forgets makes room for as much of the input: constant inputs fill the state up to 1 - prod f."""
    mixer, x = make(lower_bound=lower_bound), sequence(30)
    torch.nn.init.zeros_(mixer.i_proj.weight)
    mixer.i_proj.weight.data[:, 0] = 1
    x[:, :, 0] = 1
    S = mixer.prefill(x)[1]["S"]  # [B, H, d_f, d_i]
    f = lower_bound + (1 - lower_bound) * torch.sigmoid(mixer.f_proj(x)).unflatten(-1, (2, -1))
    expected = (1 - f.prod(1))[..., None].expand_as(S)
    torch.testing.assert_close(S, expected, rtol=1e-10, atol=1e-12)


def test_nothing_is_forgotten_faster_than_the_lower_bound():
    mixer, x = make(lower_bound=0.5), sequence(10)
    mixer.f_proj.weight.data.mul_(1e3)  # every gate open or shut
    empty = mixer.init_state(2)
    full = {"S": torch.ones_like(empty["S"])}
    kept = mixer.prefill(x, full)[1]["S"] - mixer.prefill(x, empty)[1]["S"]
    assert kept.max() <= 1 and kept.min() > 0.5**10 * 0.999


@pytest.mark.parametrize(
    "options", [{"expand_ratio": 32}, {"expand_ratio": 16, "use_short_conv": True}, {"expand_ratio": 24}]
)
def test_weights_of_fla(options):
    check_against_fla(
        mixers.build("hgrn2", 64, **options), fla_layer("HGRN2Attention", hidden_size=64, layer_idx=0, **options)
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"expand_ratio": 0}, "expand_ratio must be between 1 and d_model 16, got 0"),
        ({"expand_ratio": 128}, "expand_ratio must be between 1 and d_model 16, got 128"),
        ({"expand_ratio": 5}, "d_model 16 must be a multiple of d_model // expand_ratio = 3"),
        ({"lower_bound": 1.0}, "lower_bound must be in"),
        ({"use_short_conv": True, "conv_size": 0}, "conv_size must be at least 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
