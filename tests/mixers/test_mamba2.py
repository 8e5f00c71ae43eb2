import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(d_model=16, noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("mamba2", d_model, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, u, head_dim=8, state_size=5, expand=2, n_groups=1, conv_kernel=4, use_conv_bias=True):
    """The paper's equations: h [P, N] per head, the convolution as sums over its taps."""
    p, inner = dict(m.named_parameters()), expand * u.shape[-1]
    heads, channels = inner // head_dim, inner + 2 * n_groups * state_size
    outputs = torch.empty_like(u)
    for b in range(len(u)):
        h = torch.zeros(heads, head_dim, state_size, dtype=u.dtype)
        inputs = torch.zeros(conv_kernel, channels, dtype=u.dtype)
        for t, u_t in enumerate(u[b]):
            z, xBC, dt = (p["in_proj.weight"] @ u_t).split([inner, channels, heads])
            inputs = torch.cat([inputs[1:], xBC[None]])
            convolved = sum(inputs[j] * p["conv1d.weight"][:, 0, j] for j in range(conv_kernel))
            x, B, C = F.silu(convolved + p.get("conv1d.bias", 0)).split([inner, *[n_groups * state_size] * 2])
            dt = torch.log1p(torch.exp(dt + p["dt_bias"]))
            y = torch.empty(heads, head_dim, dtype=u.dtype)
            for i in range(heads):
                group = slice(i * n_groups // heads * state_size, (i * n_groups // heads + 1) * state_size)
                x_i = x[i * head_dim : (i + 1) * head_dim]
                h[i] = torch.exp(-dt[i] * p["A_log"][i].exp()) * h[i] + dt[i] * torch.outer(x_i, B[group])
                y[i] = h[i] @ C[group] + p["D"][i] * x_i
            gated = (y.flatten() * z * torch.sigmoid(z)).view(n_groups, -1)
            normed = gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            outputs[b, t] = p["out_proj.weight"] @ (normed.flatten() * p["norm.weight"])
    return outputs


@pytest.mark.parametrize(
    "options",
    [
        {"head_dim": 8, "state_size": 5},
        {"head_dim": 4, "state_size": 3, "n_groups": 2, "expand": 1, "conv_kernel": 1, "use_conv_bias": False},
        {"head_dim": 4, "state_size": 6, "n_groups": 4, "conv_kernel": 3},
    ],
)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence(40)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **options), rtol=1e-9, atol=1e-11)


OPTIONS = {"head_dim": 32, "state_size": 16, "conv_kernel": 3}


def test_weights_of_fla():
    check_against_fla(mixers.build("mamba2", 64, **OPTIONS), fla_layer("Mamba2", hidden_size=64, **OPTIONS).eval())


@pytest.mark.parametrize("options", [{"n_groups": 2}, {"use_conv_bias": False, "expand": 3}, {"head_dim": 16}])
def test_more_weights_of_fla(options):
    options = {**OPTIONS, **options}
    weights = fla_layer("Mamba2", hidden_size=64, **options).state_dict()
    mixers.build("mamba2", 64, **options).load_state_dict(weights, strict=True)


def test_equals_the_fallback_of_fla():
    """Its torch path runs on a CPU once the two parts that are kernels are replaced."""
    theirs = fla_layer("Mamba2", hidden_size=64, chunk_size=16, **OPTIONS).eval()
    ours = mixers.build("mamba2", 64, **OPTIONS)
    ours.load_state_dict(theirs.state_dict())
    weight = theirs.norm.weight
    del theirs.norm
    theirs.norm = lambda y, z: F.rms_norm(y * F.silu(z), weight.shape, weight, 1e-5)
    theirs.act = F.silu
    x = torch.randn(2, 50, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-4, atol=1e-5)


def test_a_step_of_zero_keeps_the_state():
    mixer = make(head_dim=8, state_size=5, conv_kernel=1)
    with torch.no_grad():
        state = mixer.prefill(sequence(9))[1]
        mixer.dt_bias.fill_(-1e3)
        kept = mixer.prefill(sequence(5), state)[1]
    assert state["S"].abs().max() > 0.1
    assert torch.equal(kept["S"], state["S"])


def test_with_full_decay_only_the_convolution_remembers():
    mixer, x = make(head_dim=8, state_size=5, conv_kernel=3), sequence(12)
    with torch.no_grad():
        mixer.A_log.fill_(20.0)
        pieces = torch.cat([mixer(x[:, max(0, t - 2) : t + 1])[:, -1:] for t in range(12)], 1)
        torch.testing.assert_close(mixer(x), pieces, rtol=1e-9, atol=1e-11)


def test_starting_values():
    mixer = make(64, 0.0, head_dim=1, state_size=2, dt_min=0.01, dt_max=0.5)
    A, dt = mixer.A_log.exp(), F.softplus(mixer.dt_bias)
    assert 1 <= A.min() < 2 and 15 < A.max() <= 16
    assert 0.0099 < dt.min() < 0.02 and 0.35 < dt.max() < 0.501
    assert 0.05 < dt.log().mean().exp() < 0.1, "log-uniform"
    assert mixer.D.eq(1).all()
    for weight, bound in ((mixer.in_proj.weight, 64**-0.5), (mixer.out_proj.weight, 128**-0.5)):
        assert 0.99 * bound < weight.abs().max() <= bound
    spared = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared == {"A_log", "D", "dt_bias"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"head_dim": 7}, "head_dim must divide expand . d_model = 32, got 7"),
        ({"head_dim": 0}, "head_dim must divide expand . d_model = 32, got 0"),
        ({"head_dim": 8, "n_groups": 3}, "n_groups must divide the 4 heads, got 3"),
        ({"head_dim": 8, "state_size": 0}, "state_size must be at least 1, got 0"),
        ({"head_dim": 8, "conv_kernel": 0}, "conv_kernel must be at least 1, got 0"),
        ({"expand": 0}, "expand must be at least 1, got 0"),
        ({"head_dim": 8, "dt_min": 0.2}, "dt_min and dt_max must be positive and in order, got 0.2 and 0.1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
