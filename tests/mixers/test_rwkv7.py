import pytest
import torch

import mixers
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(d_model=16, noise=0.3, layer_idx=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("rwkv7", d_model, layer_idx, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=70, d_model=16):
    return torch.randn(2, length, d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, head_dim):
    """The paper's equations, one head's S [K, V] at a time, with its transition matrix written out."""
    p, H = dict(m.named_parameters()), x.shape[-1] // head_dim
    outputs = torch.empty_like(x)
    for b in range(len(x)):
        S, last = [torch.zeros(head_dim, head_dim, dtype=x.dtype)] * H, torch.zeros_like(x[0, 0])
        for t, x_t in enumerate(x[b]):
            mixed = {c: x_t + (last - x_t) * p[f"x_{c}"][0, 0] for c in "rwkvag"}
            last = x_t

            def lora(c, act, mixed=mixed):
                up = p[f"{c}_lora.lora.2.weight"] @ act(p[f"{c}_lora.lora.0.weight"] @ mixed[c])
                return up + p.get(f"{c}_lora.lora.2.bias", 0)

            r, k, v = (p[f"{c}_proj.weight"] @ mixed[c] for c in "rkv")
            w = torch.exp(-torch.exp(torch.tensor(-0.5)) * torch.sigmoid(lora("w", torch.tanh)))
            a, g = torch.sigmoid(lora("a", lambda y: y)), lora("g", torch.sigmoid)
            replaced = k * (1 - p["k_a"] + a * p["k_a"])
            o = torch.empty_like(x_t)
            for h in range(H):
                s = slice(h * head_dim, (h + 1) * head_dim)
                kappa = k[s] * p["k_k"][s]
                kappa = kappa / (kappa.square().sum() + 1e-6).sqrt()
                S[h] = (torch.diag(w[s]) - torch.outer(kappa * a[s], kappa)) @ S[h] + torch.outer(replaced[s], v[s])
                o_h = r[s] @ S[h]
                o_h = (o_h - o_h.mean()) / (o_h.var(correction=0) + head_dim * 1e-5).sqrt()
                o_h = o_h * p["g_norm.weight"][s] + p["g_norm.bias"][s]
                o[s] = (o_h + (r[s] * replaced[s] * p["r_k"][h]).sum() * v[s]) * g[s]
            outputs[b, t] = p["o_proj.weight"] @ o
    return outputs


@pytest.mark.parametrize("options", [{"head_dim": 8}, {"head_dim": 4, "decay_low_rank_dim": 3, "gate_low_rank_dim": 5}])
def test_equals_the_recurrence_token_by_token(options):
    mixer, x = make(**options), sequence(40)
    with torch.no_grad():
        # exp(-0.5) in float32 above
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, options["head_dim"]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [{"head_dim": 64}, {"head_dim": 16, "decay_low_rank_dim": 8, "a_low_rank_dim": 4}])
def test_weights_of_fla(options):
    theirs = fla_layer("RWKV7Attention", hidden_size=64, layer_idx=0, num_hidden_layers=2, **options)
    generator = torch.Generator().manual_seed(0)
    for p in theirs.parameters():  # its output projection is 0
        p.data.add_(0.1 * torch.randn(p.shape, generator=generator))
    check_against_fla(mixers.build("rwkv7", 64, 0, **options), theirs)


@pytest.mark.parametrize("layer, layers, width, head_dim", [(0, 2, 64, 64), (1, 2, 128, 32), (2, 5, 64, 16)])
def test_starts_as_fla_does(layer, layers, width, head_dim):
    theirs = fla_layer(
        "RWKV7Attention", hidden_size=width, head_dim=head_dim, layer_idx=layer, num_hidden_layers=layers
    ).state_dict()
    ours = make(width, 0.0, layer, head_dim=head_dim, num_hidden_layers=layers).float().state_dict()
    assert {name for name in theirs if name not in ours} <= {
        f"v_lora.lora.{n}" for n in ("0.weight", "2.weight", "2.bias")
    }
    for name, value in ours.items():
        if name == "o_proj.weight":
            bound = (2 * layers * width) ** -0.5
            assert 0.99 * bound < value.abs().max() <= bound
        elif name.endswith("proj.weight") or name.endswith("2.weight"):  # orthogonal
            torch.testing.assert_close(value.norm(), theirs[name].norm())
            gram = value.T @ value
            torch.testing.assert_close(gram, gram[0, 0] * torch.eye(len(gram)), rtol=0, atol=1e-5)
        else:
            torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer_idx, like", [(None, 0), (7, 1)])
def test_no_layer_index_is_the_first_and_too_large_a_one_the_last(layer_idx, like):
    assert_same = torch.testing.assert_close
    assert_same(
        make(noise=0.0, layer_idx=layer_idx, head_dim=8).state_dict(),
        make(noise=0.0, layer_idx=like, head_dim=8).state_dict(),
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_every_parameter_learns_from_the_second_step(layers):
    mixer = make(64, 0.0, None, num_hidden_layers=layers)
    x = sequence(30, 64)
    x[:, 3:5] = 0  # tokens without a key
    optimizer = torch.optim.SGD(mixer.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (mixer(x) - x).square().sum().backward()
        optimizer.step()
    for name, p in mixer.named_parameters():
        assert p.grad.isfinite().all() and 0 < p.grad.abs().max() < 1e4, name


def test_decay_stays_in_its_range():
    mixer, x = make(head_dim=8), 1e3 * sequence(300)
    with torch.no_grad():
        y, state = mixer.prefill(x)
    assert y.isfinite().all() and state["S"].isfinite().all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"head_dim": 1}, "head_dim must be at least 2 and divide d_model 16, got 1"),
        ({"head_dim": 5}, "head_dim must be at least 2 and divide d_model 16, got 5"),
        ({"head_dim": 8, "num_hidden_layers": 0}, "num_hidden_layers must be at least 1, got 0"),
        ({"head_dim": 8, "gate_low_rank_dim": 0}, "gate_low_rank_dim must be at least 1, got 0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
