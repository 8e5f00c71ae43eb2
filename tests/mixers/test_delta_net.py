import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("delta_net", 16, **options).double()
        for p in mixer.parameters():
            p.data.add_(0.3 * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


ACTIVATIONS = {
    "silu": lambda x: x * torch.sigmoid(x),
    "relu": lambda x: x.clamp(min=0),
    "elu": lambda x: torch.where(x > 0, x + 1, x.exp()),
    "identity": lambda x: x,
}


def token_by_token(m, x, num_heads=2, qk_activation="silu", qk_norm="l2", allow_neg_eigval=False, **_):
    """The papers' equations: look up what the key holds, and write the difference; a state [K, V] per head."""
    q, k, v = m.q_proj(x), m.k_proj(x), m.v_proj(x)
    if hasattr(m, "q_conv1d"):
        q, k, v = (
            F.conv1d(F.pad(t.mT, (conv.kernel_size[0] - 1, 0)), conv.weight, groups=t.shape[-1]).mT
            for t, conv in ((q, m.q_conv1d), (k, m.k_conv1d), (v, m.v_conv1d))
        )
    act = ACTIVATIONS[qk_activation]
    q, k, v = (t.unflatten(-1, (num_heads, -1)) for t in (act(q), act(k), ACTIVATIONS["silu"](v)))
    if qk_norm == "l2":
        q, k = (t / (t.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt() for t in (q, k))
    else:
        q, k = (t / t.abs().sum(-1, keepdim=True) for t in (q, k))
    beta = torch.ones(*x.shape[:2], num_heads, dtype=x.dtype) if m.b_proj is None else torch.sigmoid(m.b_proj(x))
    beta = 2 * beta if allow_neg_eigval else beta
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(num_heads):
            S = torch.zeros(k.shape[-1], v.shape[-1], dtype=x.dtype)
            for t in range(x.shape[1]):
                held = k[b, t, h] @ S
                S = S + beta[b, t, h] * torch.outer(k[b, t, h], v[b, t, h] - held)
                o[b, t, h] = q[b, t, h] @ S / k.shape[-1] ** 0.5
    o = F.rms_norm(o, o.shape[-1:], m.o_norm.weight, 1e-5)
    if m.g_proj is not None:
        o = o * F.silu(m.g_proj(x)).unflatten(-1, (num_heads, -1))
    return m.o_proj(o.flatten(-2))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_heads": 4, "expand_k": 0.75, "expand_v": 1.25, "use_gate": True, "conv_size": 2},
        {"use_short_conv": False, "qk_activation": "elu", "qk_norm": "sum"},
        {"qk_activation": "relu", "allow_neg_eigval": True},
        {"use_short_conv": False, "use_beta": False, "qk_activation": "identity"},
    ],
)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **options), rtol=1e-9, atol=1e-11)


def test_writing_under_a_key_again_overwrites():
    """beta 1, keys of unit length: after the second write the first has left no trace."""
    mixer = make(use_short_conv=False, use_beta=False)
    torch.nn.init.zeros_(mixer.k_proj.weight[:, 8:])  # keys see one half of the input, values the other
    torch.nn.init.zeros_(mixer.v_proj.weight[:, :8])
    first, second = sequence(2).unbind(1)
    first[:, :8] = second[:, :8]
    once = mixer.prefill(second[:, None])[1]["S"]
    twice = mixer.prefill(torch.stack([first, second], 1))[1]["S"]
    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-4)  # a key is a little shorter than 1


def test_negative_eigenvalues_reflect():
    """With beta 2 the value under a key changes its sign and gains twice the new one."""
    mixer = make(use_short_conv=False, use_beta=False, allow_neg_eigval=True)
    x = sequence(2)
    S_1 = mixer.prefill(x[:, :1])[1]["S"]
    S_2 = mixer.prefill(x)[1]["S"]
    k = F.normalize(F.silu(mixer.k_proj(x[:, 1])).unflatten(-1, (2, -1)), dim=-1)
    v = F.silu(mixer.v_proj(x[:, 1])).unflatten(-1, (2, -1))
    before, after = (torch.einsum("bhk,bhkv->bhv", k, S) for S in (S_1, S_2))
    torch.testing.assert_close(after, 2 * v - before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_gate": True, "expand_k": 0.5, "expand_v": 2.0, "conv_size": 3},
        {"use_short_conv": False, "use_beta": False, "qk_activation": "relu", "qk_norm": "sum", "num_heads": 4},
    ],
)
def test_weights_of_fla(options):
    theirs = fla_layer("DeltaNet", hidden_size=64, layer_idx=0, **{"num_heads": 2, **options})
    # fla's kernel for more than 64 tokens refuses float32
    check_against_fla(mixers.build("delta_net", 64, **options), theirs, length=64)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "expand_k times d_model must be a positive multiple of num_heads 3, got 16"),
        ({"expand_v": 0.0}, "expand_v"),
        ({"qk_norm": "l1"}, "qk_norm"),
        ({"conv_size": 0}, "conv_size must be at least 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)


@pytest.mark.parametrize("options", [{"qk_activation": "gelu"}, {"qk_norm": "l1"}])
def test_options_are_checked_without_the_registry_too(options):
    with pytest.raises(ValueError, match="must be"):
        mixers.DeltaNet(16, **options)
