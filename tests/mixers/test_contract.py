"""What every registered mixer promises; a new mixer is covered by being registered."""

import subprocess
import sys

import pytest
import torch

import mixers
from mixers import SequenceMixer, state_elements
from mixers.base import RecurrentMixer, TensorKind
from mixers.ops import delta_rule, recurrence, scan
from mixers.ramnet import ops as ramnet_ops
from mixers.sparse_delta_memory import ops as sparse_delta_ops
from mqar_bench.contract.subject import Subject

D_MODEL = 16

#: Option sets worth a test of their own, beside each mixer's defaults.
VARIANTS = {
    "attention": [{}, {"num_heads": 4, "bias": False}, {"num_heads": 2, "rotary": True}],
    "linear_attention": [
        {},
        {"normalize": True, "output_norm": "identity"},
        {"feature_map": "relu", "expand_k": 0.5},
    ],
    "gla": [
        {},
        {"use_short_conv": True, "use_output_gate": False, "expand_k": 0.75, "expand_v": 1.25},
        {"use_short_conv": True, "conv_size": 1, "gate_logit_normalizer": 0.5, "gate_low_rank_dim": 3, "num_heads": 1},
        {"gate_logit_normalizer": 0.005},
    ],
    "delta_net": [
        {},
        {"use_short_conv": False, "use_gate": True, "expand_k": 0.75, "expand_v": 1.25},
        {"use_beta": False, "allow_neg_eigval": True, "qk_activation": "elu", "qk_norm": "sum", "conv_size": 3},
    ],
    "gated_delta_net": [
        {},
        {"use_short_conv": False, "use_gate": False, "expand_v": 1.0, "head_dim": 5},
        {"num_heads": 1, "num_v_heads": 3, "head_dim": 6, "expand_v": 0.5, "allow_neg_eigval": True, "conv_size": 2},
    ],
    "hgrn2": [
        {"expand_ratio": 8},
        {"expand_ratio": 6, "use_short_conv": True, "lower_bound": 0.3},
        {"expand_ratio": 16, "use_short_conv": True, "conv_size": 2},
    ],
    "h3": [{}, {"d_state": 2}, {"d_state": 10, "head_dim": 4, "dt_min": 0.1, "dt_max": 1.0}],
    "mamba2": [
        {"head_dim": 8, "state_size": 12},
        {"head_dim": 4, "state_size": 6, "n_groups": 2, "expand": 1, "conv_kernel": 1, "use_conv_bias": False},
        {"head_dim": 8, "state_size": 5, "n_groups": 4, "conv_kernel": 2, "dt_max": 2.0, "A_min": 0.2, "A_max": 1.5},
    ],
    "mom": [
        {},
        {"num_heads": 1, "head_dim": 6, "expand_v": 1.5, "num_memories": 3, "topk": 1, "shared_mem": False},
        {"num_memories": 5, "topk": 3, "single_kv_proj": True, "use_output_gate": False, "conv_size": 2},
        {"num_memories": 2, "topk": 2, "shared_mem": False, "conv_size": 1, "conv_bias": True, "aux_loss_scale": 0.0},
    ],
    "armt": [
        {},
        {"segment_size": 7, "num_mem_tokens": 3, "d_mem": 24, "num_heads": 4, "nu": 2},
        {"segment_size": 1, "num_mem_tokens": 2, "d_mem": 4, "nu": 1, "correction": False},
        {"segment_size": 20, "num_mem_tokens": 6, "d_mem": 3, "num_heads": 2, "normalize": False},
    ],
    "rwkv7": [
        {"head_dim": 8},
        {"head_dim": 4, "num_hidden_layers": 1, "decay_low_rank_dim": 3, "a_low_rank_dim": 5, "gate_low_rank_dim": 40},
    ],
    "sliding_window_attention": [
        {},
        {"window": 2, "num_heads": 4},
        {"window": 7, "num_heads": 2, "rotary": True, "bias": False},
        {"window": 200, "rotary": True},
    ],
    "short_conv": [{}, {"kernel_size": 1}, {"kernel_size": 5, "use_act": True}],
    "ramnet": [
        {"sub_dim": 3, "order": 3, "top_k": 4},
        {
            "sub_dim": 2,
            "order": 5,
            "top_k": 3,
            "read_top_k": 5,
            "cape": True,
            "gamma": 0.5,
            "output_norm": "identity",
        },
        {"sub_dim": 7, "order": 1, "top_k": 7, "cape": 1, "gamma": 0.0, "head_v_dim": 5},
        {
            "sub_dim": 2,
            "order": 4,
            "top_k": 3,
            "read_top_k": 2,
            "cape": 1,
            "output_norm": "identity",
            "normalize_reads": True,
            "address_bias": True,
            "aligned_values": True,
            "tied_addresses": True,
            "address_norm": 1.5,
        },
    ],
    "kda": [
        {},
        {"use_short_conv": False, "expand_v": 0.5, "head_dim": 6, "num_heads": 3, "lower_bound": -5.0},
        {"num_heads": 1, "num_v_heads": 3, "head_dim": 5, "expand_v": 2.0, "allow_neg_eigval": True, "conv_size": 2},
    ],
    "long_conv": [{}, {"l_max": 4, "use_act": True}, {"l_max": 40, "implicit_long_conv": False}],
    "hyena": [
        {},
        {"l_max": 5, "short_filter_order": 1, "num_inner_mlps": 0, "filter_order": 8},
        {"l_max": 100, "emb_dim": 9, "w": 10.0, "slow_decay_pct": 2.0, "shift": 0.1},
    ],
    "mamba": [
        {},
        {"state_size": 3, "expand": 1, "conv_kernel": 1, "use_conv_bias": False, "dt_rank": 5},
        {"state_size": 5, "use_bias": True, "conv_kernel": 2, "dt_min": 0.1, "dt_max": 2.0},
    ],
    "rwkv4": [{}, {"num_hidden_layers": 1}],
    "based": [
        {},
        {"num_heads": 3, "feature_dim": 4},
        {"feature_map": "cosformer", "feature_dim": 6, "l_max": 20},
        {"feature_map": "all_poly", "num_features": 9, "learn_features": False},
    ],
    "gsa": [
        {},
        {"num_slots": 5, "use_short_conv": True, "expand_k": 0.5, "expand_v": 1.5},
        {"num_heads": 1, "num_slots": 3, "gate_logit_normalizer": 0.05, "feature_map": "relu", "scale": 3.0},
    ],
    "sparse_attention": [
        {},
        {"num_heads": 4, "kv_heads": 2, "block_size": 3, "num_selected_blocks": 1, "window": 1, "norm": False},
        {"num_heads": 4, "kv_heads": 1, "block_size": 5, "query_heads_share_selected_kv": False, "window": 6},
        {"num_heads": 1, "block_size": 1, "num_selected_blocks": 3, "num_compressed_mem_kv": 2},
    ],
    "sparse_delta_memory": [
        {},
        {"slots_per_head": 9, "num_writes": 9, "num_reads": 2, "backprop_on_memory": False, "output_gate": False},
        {
            "num_heads": 3,
            "slots_per_head": 16,
            "num_writes": 2,
            "num_reads": 7,
            "head_v_dim": 5,
            "write_act_scale": 3.0,
        },
        {"slots_per_head": 25, "num_writes": 4, "normalize_readings": False, "key_weighted_decay": True},
        {"slots_per_head": 16, "num_writes": 3, "read_act": "l2_normalize", "write_act": "l2_normalize"},
    ],
    "raven": [
        {},
        {"num_slots": 5, "topk": 2, "decay_type": "GLA", "use_output_gate": True, "expand_k": 0.5, "expand_v": 1.5},
        {"num_heads": 1, "num_slots": 6, "topk": 6, "router_score": "softmax", "router_type": "mlp"},
    ],
    "ttt_linear": [
        {},
        {"num_heads": 4, "mini_batch_size": 5, "use_gate": True, "ttt_base_lr": 2.5},
        {"num_heads": 1, "mini_batch_size": 3, "share_qk": True, "conv_kernel": 3, "rotary_base": 100.0},
        {"mini_batch_size": 1, "share_qk": True, "conv_kernel": 1},
    ],
    "ttt_mlp": [
        {},
        {"num_heads": 4, "mini_batch_size": 5, "share_qk": True, "use_gate": True},
        {"num_heads": 1, "mini_batch_size": 1},
    ],
}
CASES = [
    pytest.param(name, options, id=f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items()) or 'defaults'}")
    for name in mixers.names()
    for options in VARIANTS.get(name, [{}])
]


