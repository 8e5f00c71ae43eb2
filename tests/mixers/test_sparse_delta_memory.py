import math

import pytest
import torch

import mixers


def make(width=16, noise=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("sparse_delta_memory", width, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=40, width=16):
    return torch.randn(2, length, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def token_by_token(m, x, num_heads=2, slots_per_head=256, num_writes=8, num_reads=8, **o):
    """The authors' layer in the order of their own code, from the names of its parameters: the product keys, then for
    every token, head after head, the slots that it touches."""
    p, H, N = dict(m.named_parameters()), num_heads, slots_per_head
    D, size = len(p["Wv_write.weight"]) // H, math.isqrt(N)

    def linear(name, x_t):
        return p[f"{name}.weight"] @ x_t + p[f"{name}.bias"]

    def keys(scores, count, act, scale):
        high, low = scores[:size], scores[size:]
        ranked = sorted(range(N), key=lambda n: -float(high[n // size] + low[n % size]))[:count]
        values = torch.stack([high[n // size] + low[n % size] for n in ranked])
        values = torch.softmax(scale * values, 0) if act == "Softmax" else values / values.norm()
        return list(zip(ranked, values, strict=True))

    outputs = torch.zeros_like(x)
    for b in range(len(x)):
        memory = torch.zeros(H * N, D, dtype=x.dtype) if "memory" not in p else p["memory"].detach().clone()
        for t, x_t in enumerate(x[b]):
            beta, v = torch.sigmoid(linear("b_proj", x_t)), linear("Wv_write", x_t)
            g = -p["A_log"].exp() * torch.log1p(torch.exp(linear("a_proj", x_t) + p["dt_bias"]))
            raw_k, raw_q = linear("Wk_write", x_t).chunk(H), linear("Wq_read", x_t).chunk(H)
            readings = torch.zeros(H, D, dtype=x.dtype)
            for h in range(H):
                written = keys(raw_k[h], num_writes, o.get("write_act", "Softmax"), o.get("write_act_scale", 1.0))
                held = torch.zeros(D, dtype=x.dtype)
                for slot, weight in written:
                    row = h * N + slot
                    memory[row] *= torch.exp(g[h] * weight if o.get("key_weighted_decay") else g[h])
                    held += weight * memory[row]
                for slot, weight in written:
                    memory[h * N + slot] += beta[h] * weight * (v[h * D : (h + 1) * D] - held)
                for slot, weight in keys(
                    raw_q[h], num_reads, o.get("read_act", "Softmax"), o.get("read_act_scale", 1.0)
                ):
                    readings[h] += weight * memory[h * N + slot]
            if o.get("normalize_readings", True):
                readings -= readings.mean(1, keepdim=True)
                readings /= (readings.square().mean(1, keepdim=True) + 1e-6).sqrt()
                readings = readings * p["readings_norm.weight"] + p["readings_norm.bias"]
            y = readings.flatten()
            if o.get("output_gate", True):
                y = torch.sigmoid(linear("Wog", x_t)) * y
            outputs[b, t] = linear("Wo", y)
    return outputs


OPTIONS = [
    {},
    {"slots_per_head": 9, "num_writes": 9, "num_reads": 2, "backprop_on_memory": False, "output_gate": False},
    {"num_heads": 3, "slots_per_head": 16, "num_writes": 3, "head_v_dim": 5, "write_act_scale": 3.0},
    {"slots_per_head": 25, "num_writes": 4, "normalize_readings": False, "key_weighted_decay": True},
    {"slots_per_head": 16, "num_writes": 3, "num_reads": 5, "read_act": "l2_normalize", "write_act": "l2_normalize"},
    {"num_heads": 1, "slots_per_head": 16, "num_writes": 1, "num_reads": 1, "read_act_scale": 0.5},
]
by_options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))


@by_options
@pytest.mark.parametrize("backend", ["auto", "reference", "dense"])
def test_equals_the_recurrence_token_by_token(backend, options):
    mixer, x = make(backend=backend, **options), sequence(20)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), token_by_token(mixer, x, **options), rtol=1e-9, atol=1e-11)


@by_options
def test_engines_give_the_same_gradients(options):
    found = []
    for backend in ("reference", "cpu", "dense"):
        mixer, x = make(backend=backend, **options), sequence().requires_grad_()
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
        (mixer(x) * weights).sum().backward()
        found.append({"x": x.grad} | {name: p.grad for name, p in mixer.named_parameters()})
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("backend", ["reference", "dense", "cpu", "auto"])
def test_decoding_equals_forward_and_keeps_the_learnt_start(backend):
    mixer, x = make(backend=backend, slots_per_head=16, num_writes=3), sequence(12)
    learnt = mixer.memory.detach().clone()
    with torch.no_grad():
        expected, state = mixer(x), mixer.init_state(2)
        for t in range(12):
            y, state = mixer.step(x[:, t], state)
            torch.testing.assert_close(y, expected[:, t])
    assert torch.equal(mixer.memory, learnt), "decoding writes into a state of its own"


def test_the_learnt_start_is_trained_through_the_first_state_too():
    mixer, x = make(slots_per_head=16), sequence(3)
    mixer.step(x[:, 0], mixer.init_state(2))[0].square().sum().backward()
    assert mixer.memory.grad.abs().sum() > 0


def test_without_decay_and_with_every_slot_written_it_is_the_delta_rule():
    from mixers.ops.delta_rule import gated_delta_rule
    from mixers.sparse_delta_memory import sparse_delta

    g = torch.Generator().manual_seed(0)
    k, q = (torch.randn(2, 30, 3, 9, dtype=torch.float64, generator=g).softmax(-1) for _ in range(2))
    v, beta = torch.randn(2, 30, 3, 4, dtype=torch.float64, generator=g), torch.rand(2, 30, 3, generator=g).double()
    every = torch.arange(9).expand(k.shape).contiguous()
    o, S = sparse_delta(k, every, q, every, v, beta, torch.zeros_like(beta), 9, output_final_state=True)
    expected, final = gated_delta_rule(q, k, v, beta, output_final_state=True, engine="reference")
    torch.testing.assert_close(o, expected)
    torch.testing.assert_close(S, final)


@pytest.mark.parametrize("options, total, active", [
    ({"slots_per_head": 64, "head_v_dim": 16, "num_writes": 16, "num_reads": 16}, 2048, 1024),
    ({"slots_per_head": 256, "num_writes": 8, "num_reads": 8}, 16384, 1024),
    ({"slots_per_head": 9, "num_writes": 8, "num_reads": 5, "num_heads": 4}, 576, 576),
])  # fmt: skip
def test_state_is_counted_in_all_and_as_a_token_touches_it(options, total, active):
    mixer = mixers.build("sparse_delta_memory", 64, **options)
    assert (mixer.state_size(7), mixer.active_state_size(7)) == (total, active)


def test_starts_as_the_authors_layer_does():
    mixer = make(64, noise=0.0, num_heads=64, slots_per_head=16)
    assert mixer.memory.shape == (64 * 16, 1) and mixer.Wq_read.weight.shape == (64 * 8, 64)
    for name in ("Wq_read", "Wk_write", "Wv_write", "a_proj", "b_proj", "Wo", "Wog"):
        layer = getattr(mixer, name)
        assert not layer.bias.any() and layer.weight.abs().max() <= 3 / 8
        assert layer.weight.detach().std() == pytest.approx(1 / 8, rel=0.05)
    assert mixer.memory.detach().std() == pytest.approx(1 / 8, rel=0.1)
    assert mixer.A_log.exp().min() < 2 and 14 < mixer.A_log.exp().max() <= 16
    step = torch.nn.functional.softplus(mixer.dt_bias)
    assert 0.00099 < step.min() < 0.002 and 0.05 < step.max() < 0.101
    unregularised = {name for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert unregularised == {"A_log", "dt_bias"}


def test_weights_of_the_authors_layer():
    """Names and shapes of theirs with dim 32, num_heads 2, slots_per_head 16, output_gate and normalize_readings."""
    square = {f"{name}.weight": (32, 32) for name in ("Wv_write", "Wo", "Wog")}
    theirs = square | {f"{name}.bias": (32,) for name in ("Wv_write", "Wo", "Wog")}
    theirs |= {f"{name}.weight": (16, 32) for name in ("Wq_read", "Wk_write")}
    theirs |= {f"{name}.bias": (16,) for name in ("Wq_read", "Wk_write")}
    theirs |= {f"{name}.weight": (2, 32) for name in ("a_proj", "b_proj")} | {"a_proj.bias": (2,), "b_proj.bias": (2,)}
    theirs |= {"A_log": (2,), "dt_bias": (2,), "memory": (32, 16)}
    theirs |= {"readings_norm.weight": (16,), "readings_norm.bias": (16,)}
    mixer = mixers.build("sparse_delta_memory", 32, num_heads=2, slots_per_head=16)
    mixer.load_state_dict({name: torch.zeros(shape) for name, shape in theirs.items()}, strict=True)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"slots_per_head": 250}, "slots_per_head must be a square, as 225 or 256, got 250"),
        ({"slots_per_head": 4, "num_writes": 5, "num_reads": 4}, "num_writes must be at most 4, got 5"),
        ({"slots_per_head": 4, "num_writes": 4, "num_reads": 5}, "num_reads must be at most 4, got 5"),
        ({"head_v_dim": 0}, "head_v_dim must be at least 1, got 0"),
        ({"read_act": "ReLU"}, "option 'read_act': Input should be 'Softmax' or 'l2_normalize'"),
        ({"write_act_scale": 1e9}, "write_act_scale must be between -1e\\+06 and 1e\\+06"),
        (
            {"key_weighted_decay": True, "write_act": "l2_normalize"},
            "key_weighted_decay needs write_act Softmax, got l2_normalize: slots with weights below 0 would grow",
        ),
        ({"backend": "triton"}, "option 'backend': Input should be 'auto', 'reference', 'dense' or 'cpu'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
