import pytest
import torch
import torch.nn.functional as F

import mixers
from mqar_bench.contract.causality import batch_independent, causal
from mqar_bench.contract.randomness import draws_nothing, repeats
from mqar_bench.contract.subject import prepare
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("raven", 16, **options).double()
        for p in mixer.parameters():  # gates and norms that differ from each other
            p.data.add_(0.3 * torch.randn_like(p))
    return mixer


def sequence(length=40):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads=2, topk=1, phi=F.silu, scale=1.0):
    """The equations, slots [M, d] per sequence and head, of which only those that are picked are touched."""
    q, k, v, r = (t.unflatten(-1, (num_heads, -1)) for t in (m.q_proj(x), m.k_proj(x), m.v_proj(x), m.r_proj(x)))
    q = F.rms_norm(phi(q), q.shape[-1:], m.q_norm.weight, 1e-5)
    k = F.rms_norm(phi(k), k.shape[-1:], m.k_norm.weight, 1e-5)
    scores = r.sigmoid() if m.router_score == "sigmoid" else r.softmax(-1)
    if m.decay_type == "GLA":
        w = F.logsigmoid(m.f_proj(x)).unflatten(-1, (num_heads, -1)) / 8.0
    else:
        w = (-m.A_log.exp() * F.softplus(m.a_proj(x) + m.dt_bias)).unsqueeze(-1).expand(r.shape)
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(num_heads):
            keys = torch.zeros(r.shape[-1], k.shape[-1], dtype=x.dtype)
            values = torch.zeros(r.shape[-1], v.shape[-1], dtype=x.dtype)
            for t in range(x.shape[1]):
                best = scores[b, t, h].topk(topk).indices.tolist()
                total = scores[b, t, h, best].sum() + 1e-9 if m.router_score == "sigmoid" else 1.0
                for slot in best:
                    alpha = (w[b, t, h, slot] * scores[b, t, h, slot] / total).exp()
                    keys[slot] = alpha * keys[slot] + (1 - alpha) * k[b, t, h]
                    values[slot] = alpha * values[slot] + (1 - alpha) * F.silu(v[b, t, h])
                o[b, t, h] = torch.softmax(scale * keys @ q[b, t, h], 0) @ values
    if m.o_gate_proj is None:
        return m.o_proj(F.rms_norm(F.silu(o.flatten(-2)), (o.shape[-1] * num_heads,), m.g_norm.weight, 1e-5))
    gate = F.silu(m.o_gate_proj(x)).view(o.shape)
    return m.o_proj((F.rms_norm(F.silu(o), o.shape[-1:], m.o_norm.weight, 1e-5) * gate).flatten(-2))


@pytest.mark.parametrize(
    "options, given",
    [
        ({}, {}),
        ({"num_slots": 10, "topk": 3, "scale": 0.3}, {"topk": 3, "scale": 0.3}),
        ({"decay_type": "GLA", "num_slots": 5, "topk": 2, "use_output_gate": True}, {"topk": 2}),
        ({"router_score": "softmax", "router_type": "mlp", "topk": 4, "expand_k": 0.5, "expand_v": 1.5}, {"topk": 4}),
        ({"num_heads": 4, "feature_map": "relu", "topk": 4}, {"num_heads": 4, "topk": 4, "phi": F.relu}),
    ],
    ids=["defaults", "slots", "GLA", "softmax", "heads"],
)
def test_equals_the_definition_token_by_token(options, given):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **given), rtol=1e-8, atol=1e-9)


def test_a_token_writes_the_slots_that_are_picked_and_no_other():
    mixer, x = make(num_slots=9, topk=2), sequence()
    with torch.no_grad():
        state = mixer.prefill(x[:, :39])[1]
        picked = mixer.r_proj(x[:, 39]).unflatten(-1, (2, 9)).topk(2).indices
        for after in (mixer.prefill(x[:, 39:], state)[1], mixer.step(x[:, 39], state)[1]):
            for key in ("K", "S"):
                same = state[key].eq(after[key]).all(-1)  # [B, H, M]
                assert same.sum(-1).eq(7).all() and not same.gather(-1, picked).any()


