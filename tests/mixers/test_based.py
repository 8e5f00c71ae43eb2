import math

import pytest
import torch

import mixers
from mixers.feature_maps import TaylorExp
from mqar_bench.config import MixerSpec, ModelConfig
from mqar_bench.training.model import LanguageModel
from tests.mixers.fla_layers import fla_layer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("based", 16, **options).double()
        for layer in (mixer.proj_q, mixer.proj_k):
            layer.weight.data.mul_(20)
        return mixer


def sequence(length=70):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def taylor(m, q, k, t, s):
    z = q @ k / len(q) ** 0.5
    return 1 + z + z**2 / 2


def all_poly(m, q, k, t, s):
    def phi(x):
        return ((m.feature_map.proj_1.weight @ x) ** 2 + m.feature_map.proj_2.weight @ x**2) / 2**0.5

    return phi(q) @ phi(k)


def cosformer(m, q, k, t, s):
    return q.clamp(min=0) @ k.clamp(min=0) * math.cos(math.pi / 2 * (t - s) / m.feature_map.length)


def performer(m, q, k, t, s):
    def phi(x):
        x = x / len(x) ** 0.25
        return torch.stack([(w @ x - x @ x / 2).exp() for w in m.feature_map.random_feats])

    return phi(q) @ phi(k) / len(m.feature_map.random_feats)


def by_feature(phi):
    return lambda m, q, k, t, s: phi(q) @ phi(k)


#: Options, and the weight of the value at s for the query at t.
KERNELS = [
    ({}, taylor),
    ({"num_heads": 3, "feature_dim": 5}, taylor),
    ({"num_heads": 2, "feature_dim": 1}, taylor),
    ({"feature_map": "identity"}, by_feature(lambda x: x)),
    ({"feature_map": "pos_elu", "num_heads": 2}, by_feature(lambda x: torch.where(x > 0, x + 1, x.exp()))),
    ({"feature_map": "relu"}, by_feature(lambda x: x.clamp(min=1e-12))),
    ({"feature_map": "square"}, by_feature(lambda x: x**2)),
    ({"feature_map": "all_poly", "num_features": 7, "poly_init": "kaiming"}, all_poly),
    ({"feature_map": "all_poly", "poly_init": "plusminus", "learn_features": False}, all_poly),
    ({"feature_map": "cosformer", "l_max": 100, "num_heads": 2}, cosformer),
    ({"feature_map": "performer", "num_features": 20}, performer),
]
by_kernel = pytest.mark.parametrize(
    "options, kernel", KERNELS, ids=["-".join(map(str, options.values())) or "defaults" for options, _ in KERNELS]
)


def as_attention(m, x, kernel):
    """Every output is a mean of the values so far, weighted by the kernel of query and key."""
    H = m.num_heads
    q, k, v = (proj(x).unflatten(-1, (H, -1)) for proj in (m.proj_q, m.proj_k, m.proj_v))
    o = torch.zeros_like(v)
    for b in range(len(x)):
        for h in range(H):
            for t in range(x.shape[1]):
                weights = torch.stack([kernel(m, q[b, t, h], k[b, s, h], t, s) for s in range(t + 1)])
                o[b, t, h] = weights @ v[b, : t + 1, h] / (weights.sum() + 1e-12)
    return m.proj_o(o.flatten(-2))


@by_kernel
def test_equals_attention_with_the_kernel(options, kernel):
    mixer, x = make(**options), sequence(12)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), as_attention(mixer, x, kernel), rtol=1e-8, atol=1e-10)


@by_kernel
def test_step_goes_on_from_a_prefill(options, kernel):
    mixer, x = make(**options), sequence(9)
    with torch.no_grad():
        state = mixer.prefill(x[:, :7])[1]
        seventh, state = mixer.step(x[:, 7], state)
        eighth = mixer.step(x[:, 8], state)[0]
        torch.testing.assert_close(torch.stack([seventh, eighth], 1), mixer(x)[:, 7:], rtol=1e-8, atol=1e-10)


