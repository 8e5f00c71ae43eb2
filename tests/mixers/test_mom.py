import copy
import io

import pytest
import torch
import torch.nn.functional as F

import mixers
from mixers.ops.packed import Packing
from tests.mixers.fla_layers import check_against_fla, fla_layer


def make(noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("mom", 16, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=50, batch=3):
    return torch.randn(batch, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_memories=4, topk=2, shared_mem=True, single_kv_proj=False, conv_size=4, **_):
    """Every memory as a matrix per head and a list of what was sent to it; one token after another."""

    def convolved(conv, inputs):
        window = torch.stack(([torch.zeros_like(inputs[0])] * conv_size + inputs)[-conv_size:], -1)  # [C, taps]
        y = (window * conv.weight[:, 0]).sum(-1)
        return F.silu(y if conv.bias is None else y + conv.bias).view(m.num_heads, -1)

    def send(memory, x_t):
        shared = single_kv_proj or memory["index"] == num_memories
        k, v, b, a = (
            (getattr(m, f"shared_{n}") if shared else getattr(m, f"{n}_proj")[memory["index"]])(x_t) for n in "kvba"
        )
        for name, projected in (("q", m.q_proj(x_t)), ("k", k), ("v", v)):
            memory[name].append(projected)
        q, k, v = (convolved(getattr(m, f"{n}_conv1d"), memory[n]) for n in "qkv")
        q, k = (t / (t.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt() for t in (q, k))
        outputs = []
        for h in range(m.num_heads):
            S = memory["S"][h] * torch.exp(-m.A_log[h].exp() * torch.log1p(torch.exp(a[h] + m.dt_bias[h])))
            S = S + torch.sigmoid(b[h]) * torch.outer(k[h], v[h] - S.T @ k[h])
            memory["S"][h] = S
            outputs.append(S.T @ q[h] / m.head_dim**0.5)
        return torch.stack(outputs)

    y = torch.zeros_like(x)
    for i in range(len(x)):
        memories = [
            {"index": j, "q": [], "k": [], "v": [], "S": list(x.new_zeros(m.num_heads, m.head_dim, m.head_v_dim))}
            for j in range(num_memories + shared_mem)
        ]
        for t, x_t in enumerate(x[i]):
            p = m.gate(x_t).softmax(-1)
            chosen = sorted(range(num_memories), key=lambda j, p=p: -p[j].item())[:topk]
            o = sum(p[j] / p[chosen].sum() * send(memories[j], x_t) for j in chosen)
            if shared_mem:
                o = o + send(memories[-1], x_t)
            o = F.rms_norm(o, o.shape[-1:], m.o_norm.weight, 1e-5)
            if m.g_proj is not None:
                o = o * F.silu(m.g_proj(x_t)).view(o.shape)
            y[i, t] = m.o_proj(o.flatten())
    return y


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_memories": 3, "topk": 1, "shared_mem": False, "head_dim": 5, "expand_v": 1.4, "conv_size": 2},
        {"num_heads": 1, "single_kv_proj": True, "use_output_gate": False, "conv_bias": True},
        {"num_memories": 2, "topk": 2},
    ],
)
def test_equals_the_definition_token_by_token(options):
    mixer, x = make(**options), sequence(length=35, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **options), rtol=1e-9, atol=1e-11)


def test_training_changes_nothing():
    mixer, x = make(), sequence()
    assert torch.equal(mixer.train()(x), mixer.eval()(x))


def test_in_training_too_causal_and_batch_independent():
    """fla's layer is neither: its convolutions run on from one memory and one sequence into the next."""
    mixer, x, t = make().train(), sequence().requires_grad_(), 30
    (gradient,) = torch.autograd.grad(mixer(x)[1, t].square().sum(), x)
    assert gradient[1, : t + 1].abs().sum(-1).gt(0).all()
    assert gradient[1, t + 1 :].eq(0).all() and gradient[[0, 2]].eq(0).all()


