import math

import pytest
import torch

import mixers

D = 16


def make(d_model=D, noise=0.3, layer_idx=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("rwkv4", d_model, layer_idx, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=40, d_model=D):
    return torch.randn(2, length, d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x):
    """The paper's equation: at each token a weighted average over all tokens before it, and itself."""
    outputs = torch.empty_like(x)
    w, u = torch.exp(m.time_decay), m.time_first
    for b in range(len(x)):
        last, keys, values = torch.zeros(x.shape[-1], dtype=x.dtype), [], []
        for t, x_t in enumerate(x[b]):
            x_k, x_v, x_r = (
                x_t * mu[0, 0] + last * (1 - mu[0, 0]) for mu in (m.time_mix_k, m.time_mix_v, m.time_mix_r)
            )
            last = x_t
            k, v, r = m.key.weight @ x_k, m.value.weight @ x_v, m.receptance.weight @ x_r
            top, bottom = torch.exp(u + k) * v, torch.exp(u + k)
            for i in range(t):
                weight = torch.exp(-(t - 1 - i) * w + keys[i])
                top, bottom = top + weight * values[i], bottom + weight
            keys.append(k)
            values.append(v)
            outputs[b, t] = m.output.weight @ (torch.sigmoid(r) * top / bottom)
    return outputs


@pytest.mark.parametrize("layer, layers", [(0, 2), (1, 2), (0, 1)])
def test_equals_the_average_written_out(layer, layers):
    mixer, x = make(layer_idx=layer, num_hidden_layers=layers), sequence(30)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layer, layers, width", [(0, 2, 64), (1, 2, 64), (3, 12, 128)])
def test_starts_as_its_authors_do(layer, layers, width):
    """Their loops over the channels, in plain Python."""
    mixer = mixers.build("rwkv4", width, layer, num_hidden_layers=layers)
    depth, left = layer / (layers - 1), 1 - layer / layers
    for i in range(width):
        expected = {
            "time_decay": -5 + 8 * (i / (width - 1)) ** (0.7 + 1.3 * depth),
            "time_first": math.log(0.3) + 0.5 * ((i + 1) % 3 - 1),
            "time_mix_k": (i / width) ** left,
            "time_mix_v": (i / width) ** left + 0.3 * depth,
            "time_mix_r": (i / width) ** (0.5 * left),
        }
        for name, value in expected.items():
            assert mixer.get_parameter(name).flatten()[i].item() == pytest.approx(value, rel=1e-5, abs=1e-6), (name, i)
    assert {name: tuple(p.shape) for name, p in mixer.named_parameters()} == {
        "time_decay": (width,),
        "time_first": (width,),
        **{f"time_mix_{name}": (1, 1, width) for name in "kvr"},
        **{f"{name}.weight": (width, width) for name in ("key", "value", "receptance", "output")},
    }
    spared = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared == {name for name in expected}


@pytest.mark.parametrize("layer_idx, like", [(None, 0), (7, 1)])
def test_no_layer_index_is_the_first_and_too_large_a_one_the_last(layer_idx, like):
    torch.testing.assert_close(
        make(noise=0.0, layer_idx=layer_idx).state_dict(), make(noise=0.0, layer_idx=like).state_dict()
    )


def test_one_channel_is_allowed():
    mixer = make(1)
    assert mixer(sequence(9, 1)).isfinite().all()


def test_keys_of_any_size():
    mixer = make()
    with torch.no_grad():
        mixer.key.weight *= 1e4
        y, state = mixer.prefill(sequence(300))
    assert y.isfinite().all() and all(t.isfinite().all() for t in state.values())


def test_options_that_cannot_be():
    with pytest.raises(mixers.MixerError, match="num_hidden_layers must be at least 1, got 0"):
        make(num_hidden_layers=0)
