import math

import pytest
import torch

import mixers

D = 6


def make(noise=0.2, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("hyena", D, **{"filter_order": 8, **options}).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=40):
    return torch.randn(2, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def taps_one_by_one(m, fast=0.3, slow=1.5, shift=0.0):
    """``[l_max, D]``, from the equations of the docstring; the features of the places are the mixer's own."""
    taps = []
    for j in range(m.l_max):
        x = m.filter_fn.pos_emb.z[0, j]
        for layer in m.filter_fn.implicit_filter:
            if isinstance(layer, torch.nn.Linear):
                x = layer.weight @ x + (0 if layer.bias is None else layer.bias)
            else:
                x = torch.sin(layer.freq[0] * x)
        t = j / max(m.l_max - 1, 1)
        at = torch.arange(D, dtype=torch.float64) / (D - 1)
        delta = math.log(0.01) * ((1 - at) / slow + at / fast)
        taps.append(x * (torch.exp(t * delta) + shift))
    return torch.stack(taps)


def token_by_token(m, x, **window):
    """A convolution of few taps, two products, and one of ``l_max`` taps between them, written out."""
    taps, short = taps_one_by_one(m, **window), m.short_filter.weight[:, 0]
    projected = x @ m.in_proj.weight.T + m.in_proj.bias
    gated, outputs = [], []
    for t in range(x.shape[1]):
        uc = m.short_filter.bias.expand(len(x), -1).clone()
        for j in range(min(short.shape[1], t + 1)):
            uc += short[:, -1 - j] * projected[:, t - j]
        x1, x2, v = uc.split(D, 1)
        gated.append(x1 * v)
        y = m.filter_fn.bias * gated[t]
        for j in range(min(m.l_max, t + 1)):
            y = y + taps[j] * gated[t - j]
        outputs.append((x2 * y) @ m.out_proj.weight.T + m.out_proj.bias)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"l_max": 40},
        {"l_max": 13, "short_filter_order": 1, "num_inner_mlps": 0},
        {"l_max": 100, "emb_dim": 9, "w": 5.0, "short_filter_order": 5},
        {"l_max": 1},
    ],
    ids=str,
)
def test_equals_the_sums_over_taps(options):
    """Sequences longer than the filter, too."""
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x), rtol=1e-6, atol=1e-6)  # t in float32


def test_the_window_comes_down_as_it_is_told():
    window = {"fast": 0.2, "slow": 0.9, "shift": 0.05}
    mixer, x = make(l_max=30, fast_decay_pct=0.2, slow_decay_pct=0.9, shift=0.05), sequence()
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **window), rtol=1e-6, atol=1e-6)
        decay = mixer.filter_fn.modulation(torch.tensor([[0.2], [0.9]])) - 0.05
    assert decay[0, -1].item() == pytest.approx(0.01, rel=1e-4) and decay[1, 0].item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("emb_dim", [3, 5, 33])
def test_features_of_the_places(emb_dim):
    z = mixers.build("hyena", D, l_max=50, emb_dim=emb_dim).filter_fn.pos_emb.z.detach()
    bands = (emb_dim - 1) // 2
    assert z.shape == (1, 50, emb_dim)
    for j in (0, 7, 49):
        frequencies = [1e-4 + f * (bands - 1 - 1e-4) / max(bands - 1, 1) for f in range(bands)]
        angles = torch.tensor([2 * math.pi * f * j / 50 for f in frequencies])
        expected = torch.cat([torch.tensor([j / 49]), angles.cos(), -angles.sin()])
        torch.testing.assert_close(z[0, j], expected, rtol=0, atol=1e-4)


def test_the_sines_are_one():
    """Of all layers, as in Zoology, whose names of it are there."""
    mixer = make(num_inner_mlps=2)
    names = {name for name in mixer.state_dict() if name.endswith("freq")}
    assert names == {f"filter_fn.implicit_filter.{i}.freq" for i in (1, 3, 5)}
    assert sum(name.endswith("freq") for name, _ in mixer.named_parameters()) == 1


@pytest.mark.parametrize("l_max, expected", [(1, 0), (5, 4 * D), (64, 20 * D)])
def test_no_more_is_carried_than_can_be_read(l_max, expected):
    mixer = make(l_max=l_max)
    expected += 3 * D * 2
    assert mixer.state_size(20) == mixers.state_elements(mixer.prefill(sequence(20))[1]) == expected


def test_dropout_is_of_training_alone():
    mixer, x = make(dropout=0.5), sequence()
    assert torch.equal(mixer.eval()(x), make(dropout=0.0)(x))
    assert not torch.equal(mixer.train()(x), mixer.eval()(x))


def test_what_weight_decay_spares():
    mixer = make()
    spared = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared == {"filter_fn.pos_emb.z"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"l_max": 0}, "l_max must be at least 1, got 0"),
        ({"emb_dim": 4}, "emb_dim must be odd and at least 3, got 4"),
        ({"emb_dim": 1}, "emb_dim must be odd and at least 3, got 1"),
        ({"filter_order": 0}, "filter_order must be at least 1, got 0"),
        ({"short_filter_order": 0}, "short_filter_order must be at least 1, got 0"),
        ({"num_inner_mlps": 100}, "num_inner_mlps must be at most 64, got 100"),
        ({"dropout": 1.0}, "dropout must be in .0, 1., got 1.0"),
        ({"fast_decay_pct": 0.0}, "fast_decay_pct must be between 0.001 and 1000, got 0.0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
