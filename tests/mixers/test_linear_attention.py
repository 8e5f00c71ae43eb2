import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mixers.build("linear_attention", 16, **options).double()


def sequence(length=11):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


PHI = {"elu": lambda x: torch.where(x > 0, x + 1, x.exp()), "relu": lambda x: x.clamp(min=0), "identity": lambda x: x}


def as_attention(m, x, num_heads, phi):
    """The quadratic form: every output is a sum over the tokens so far, weighted by the kernel of query and key."""
    q, k, v = (proj(x).unflatten(-1, (num_heads, -1)) for proj in (m.q_proj, m.k_proj, m.v_proj))
    weights = torch.einsum("bthd,bshd->bhts", phi(q), phi(k)).tril() / q.shape[-1] ** 0.5
    if m.normalize:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-6)
    o = torch.einsum("bhts,bshd->bthd", weights, v)
    if not isinstance(m.norm, torch.nn.Identity):
        o = F.rms_norm(o, o.shape[-1:], m.norm.weight, 1e-5)
    return m.o_proj(o.flatten(-2))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"feature_map": "relu", "expand_k": 0.5, "normalize": True},
        {"feature_map": "identity", "expand_v": 1.5, "num_heads": 4},
        {"normalize": True, "output_norm": "identity"},
    ],
)
def test_equals_attention_with_a_kernel(options):
    mixer, x = make(**options), sequence()
    expected = as_attention(mixer, x, options.get("num_heads", 2), PHI[options.get("feature_map", "elu")])
    torch.testing.assert_close(mixer(x), expected, rtol=1e-10, atol=1e-12)


def test_normalised_is_a_mean_of_values():
    """With equal values everywhere, a mean over the past returns them."""
    mixer = make(normalize=True, output_norm="identity")
    with torch.no_grad():
        mixer.v_proj.weight.zero_()
        mixer.v_proj.weight[:, 0] = torch.arange(16)
    x = sequence()
    x[:, :, 0] = 1
    expected = mixer.o_proj(torch.arange(16.0, dtype=torch.float64)).expand_as(x)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"expand_k": 0.5, "expand_v": 2.0}])
@pytest.mark.parametrize("normalize", [False, True])
def test_weights_of_fla(options, normalize):
    theirs = fla_layer(
        "LinearAttention",
        hidden_size=64,
        num_heads=2,
        feature_map="elu",
        do_feature_map_norm=normalize,
        layer_idx=0,
        **options,
    )
    check_against_fla(mixers.build("linear_attention", 64, normalize=normalize, **options), theirs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "expand_k times d_model must be a positive multiple of num_heads 3, got 16"),
        ({"num_heads": 0}, "num_heads 0"),
        ({"expand_v": 0.0}, "expand_v"),
        ({"output_norm": "layernorm"}, "output_norm"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