def test_a_token_touches_its_memories_and_no_other():
    mixer, x = make(num_memories=5), sequence(length=20)
    with torch.no_grad():
        state = mixer.prefill(x[:, :19])[1]
        chosen = mixer.gate(x[:, 19]).topk(2).indices
        for after in (
            mixer.prefill(x[:, 19:], state)[1],
            mixer.step(x[:, 19], {key: s.clone() for key, s in state.items()})[1],
        ):
            for b in range(3):
                touched = {*chosen[b].tolist(), 5}  # the shared one comes last
                for m in range(6):
                    for key in state:
                        assert torch.equal(after[key][b, m], state[key][b, m]) == (m not in touched), (b, m, key)


def test_without_gradients_step_works_in_place():
    mixer, x = make(), sequence(length=1)
    state = mixer.init_state(3)
    with torch.no_grad():
        after = mixer.step(x[:, 0], state)[1]
    assert all(after[key] is state[key] for key in state)


def test_one_memory_for_all_tokens_is_a_gated_delta_net():
    """With one memory and no shared one there is nothing to route."""
    mixer, x = make(num_memories=1, topk=1, shared_mem=False), sequence()
    weights = {name.replace("_proj.0.", "_proj."): w for name, w in mixer.state_dict().items() if name != "gate.weight"}
    delta = mixers.build("gated_delta_net", 16, num_heads=2, expand_v=1.0).double()
    delta.load_state_dict(weights)
    torch.testing.assert_close(mixer(x), delta(x), rtol=1e-9, atol=1e-11)


def test_with_all_memories_chosen_the_router_only_weighs():
    """Then every memory sees every token, so that alike memories with any weights are one."""
    mixer, x = make(num_memories=3, topk=3, single_kv_proj=True, shared_mem=False), sequence()
    one = make(num_memories=1, topk=1, single_kv_proj=True, shared_mem=False)
    one.load_state_dict({**mixer.state_dict(), "gate.weight": mixer.gate.weight[:1]})
    torch.testing.assert_close(mixer(x), one(x), rtol=1e-9, atol=1e-11)


def test_equal_probabilities_go_to_the_lower_memory():
    mixer = make()
    mixer.gate.weight.data.zero_()
    choice, weight, _ = mixer._route(sequence())
    assert choice.eq(torch.tensor([0, 1])).all() and weight.eq(0.5).all()


@pytest.mark.parametrize("topk", [1, 2, 4])
def test_auxiliary_loss_at_balance_and_at_collapse(topk):
    """Times the scale: k where the mean probabilities are equal, M where one memory takes all with certainty."""
    mixer, tokens = make(num_memories=4, topk=topk), torch.eye(16, dtype=torch.float64)
    assert mixer.get_auxiliary_loss() == 0, "no forward yet"
    mixer.gate.weight.data = torch.eye(4, 16, dtype=torch.float64)
    mixer(tokens[:4].expand(2, -1, -1))
    assert mixer.get_auxiliary_loss().item() == pytest.approx(0.01 * topk)
    mixer.gate.weight.data *= 1e3
    mixer(tokens[:1].expand(2, 8, -1))
    assert mixer.get_auxiliary_loss().item() == pytest.approx(0.01 * 4)


def test_auxiliary_loss_written_out():
    mixer, x = make(num_memories=5, topk=3, aux_loss_scale=0.7), sequence()
    mixer(x)
    p = mixer.gate(x).softmax(-1).flatten(0, 1)
    f = F.one_hot(p.topk(3).indices, 5).double().mean(0).sum(0)
    expected = 0.7 * 5 * (f * p.mean(0)).sum()
    torch.testing.assert_close(mixer.get_auxiliary_loss(), expected)
    (got,) = torch.autograd.grad(mixer.get_auxiliary_loss(), mixer.gate.weight)
    torch.testing.assert_close(got, torch.autograd.grad(expected, mixer.gate.weight)[0])
    assert not make(aux_loss_scale=0.0)(x).isnan().any() and make(aux_loss_scale=0.0).get_auxiliary_loss() == 0