def test_taylors_features_have_every_product_once():
    phi, x = TaylorExp(6), torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, k = phi(x)
    z = x[0] @ x[1] / 6**0.5
    assert len(q) == phi.size == 1 + 6 + 21
    torch.testing.assert_close(q @ k, 1 + z + z**2 / 2)


def test_state_is_that_of_the_features():
    """Zoology counts the same; what it builds is 1 + 16 + 256 wide."""
    assert make().state_size(5) == (1 + 16 + 136) * 17
    assert make(num_heads=2, feature_dim=4).state_size(5) == 2 * (1 + 4 + 10) * 9
    assert make(feature_map="cosformer").state_size(5) == 32 * 17 + 1
    assert make(feature_map="all_poly", num_features=9).state_size(5) == 9 * 17


def test_cosformer_does_not_depend_on_the_length():
    """Zoology's does: it divides positions by the length of what it is given."""
    mixer, x = make(feature_map="cosformer"), sequence(20)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x)[:, :9], mixer(x[:, :9]), rtol=1e-10, atol=1e-12)


def test_frozen_features_take_no_gradient():
    mixer = make(feature_map="all_poly", learn_features=False)
    mixer(sequence()).sum().backward()
    assert mixer.feature_map.proj_1.weight.grad is None and mixer.proj_q.weight.grad.abs().sum() > 0
    assert make(feature_map="all_poly", poly_init="plusminus").feature_map.proj_2.weight.abs().eq(1).all()


def test_performers_directions_are_orthogonal():
    w = make(feature_map="performer", num_features=40).feature_map.random_feats
    assert w.shape == (40, 16) and "feature_map.random_feats" in make(feature_map="performer").state_dict()
    gram = w[:16] @ w[:16].T
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64) * 16 / 40, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of fla itself
def test_equals_flas_definition():
    """By its loops over the quadratic form, and with its weights, whose names are others."""
    theirs = fla_layer("BasedLinearAttention", hidden_size=16, feature_dim=8, num_heads=2, num_key_value_heads=2)
    ours = mixers.build("based", 16, feature_dim=8, num_heads=2)
    named = {f"proj_{name[0]}.weight": w for name, w in theirs.state_dict().items()}
    ours.load_state_dict(named)
    x = sequence().float()
    with torch.no_grad():
        for layer in (ours.proj_q, ours.proj_k, theirs.q_proj, theirs.k_proj):
            layer.weight.mul_(3)
        torch.testing.assert_close(ours(x), theirs.forward_reference(x), rtol=1e-4, atol=1e-5)


def test_whole_based_is_a_stack_with_a_sliding_window():
    window = MixerSpec(name="sliding_window_attention", options={"window": 16})
    stack = (MixerSpec(name="short_conv"), window, MixerSpec(name="based", options={"feature_dim": 4}))
    model = LanguageModel(ModelConfig(vocab_size=32, d_model=16, n_layers=3, mixers=stack))
    assert model(torch.arange(20)[None]).shape == (1, 20, 32)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 0}, "num_heads must be between 1 and d_model 16, got 0"),
        ({"num_heads": 17}, "num_heads must be between 1 and d_model 16, got 17"),
        ({"feature_dim": 0}, "feature_dim must be at least 1, got 0"),
        ({"feature_dim": 1025}, "feature_dim of taylor_exp must be at most 1024, got 1025"),
        ({"feature_map": "exp"}, "option 'feature_map'"),
        ({"num_features": 8}, "num_features is of all_poly and performer: feature_map taylor_exp has its own"),
        ({"feature_map": "relu", "poly_init": "randn"}, "poly_init and learn_features are of all_poly"),
        ({"learn_features": False}, "poly_init and learn_features are of all_poly: feature_map is taylor_exp"),
        ({"feature_map": "performer", "num_features": 0}, "num_features must be at least 1, got 0"),
        ({"feature_map": "cosformer", "l_max": 0}, "l_max must be at least 1, got 0"),
        ({"eps": -1.0}, "eps must be between 0 and 1, got -1.0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
