import pytest
import torch

import mixers

D = 6


def make(noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("long_conv", D, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=40):
    return torch.randn(2, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def taps_one_by_one(m):
    """``[l_max, D]``, from the equations of the docstring."""
    if not m.conv.state_dict().keys() & {"mlp.0.weight"}:
        return m.conv.filter.t()
    taps = []
    for j in range(m.l_max):
        angle = 2 * torch.pi * 1e-4 * j / m.l_max
        place = j / max(m.l_max - 1, 1)
        features = torch.tensor([place, angle, angle], dtype=torch.float64)
        features[1], features[2] = torch.cos(features[1]), -torch.sin(features[2])
        hidden = (m.conv.mlp[0].weight @ features + m.conv.mlp[0].bias).clamp(min=0)
        taps.append(m.conv.mlp[2].weight @ hidden + m.conv.mlp[2].bias)
    return torch.stack(taps)


def token_by_token(m, x):
    taps = taps_one_by_one(m)
    outputs = torch.empty_like(x)
    for t in range(x.shape[1]):
        convolved = x[:, t].clone()
        for j in range(min(m.l_max, t + 1)):
            convolved += taps[j] * x[:, t - j]
        projected = x[:, t] @ m.projection.weight.T + m.projection.bias
        if m.use_act:
            convolved, projected = convolved * convolved.sigmoid(), projected * projected.sigmoid()
        outputs[:, t] = convolved * projected + x[:, t]
    return outputs


@pytest.mark.parametrize("use_act", [False, True], ids=["linear", "act"])
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("l_max", [1, 2, 13, 40, 100])
def test_equals_the_sum_over_taps(l_max, implicit, use_act):
    """Sequences longer than the filter, too."""
    mixer, x = make(l_max=l_max, implicit_long_conv=implicit, use_act=use_act), sequence()
    with torch.no_grad():
        # places are features in float32
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x), rtol=1e-6, atol=1e-6)


def test_an_input_is_forgotten_after_l_max_tokens():
    mixer, x = make(l_max=7, implicit_long_conv=False), sequence()
    changed = x.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        moved = (mixer(changed) - mixer(x)).abs().amax((0, 2))
    assert moved[3:10].gt(1e-3).all() and moved[:3].eq(0).all() and moved[10:].eq(0).all()


@pytest.mark.parametrize("l_max, expected", [(1, 0), (5, 4 * D), (64, 20 * D)])
def test_no_more_is_carried_than_can_be_read(l_max, expected):
    mixer = make(l_max=l_max)
    assert mixer.state_size(20) == mixers.state_elements(mixer.prefill(sequence(20))[1]) == expected


def test_starting_values():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        explicit = mixers.build("long_conv", 64, l_max=400, implicit_long_conv=False)
    assert explicit.conv.filter.shape == (64, 400)
    assert explicit.conv.filter.std().item() == pytest.approx(1 / 20, rel=0.03)
    assert explicit.projection.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert explicit.projection.bias.eq(0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"l_max": 0}, "l_max must be at least 1, got 0"),
        ({"l_max": 2**21}, "l_max must be at most 1048576, got 2097152"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
