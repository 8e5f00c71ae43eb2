"""How RAM-Net starts, and how training comes down to K slots."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mixers
from mixers.ramnet import record_access

ALIGNED = {"address_bias": True, "aligned_values": True, "tied_addresses": False, "normalize_reads": False}
SIZES = [
    pytest.param(d, {"num_heads": h, "head_v_dim": v, "order": u, "sub_dim": p, "top_k": k, "read_top_k": r}, id=name)
    for name, d, h, v, u, p, k, r in (
        ("usual", 32, 2, 16, 4, 4, 8, 8),
        ("narrow_heads", 32, 2, 5, 3, 4, 8, 3),
        ("wide_heads", 16, 3, 24, 4, 3, 4, 9),
        ("one_softmax", 24, 1, 24, 1, 64, 1, 2),
        ("bits", 32, 4, 8, 6, 2, 2, 2),
        ("many_slots", 32, 2, 16, 5, 5, 1, 1),
        ("two_slots", 8, 1, 8, 1, 2, 1, 1),
    )
]


def make(d_model=16, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mixers.build("ramnet", d_model, **options)


def x(length=20, d_model=16, seed=1):
    return torch.randn(2, length, d_model, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha", [0.0, 1.5])
@pytest.mark.parametrize("d_model, size", SIZES)
def test_a_head_with_cape_starts_by_reading_what_the_token_before_wrote(d_model, size, alpha):
    mixer = make(d_model, cape=True, alpha_init=alpha, address_init_std=0.0, **size, **ALIGNED)
    with record_access(mixer) as traces:
        mixer(x(d_model=d_model))
    access = traces[""][0]
    assert torch.equal(access.r_idx[:, 1:, :, 0], access.w_idx[:, :-1, :, 0])
    for weights in (access.w, access.r):
        torch.testing.assert_close(weights[..., 0], torch.full_like(weights[..., 0], 0.8))


@pytest.mark.parametrize("d_model, size", SIZES)
def test_what_is_read_comes_out_in_the_basis_that_it_was_written_in(d_model, size):
    mixer = make(d_model, cape=True, address_init_std=0.0, **size, **ALIGNED)
    inputs = x(d_model=d_model)
    with torch.no_grad():
        y = mixer(inputs)
        expected = mixer.o_proj(mixer.v_proj(inputs))  # a projection of the input, 0.02 times its size
    whole = mixer.v_proj.weight.shape[0] >= d_model
    if whole:
        torch.testing.assert_close(expected, 0.02 * inputs, rtol=1e-4, atol=1e-6)
    else:
        again = mixer.o_proj(mixer.v_proj(expected)) / 0.02
        torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-6)
    if size["sub_dim"] ** size["order"] > 2:  # of two slots, the token before has lost its to the one before it
        before = torch.cosine_similarity(y[:, 1:], expected[:, :-1], dim=-1)
        assert before.mean() > 0.5


@pytest.mark.parametrize("d_model", [64, 7])
def test_a_tied_head_reads_what_was_written_after_a_token_like_it(d_model):
    """The layer above one with CAPE: its keys are on the channels where that puts the token before."""
    options = ALIGNED | {"num_heads": 3, "head_v_dim": d_model}
    below, above = (make(d_model, seed=cape, **options | {"cape": cape, "tied_addresses": True}) for cape in (3, 1))
    free = make(d_model, seed=1, **options, cape=1)
    token = x(d_model=d_model)
    with torch.no_grad():
        turned = below.o_proj(below.v_proj(token)) / 0.02
        q, k = (
            F.linear(t, p.weight).unflatten(-1, (3, -1)) for t, p in ((token, above.q_proj), (turned, above.k_proj))
        )
    torch.testing.assert_close(k[..., 1:, :], q[..., 1:, :], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(k[..., 0, :], q[..., 0, :], atol=1e-2), "heads with CAPE have addresses of their own"
    assert above.q_proj.weight.data_ptr() != above.k_proj.weight.data_ptr()
    assert not torch.equal(above.k_proj.weight[-1], free.k_proj.weight[-1]), "untied, keys are drawn"
    assert torch.equal(above.q_proj.weight, free.q_proj.weight) and torch.equal(above.v_proj.weight, free.v_proj.weight)


def test_the_start_is_drawn_from_torchs_generator_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first, same, other = (make(cape=1, seed=s, **ALIGNED).state_dict() for s in (0, 0, 1))
    assert np.array_equal(before, np.random.get_state()[1])
    assert all(torch.equal(first[name], same[name]) for name in first)
    for name in ("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"):
        assert not torch.equal(first[name], other[name])


def test_the_bias_shifts_no_head_without_cape():
    mixer = make(num_heads=3, cape=1, address_bias=True)
    for layer in (mixer.q_proj, mixer.k_proj):
        bias = layer.bias.unflatten(0, (3, -1))
        assert bias[0].max() > 1 and bias[1:].eq(0).all()
    assert make(address_bias=False).q_proj.bias is None


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_normalised_reads_have_weights_of_sum_one(backend):
    mixer = make(top_k=4, read_top_k=3, normalize_reads=True, address_norm=None, backend=backend)
    with record_access(mixer) as traces:
        mixer(x())
    access = traces[""][0]
    torch.testing.assert_close(access.r.sum(-1), torch.ones(2, 20, 2))
    assert access.w.sum(-1).max() < 0.5, "writes are as they were"


@pytest.mark.parametrize("cape", [0, 1])
def test_normed_addresses_do_not_ask_how_long_the_projection_is(cape):
    """In heads without CAPE, also token by token; that with CAPE keeps its shift."""
    mixer = make(top_k=4, cape=cape, address_norm=0.8, address_bias=True)
    for layer in (mixer.q_proj, mixer.k_proj):
        code = mixer._code(x(), layer)
        rms = code.square().mean((-2, -1)).sqrt()[..., cape:]
        torch.testing.assert_close(rms, torch.full_like(rms, 0.8), rtol=1e-3, atol=0)
        assert torch.equal(code[..., :cape, :, :], mixer._digits(layer(x()))[..., :cape, :, :])
    before = mixer(x())
    with torch.no_grad():
        for layer in (mixer.q_proj, mixer.k_proj):
            heads = layer.weight.unflatten(0, (mixer.num_heads, -1))
            heads[cape:] *= 5
    torch.testing.assert_close(mixer(x()), before, rtol=1e-4, atol=1e-6)
    mixer.eval()
    state, outputs = mixer.init_state(2), []
    with torch.no_grad():
        for x_t in x().unbind(1):
            y, state = mixer.step(x_t, state)
            outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), mixer(x()), rtol=1e-4, atol=1e-6)


def faded(progress, **options):
    mixer = make(order=3, sub_dim=4, top_k=4, train_top_k=16, anneal="fade", cape=1, address_init_std=0.3, **options)
    mixer.set_training_progress(progress)
    return mixer


@pytest.mark.parametrize("normalize_reads", [False, True])
def test_faded_training_computes_what_scoring_does(normalize_reads):
    mixer = faded(1.0, normalize_reads=normalize_reads)
    torch.testing.assert_close(mixer.train()(x()), mixer.eval()(x()), rtol=1e-5, atol=1e-7)
    mixer.set_training_progress(0.5)
    assert (mixer.train()(x()) - mixer.eval()(x())).abs().max() > 1e-5


@pytest.mark.parametrize("normalize_reads", [False, True])
def test_fading_goes_from_all_slots_to_k(normalize_reads):
    """Its first forward pass is that of K = train_top_k, and weights above K go down in proportion."""
    mixer = faded(0.0, normalize_reads=normalize_reads).train()
    whole = make(order=3, sub_dim=4, top_k=16, cape=1, address_init_std=0.3, normalize_reads=normalize_reads)
    torch.testing.assert_close(mixer(x()), whole(x()))
    weights = []
    for progress in (0.3, 0.55, 0.8):
        mixer.set_training_progress(progress)
        with record_access(mixer) as traces:
            mixer(x())
        weights.append(traces[""][0].w)
    torch.testing.assert_close(weights[1][..., 4:], weights[0][..., 4:] / 2)
    torch.testing.assert_close(weights[1][..., :4], weights[0][..., :4])
    assert weights[2][..., 4:].eq(0).all()


@pytest.mark.parametrize("normalize_reads", [False, True])
def test_slots_faded_out_have_the_gradient_of_a_weight(normalize_reads):
    """A query that a key is met by only above K is joined to it: the output is the same without these slots, and the
    gradient is not."""
    gradients = []
    for train_top_k in (16, 4):
        mixer = faded(1.0, normalize_reads=normalize_reads).train()
        mixer.train_top_k = train_top_k
        mixer.set_training_progress(1.0)
        y = mixer(x())
        y.sin().sum().backward()
        gradients.append((y.detach(), mixer.q_proj.weight.grad, mixer.k_proj.weight.grad))
    (y, *with_them), (same, *without) = gradients
    torch.testing.assert_close(y, same, rtol=1e-5, atol=1e-7)
    for a, b in zip(with_them, without, strict=True):
        assert (a - b).norm() > 0.05 * b.norm()


@pytest.mark.parametrize("normalize_reads", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.6, 1.0])
def test_engines_agree_while_slots_fade(progress, normalize_reads):
    gradients = []
    for backend in ("cpu", "reference"):
        mixer = faded(progress, normalize_reads=normalize_reads, backend=backend, address_bias=True).double().train()
        mixer(x().double()).sin().sum().backward()
        gradients.append({name: p.grad for name, p in mixer.named_parameters()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-7, atol=1e-12)


def test_weight_of_a_shift_at_any_number_of_digits():
    """0.8 of a slot, however many digits share it and however many values a digit has."""
    for order, sub_dim in ((1, 2), (30, 2), (1, 4096), (4, 4)):
        mixer = make(4, num_heads=1, cape=True, order=order, sub_dim=sub_dim, top_k=1, address_bias=True)
        softmax = mixer.k_proj.bias.detach().double().unflatten(0, (order, sub_dim)).log_softmax(-1)
        assert math.exp(softmax[:, 0].sum()) == pytest.approx(0.8, rel=1e-4)


def test_a_harness_that_draws_linear_layers_anew_leaves_the_start():
    """As Zoology's model does with its blocks."""
    mixer = make(cape=1)
    before = {name: p.clone() for name, p in mixer.state_dict().items()}
    for module in mixer.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.02)
    assert all(torch.equal(p, before[name]) for name, p in mixer.state_dict().items())