def make(name, options, dtype=torch.float64):
    return Subject(name, D_MODEL, options).make(dtype=dtype)


def sequence(batch, length, dtype=torch.float64, seed=1):
    return torch.randn(batch, length, D_MODEL, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", mixers.names())
def test_defaults_work_at_width_64(name):
    mixer = mixers.build(name, 64)
    x = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = mixer(x)
    assert y.shape == x.shape and y.dtype == x.dtype
    y.square().sum().backward()
    for parameter_name, p in mixer.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name, options", CASES)
def test_causal_and_batch_independent(name, options):
    mixer = make(name, options)
    x = sequence(3, 11).requires_grad_()
    t = 6
    (gradient,) = torch.autograd.grad(mixer(x)[1, t].square().sum(), x)
    assert gradient[1, : t + 1].abs().sum(-1).gt(0).any()
    rounding = 1e-14 * gradient.abs().max() if name == "h3" else 0.0  # its FFT mixes positions within rounding
    assert gradient[1, t + 1 :].abs().le(rounding).all(), "a later token changes an earlier output"
    assert gradient[[0, 2]].eq(0).all(), "another sequence changes an output"


@pytest.mark.parametrize("length", [1, 63, 130])
@pytest.mark.parametrize("name, options", CASES)
def test_step_equals_forward(name, options, length):
    mixer = make(name, options)
    x = sequence(2, length)
    with torch.no_grad():
        expected = mixer(x)
        state = mixer.init_state(2)
        for t in range(length):
            y, state = mixer.step(x[:, t], state)
            torch.testing.assert_close(y, expected[:, t], rtol=1e-9, atol=1e-9, msg=lambda m, t=t: f"token {t}: {m}")


@pytest.mark.parametrize("name, options", CASES)
def test_state_size_is_what_is_carried(name, options):
    mixer = make(name, options)
    state = mixer.init_state(3)
    x = sequence(3, 5)
    for t in range(5):
        assert state_elements(state) == mixer.state_size(t)
        assert all(len(tensor) == 3 for tensor in state.values())
        state = mixer.step(x[:, t], state)[1]
    assert state_elements(state) == mixer.state_size(5)
    assert mixer.active_state_size(5) > 0 or name == "short_conv"


class Bare(SequenceMixer):
    """Implements nothing."""


class BareRecurrent(RecurrentMixer):
    """Implements nothing either."""


@pytest.mark.parametrize(
    "kind, method, arguments, missing",
    [
        (Bare, "forward", [torch.zeros(1, 2, 8)], "forward"),
        (Bare, "init_state", [1], "init_state"),
        (Bare, "step", [torch.zeros(1, 8), {}], "step"),
        (Bare, "prefill", [torch.zeros(1, 2, 8), {}], "step"),
        (Bare, "state_size", [4], "state_size"),
        (Bare, "active_state_size", [4], "state_size"),
        (BareRecurrent, "forward", [torch.zeros(1, 2, 8)], "mix"),
        (BareRecurrent, "prefill", [torch.zeros(1, 2, 8)], "mix"),
        (BareRecurrent, "step", [torch.zeros(1, 8), {}], "mix"),
    ],
)
def test_what_is_missing_says_so_by_class_and_method(kind, method, arguments, missing):
    with pytest.raises(NotImplementedError, match=f"^{kind.__name__} does not implement {missing}$"):
        getattr(kind(8), method)(*arguments)


def test_the_active_state_is_all_of_it_unless_a_mixer_says_otherwise():
    class Half(Bare):
        def state_size(self, sequence_length):
            return 10 * sequence_length

    assert Half(8).active_state_size(3) == 30


@pytest.mark.parametrize("name, options", CASES)
def test_with_gradients_step_leaves_the_old_state_alone(name, options):
    mixer = make(name, options)
    state = mixer.step(sequence(2, 1)[:, 0], mixer.init_state(2))[1]
    before = {key: tensor.clone() for key, tensor in state.items()}
    mixer.step(sequence(2, 1, seed=2)[:, 0], state)
    for key in before:
        assert torch.equal(before[key], state[key]), key


@pytest.mark.parametrize("name, options", CASES)
def test_prefill_in_pieces_then_step_equals_forward(name, options):
    mixer = make(name, options)
    x = sequence(2, 20)
    with torch.no_grad():
        expected = mixer(x)
        first, state = mixer.prefill(x[:, :12])
        second, state = mixer.prefill(x[:, 12:19], state)
        last, state = mixer.step(x[:, 19], state)
    torch.testing.assert_close(torch.cat([first, second, last[:, None]], 1), expected, rtol=1e-9, atol=1e-9)
    assert state_elements(state) == mixer.state_size(20)


@pytest.mark.parametrize("name, options", CASES)
def test_forward_draws_no_random_numbers_and_repeats_to_the_bit(name, options):
    mixer = make(name, options, torch.float32).train()
    x = sequence(2, 33, torch.float32)
    before = torch.get_rng_state()
    results = []
    for _ in range(2):
        mixer.zero_grad()
        y = mixer(x)
        y.square().sum().backward()
        results.append([y, *(p.grad for p in mixer.parameters() if p.requires_grad)])
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_state_without_parameters_names_the_mixer():
    class Mean(mixers.SequenceMixer):
        def init_state(self, batch):
            return {"sum": self._zeros(batch, self.d_model)}

    with pytest.raises(ValueError, match="^Mean has no parameters to take its state's device and dtype from$"):
        Mean(16).init_state(2)


@pytest.mark.parametrize("name", mixers.names())
def test_zoology_calling_convention(name):
    cls = mixers.load(name)
    mixer = cls(d_model=64, layer_idx=0)
    assert isinstance(mixer.state_size(sequence_length=64), int)


@pytest.fixture
def asked(monkeypatch):
    """What the operations ask their choice of engine for, where they leave it to ``auto``: a function of a kind of
    tensors, which answers what they would be told for tensors of these shapes but that kind."""
    asked = []

    def spy(module, name):
        choose = getattr(module, name)

        def record(engine, *arguments, **options):
            if engine == "auto":
                shapes = [value.shape if isinstance(value, torch.Tensor) else None for value in arguments]
                plain = list(zip(shapes, arguments, strict=True))
                asked.append(
                    lambda *kind: choose(
                        engine, *(TensorKind(shape, *kind) if shape else value for shape, value in plain), **options
                    )
                )
            return choose(engine, *arguments, **options)

        monkeypatch.setattr(module, name, record)

    spy(recurrence, "choose_engine")
    spy(delta_rule, "choose_engine")
    spy(scan, "choose_engine")
    spy(ramnet_ops, "choose_backend")
    spy(sparse_delta_ops, "choose_backend")
    return asked


@pytest.mark.parametrize("decoding", [False, True], ids=["training", "decoding"])
@pytest.mark.parametrize("name, options", CASES)
def test_engine_is_the_one_that_runs(name, options, decoding, asked, monkeypatch):
    mixer = make(name, options)
    x = sequence(2, recurrence.CHUNK + 1)
    with torch.no_grad():
        mixer.step(x[:, 0], mixer.init_state(2)) if decoding else mixer(x)
    for widest in (recurrence.FLA_DELTA_WIDTH, 0):  # 0 tells who uses the delta rule
        monkeypatch.setattr(recurrence, "FLA_DELTA_WIDTH", widest)
        for device, slow in ((torch.device("cpu"), ["reference"]), (torch.device("cuda"), ["reference", "chunk"])):
            for dtype in (torch.float32, torch.float64, torch.bfloat16):
                answer = mixer.engine(device, dtype, decoding)
                assert {answer.name} == ({choose(dtype, device) for choose in asked} or {"torch"}), (device, dtype)
                assert (answer.reason is not None) == (answer.name in slow)


def test_import_pulls_in_nothing_slow():
    slow = "fla", "ray", "transformers", "triton", "numba", "mqar_bench", "matplotlib"
    code = f"import sys, mixers; print([m for m in {slow!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