def test_the_loss_of_a_forward_can_be_copied_and_saved_with_the_mixer():
    mixer, x = make(), sequence()
    mixer(x)
    assert mixer.get_auxiliary_loss().requires_grad
    assert copy.deepcopy(mixer).get_auxiliary_loss() == 0
    torch.save(mixer, io.BytesIO())
    with torch.no_grad():
        mixer(x)
    assert not mixer.get_auxiliary_loss().requires_grad, "the graph of the forward before is let go"


def test_packing_there_and_back_with_gradients():
    generator = torch.Generator().manual_seed(0)
    choice = torch.rand(2, 9, 4, generator=generator).topk(2).indices
    choice[1] = torch.tensor([3, 0])  # of one sequence, two destinations get all and two nothing
    packing = Packing(choice, 4)
    x = torch.randn(2, 9, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    packed = packing.pack(x)
    for b in range(2):
        for m in range(4):
            expected = [x[b, t] for t in range(9) if m in choice[b, t]]
            assert packing.counts[b, m] == len(expected) == packing.filled[m, b].sum()
            assert all(torch.equal(a, e) for a, e in zip(packed[m, b], expected, strict=False))
    assert torch.equal(packing.unpack(packed), x.unsqueeze(2).expand(-1, -1, 2, -1))
    assert torch.autograd.gradcheck(lambda x: packing.unpack(packing.pack(x).sin()), x)
    packed = packed.detach().requires_grad_()
    assert torch.autograd.gradcheck(packing.unpack, packed)


def test_marks_and_initialisation():
    mixer = mixers.build("mom", 64, num_heads=4)
    marked = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marked == {"A_log", "dt_bias"}
    assert mixer.A_log.exp().min() >= 0 and mixer.A_log.exp().max() <= 16
    assert F.softplus(mixer.dt_bias).min() >= 0.00099 and F.softplus(mixer.dt_bias).max() <= 0.101
    limit = 2**-2.5 * (6 / 128) ** 0.5
    assert 0.95 * limit < mixer.k_proj[3].weight.max() <= limit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_heads": 4, "head_dim": 8, "expand_v": 2.0, "num_memories": 8, "shared_mem": False},
        {"single_kv_proj": True, "use_output_gate": False, "conv_size": 3, "conv_bias": True},
    ],
)
def test_weights_of_fla(options):
    """In evaluation only: in training fla's layer mixes sequences and sees later tokens.

    Even then it may put tokens out of order, by a sort that need not be stable.
    """
    ours = mixers.build("mom", 64, **options).eval()
    defaults = {"num_heads": 2, "head_dim": 32, "expand_v": 1.0, "num_memories": 4, "shared_mem": True}
    theirs = fla_layer("MomAttention", hidden_size=64, layer_idx=0, **{**defaults, **options}).eval()
    check_against_fla(ours, theirs)
    for name in ("A_log", "dt_bias", "gate.weight", "o_proj.weight"):
        assert torch.equal(ours.get_parameter(name).cpu(), theirs.get_parameter(name).cpu())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "d_model 16 must be a multiple of num_heads 3"),
        ({"num_heads": 0}, "must be a multiple of num_heads 0"),
        ({"head_dim": 0}, "head_dim must be at least 1, got 0"),
        ({"expand_v": 0.7}, "expand_v times head_dim must be a whole number, got 0.7 times 8"),
        ({"expand_v": 0.0}, "must be a whole number"),
        ({"topk": 5}, "topk must be between 1 and num_memories 4, got 5"),
        ({"topk": 0}, "topk must be between 1"),
        ({"conv_size": 0}, "conv_size must be at least 1, got 0"),
        ({"norm_eps": 0.0}, "norm_eps must be positive"),
        ({"aux_loss_scale": -1.0}, "aux_loss_scale must be at least 0"),
        ({"capacity": 1.0}, "has no option 'capacity'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
