import math

import pytest
import torch
import torch.nn.functional as F

import mixers
from tests.mixers.fla_layers import fla_layer

D = 16


def make(d_model=D, noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("mamba", d_model, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=40, d_model=D):
    return torch.randn(2, length, d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, u, N, R, taps):
    """The paper's equations, one token of one sequence after another."""
    outputs = torch.empty_like(u)
    A = -torch.exp(m.A_log)
    for b in range(len(u)):
        inner = m.D.numel()
        window, h = torch.zeros(taps, inner, dtype=u.dtype), torch.zeros(inner, N, dtype=u.dtype)
        for t in range(u.shape[1]):
            x, z = m.in_proj(u[b, t]).split(inner)
            window = torch.cat([window[1:], x[None]])
            x = (m.conv1d.weight[:, 0].T * window).sum(0)
            if m.conv1d.bias is not None:
                x = x + m.conv1d.bias
            x = x * x.sigmoid()
            dt, B, C = (m.x_proj.weight @ x).split([R, N, N])
            dt = torch.log1p(torch.exp(m.dt_proj.weight @ dt + m.dt_proj.bias))
            for c in range(inner):
                h[c] = torch.exp(dt[c] * A[c]) * h[c] + dt[c] * B * x[c]
            outputs[b, t] = m.out_proj((h @ C + m.D * x) * z * z.sigmoid())
    return outputs


@pytest.mark.parametrize(
    "options",
    [
        {"state_size": 5},
        {"state_size": 1, "expand": 1, "conv_kernel": 1, "use_conv_bias": False, "dt_rank": 3},
        {"state_size": 4, "use_bias": True, "conv_kernel": 2},
    ],
    ids=str,
)
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence(20)
    with torch.no_grad():
        expected = token_by_token(
            mixer, x, options["state_size"], options.get("dt_rank", 1), options.get("conv_kernel", 4)
        )
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "options",
    [{}, {"state_size": 5, "use_bias": True}, {"use_conv_bias": False, "conv_kernel": 2, "dt_rank": 3}],
    ids=str,
)
def test_equals_fla_with_its_weights(options):
    """Its layer in PyTorch, for which its activation must not be a kernel."""
    theirs = fla_layer("Mamba", hidden_size=64, intermediate_size=128, **options).eval()
    ours = mixers.build("mamba", 64, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.act = F.silu
    x = sequence(30, 64).float()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.slow_forward(x)[0], rtol=1e-4, atol=1e-5)


def test_starting_values():
    mixer = make(64, 0.0, state_size=3, dt_min=0.01, dt_max=0.5)
    dt = F.softplus(mixer.dt_proj.bias)
    assert 0.0099 < dt.min() < 0.02 and 0.35 < dt.max() < 0.501
    assert 0.05 < dt.log().mean().exp() < 0.1, "log-uniform"
    torch.testing.assert_close(mixer.A_log.exp(), torch.tensor([1.0, 2.0, 3.0]).double().expand(128, 3))
    assert mixer.D.eq(1).all() and mixer.dt_rank == 4
    assert 0.49 < mixer.dt_proj.weight.abs().max() <= 0.5
    spared = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared == {"A_log", "D", "dt_proj.bias"}
    assert mixers.build("mamba", 65).dt_rank == math.ceil(65 / 16)


def test_a_model_that_starts_its_linear_layers_anew_leaves_the_steps_alone():
    """As Zoology's do, whose biases are then 0: every step would be 0.7."""
    mixer = make(64, 0.0)
    for module in mixer.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    assert F.softplus(mixer.dt_proj.bias).max() < 0.101


def test_a_step_of_zero_keeps_the_state():
    mixer = make(state_size=5, conv_kernel=1)
    with torch.no_grad():
        state = mixer.prefill(sequence(9))[1]
        mixer.dt_proj.bias.fill_(-1e4)
        kept = mixer.prefill(sequence(5), state)[1]
    assert state["h"].abs().max() > 0.01
    assert torch.equal(kept["h"], state["h"])


def test_with_full_decay_only_the_convolution_remembers():
    mixer, x = make(state_size=5, conv_kernel=3), sequence(12)
    with torch.no_grad():
        mixer.A_log.fill_(20.0)
        pieces = torch.cat([mixer(x[:, max(0, t - 2) : t + 1])[:, -1:] for t in range(12)], 1)
        torch.testing.assert_close(mixer(x), pieces, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"state_size": 0}, "state_size must be at least 1, got 0"),
        ({"expand": 0}, "expand must be at least 1, got 0"),
        ({"conv_kernel": 0}, "conv_kernel must be at least 1, got 0"),
        ({"dt_rank": 0}, "dt_rank must be at least 1, got 0"),
        ({"dt_min": 0.2}, "dt_min and dt_max must be positive and in order, got 0.2 and 0.1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