def test_all_of_the_state_is_active():
    """A token writes two slots, and reads every one."""
    mixer, x = make(num_slots=9, topk=2), sequence(6)
    assert mixer.state_size(6) == mixer.active_state_size(6) == 2 * 9 * (8 + 8)
    with torch.no_grad():
        state = mixer.prefill(x[:, :5])[1]
        expected = mixer.step(x[:, 5], state)[0]
        for slot in range(9):
            other = {key: s.clone() for key, s in state.items()}
            other["S"][:, :, slot] += 1
            assert not torch.equal(mixer.step(x[:, 5], other)[0], expected), slot


def test_equal_scores_go_to_the_lower_slots():
    mixer = make(num_slots=9, topk=2)
    mixer.r_proj.weight.data.zero_()
    route = mixer._route(sequence())
    assert route[..., :2].sub(0.5).abs().max() < 1e-8 and route[..., 2:].eq(0).all()


def test_routing_has_a_gradient():
    mixer = make(num_slots=9, topk=2)
    mixer(sequence()).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in mixer.parameters())


def test_noise_is_drawn_in_training_alone_from_torchs_generator():
    mixer, x = make(num_slots=9, topk=2, add_gumbel_noise=True), sequence()
    plain = make(num_slots=9, topk=2)
    with torch.no_grad(), torch.random.fork_rng():
        assert torch.equal(mixer.eval()(x), plain(x)) and torch.equal(plain.train()(x), plain.eval()(x))
        drawn = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            drawn.append(mixer.train()(x))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_noise_is_gumbels():
    """Of two slots with logits a and b the first then wins with probability sigmoid(a - b)."""
    mixer = mixers.build("raven", 16, num_heads=1, num_slots=2, topk=1, add_gumbel_noise=True)
    mixer.r_proj.weight.data.zero_()[0, 0] = 1.0
    x = torch.zeros(1, 4000, 16)
    x[..., 0] = 1.5
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        first = mixer.train()._route(x)[..., 0].gt(0).float().mean().item()
    assert first == pytest.approx(torch.tensor(1.5).sigmoid().item(), abs=0.03)


@pytest.mark.parametrize("keeps", [draws_nothing, repeats, causal, batch_independent], ids=lambda f: f.__name__)
def test_with_noise_it_keeps_the_contract_too(keeps):
    keeps(prepare("raven", 16, {"add_gumbel_noise": True}))


def test_marks_and_initialisation():
    mixer = mixers.build("raven", 64, num_heads=4)
    marked = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marked == {"A_log", "dt_bias"}
    assert mixer.A_log.exp().min() >= 0 and mixer.A_log.exp().max() <= 16.01
    assert F.softplus(mixer.dt_bias).min() >= 0.00099 and F.softplus(mixer.dt_bias).max() <= 0.101


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_slots": 16, "topk": 16, "decay_type": "GLA", "use_output_gate": True},
        {"router_score": "softmax", "router_type": "mlp", "expand_v": 2.0},
    ],
    ids=["defaults", "GLA", "mlp"],
)
def test_weights_of_fla(options):
    ours = mixers.build("raven", 64, **options).eval()
    theirs = fla_layer("Raven", hidden_size=64, num_heads=2, layer_idx=0, **{"topk": 4, **options}).eval()
    check_against_fla(ours, theirs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "expand_k times d_model must be a positive multiple of num_heads 3, got 16"),
        ({"num_slots": 0}, "num_slots must be at least 1, got 0"),
        ({"topk": 9}, "topk must be between 1 and num_slots 8, got 9"),
        ({"topk": 0}, "topk must be between 1"),
        ({"decay_type": "mamba2"}, "option 'decay_type'"),
        ({"gate_logit_normalizer": -1.0}, "gate_logit_normalizer must be above 0"),
        ({"scale": 1e7}, "scale must be between 0 and"),
        ({"use_rope": True}, "has no option 'use_rope'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
