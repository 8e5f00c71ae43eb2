import pytest
import torch
import torch.nn.functional as F

import mixers
from mixers.ops.inner_model import learn_and_answer

BOTH = pytest.mark.parametrize("name", ["ttt_linear", "ttt_mlp"])
OPTIONS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_heads": 1, "mini_batch_size": 4, "ttt_base_lr": 3.0, "use_gate": True, "rotary_base": 50.0},
        {"num_heads": 4, "mini_batch_size": 1},
        {"mini_batch_size": 7, "share_qk": True, "conv_kernel": 3},
    ],
)


def make(name, noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build(name, 16, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length, batch=2, seed=1):
    return torch.randn(batch, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def token_by_token(m, x, mini_batch_size=16, share_qk=False, use_gate=False, ttt_base_lr=1.0, rotary_base=1e4, **_):
    """A model per sequence and head, its gradients by autograd, and weights of its own for every token."""
    D, layers = m.head_dim, len(m.inner_names) // 2

    def inner(h, weights):
        for layer in range(layers):
            h = F.gelu(h, approximate="tanh") if layer else h
            h = h @ weights[2 * layer] + weights[2 * layer + 1]
        return h

    def norm(z, head):
        return F.layer_norm(z, (D,), m.ttt_norm_weight[head], m.ttt_norm_bias[head], eps=1e-6)

    def convolved(conv, inputs):
        taps = conv.weight[:, 0]
        window = ([torch.zeros_like(inputs[0])] * taps.shape[1] + inputs)[-taps.shape[1] :]
        return (torch.stack(window, -1) * taps).sum(-1) + conv.bias

    def turned(u, place):
        frequency = rotary_base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        pairs = torch.view_as_complex(u.view(D // 2, 2)) * torch.polar(torch.ones(D // 2).double(), place * frequency)
        return torch.view_as_real(pairs).flatten()

    rows = []
    for row in x:
        start = [[m.get_parameter(name)[head] for name in m.inner_names] for head in range(m.num_heads)]
        sums, inputs, outputs = [[0.0] * len(m.inner_names) for _ in start], [], []
        for t, x_t in enumerate(row):
            place = t % mini_batch_size
            inputs.append(m.q_proj(x_t))
            q = convolved(m.conv_q, inputs) if share_qk else inputs[-1]
            k = convolved(m.conv_k, inputs) if share_qk else m.k_proj(x_t)
            v, z = m.v_proj(x_t), []
            share = (1 / (place + 1) + m.learnable_token_idx[place]).clamp(min=0)
            for head in range(m.num_heads):
                q_h, k_h, v_h = (u.view(-1, D)[head] for u in (q, k, v))
                q_h, k_h = turned(q_h, place), turned(k_h, place)
                loss = (norm(inner(k_h, start[head]), head) + k_h - v_h).square().sum() / 2
                gradients = torch.autograd.grad(loss, start[head], create_graph=True)
                gate = (x_t @ m.learnable_ttt_lr_weight[head] + m.learnable_ttt_lr_bias[head]).sigmoid()
                sums[head] = [s + ttt_base_lr / D * gate * g for s, g in zip(sums[head], gradients, strict=True)]
                now = [w - share * s for w, s in zip(start[head], sums[head], strict=True)]
                z.append(q_h + norm(inner(q_h, now), head).flatten())
                if place == mini_batch_size - 1:
                    start[head], sums[head] = now, [0.0] * len(now)
            y = m.post_norm(torch.cat(z))
            outputs.append(m.o_proj(F.gelu(m.g_proj(x_t), approximate="tanh") * y if use_gate else y))
        rows.append(torch.stack(outputs))
    return torch.stack(rows)


@BOTH
@OPTIONS
def test_equals_the_definition_token_by_token(name, options):
    """With the gradients of training, which go through those of the inner model."""
    mixer, x = make(name, **options), sequence(19, 1)
    given = dict(mixer.named_parameters())
    results = []
    for y in (mixer(x), token_by_token(mixer, x, **options)):
        gradients = torch.autograd.grad(y.sin().sum(), list(given.values()), materialize_grads=True)
        results.append([y, *gradients])
    for what, got, expected in zip(["output", *given], *results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10, msg=lambda m, what=what: f"{what}: {m}")


@BOTH
def test_without_a_share_nothing_is_learnt(name):
    mixer, x = make(name, mini_batch_size=4), sequence(9)
    mixer.learnable_token_idx.data.fill_(-2.0)
    with torch.no_grad():
        state = mixer.prefill(x)[1]
        assert all(torch.equal(state[each][1], mixer.get_parameter(each)) for each in mixer.inner_names)
        assert state["W1_grad"].abs().sum() > 0 and state["place"].tolist() == [1, 1]


def test_it_learns_what_it_is_told():
    """The same pair, again and again: its loss goes down from mini-batch to mini-batch."""
    k, v = (sequence(1, 1, seed)[:, None].expand(-1, -1, 5, -1) for seed in (2, 3))
    model = [0.3 * sequence(16, 1, 4)[:, None], torch.zeros(1, 1, 1, 16).double()]
    rate, share = torch.full((1, 1, 5), 0.01).double(), torch.ones(5, 1).double()
    one, zero = torch.ones(1, 1, 16).double(), torch.zeros(1, 1, 16).double()
    losses = []
    for _ in range(8):
        told = k + F.layer_norm(k @ model[0] + model[1], (16,), eps=1e-6)
        losses.append(float((told - v)[0, 0, 0].square().sum()))
        answers, pending = learn_and_answer(k, k, v, rate, share, model, [], one, zero)
        model = [w - g for w, g in zip(model, pending, strict=True)]
        after = k + F.layer_norm(k @ model[0] + model[1], (16,), eps=1e-6)
        torch.testing.assert_close(answers[:, :, -1:], after[:, :, -1:])
    assert all(after < before for before, after in zip(losses, losses[1:], strict=False))
    assert losses[-1] < losses[0] / 2


@BOTH
def test_the_inner_model_is_float32_under_autocast(name):
    mixer, x = make(name).float(), sequence(20).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y, state = mixer.prefill(x)
    assert state["W1"].dtype == state["b1_grad"].dtype == torch.float32
    assert (y - mixer(x)).norm() < 0.05 * mixer(x).norm()


@BOTH
def test_takes_the_weights_of_zoologys_wrapper(name):
    mixer, other = make(name, use_gate=True), make(name, use_gate=True, noise=1.0)
    nested = torch.nn.ModuleDict({"mixer": other})
    nested.load_state_dict({f"mixer.ttt_layer.{key}": value for key, value in mixer.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(mixer.parameters(), other.parameters(), strict=True))


@BOTH
@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "d_model 16 must be a multiple of num_heads 3"),
        ({"num_heads": 8}, "d_model 16 over num_heads 8 must be at least 4, got 2"),
        ({"mini_batch_size": 0}, "mini_batch_size must be at least 1, got 0"),
        ({"ttt_base_lr": -1.0}, "ttt_base_lr must be between 0 and 1000, got -1.0"),
        ({"conv_kernel": 0}, "conv_kernel must be at least 1, got 0"),
        ({"rotary_base": 0.0}, "rotary_base must be positive, got 0.0"),
        ({"ttt_layer_type": "mlp"}, "has no option 'ttt_layer_type'"),
    ],
)
def test_options_that_cannot_be(name, options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(name, **options)


def test_heads_of_an_odd_width_cannot_be():
    with pytest.raises(mixers.MixerError, match="even head width, got 5"):
        mixers.build("ttt_linear", 10)
