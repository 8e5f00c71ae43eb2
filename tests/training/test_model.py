import pytest
import torch
import torch.nn.functional as F

import mixers
from mqar_bench.config import MixerSpec, ModelConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.model import LanguageModel, count_parameters, supervised_loss

SEGMENT = MQARConfig(vocab_size=64, num_examples=12, input_seq_len=32, num_kv_pairs=4).build(3)


def make(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LanguageModel(ModelConfig(**{"vocab_size": 64, "d_model": 16, **changes})).eval()


MODELS = {
    "identity": {},
    "mlp-positions": {"state_mixer": "mlp", "max_position_embeddings": 40},
    "three-layers": {"n_layers": 3, "resid_dropout": 0.2},
    **{name: {"mixers": (MixerSpec(name=name),)} for name in mixers.names()},
}


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_sparse_loss_and_gradients_equal_dense(changes):
    model = make(**changes)
    tokens, positions, answers = SEGMENT.batch(0, 12)
    sparse = supervised_loss(model(tokens, positions), answers)
    dense = F.cross_entropy(model(tokens).flatten(0, 1), SEGMENT.labels.flatten())
    torch.testing.assert_close(sparse, dense)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    by_sparse, by_dense = (
        torch.autograd.grad(loss, list(trained.values()), retain_graph=True) for loss in (sparse, dense)
    )
    for a, b, name in zip(by_sparse, by_dense, trained, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_identity_adds_the_normalised_residual_as_zoology_does():
    """One block written out: residual = x + mixer(norm1(x)); output = ln_f(residual + norm2(residual))."""
    model = make(n_layers=1)
    tokens = SEGMENT.inputs[:2]
    block = model.blocks[0]
    x = model.word_embeddings(tokens)
    residual = x + block.sequence_mixer(block.norm1(x))
    hidden = model.ln_f(residual + block.norm2(residual))
    torch.testing.assert_close(model(tokens), hidden @ model.word_embeddings.weight.T)


def test_dropout_sits_where_zoology_puts_it():
    model = make(embed_dropout=0.1, resid_dropout=0.3)
    assert [b.dropout1.p for b in model.blocks] == [0.1, 0.3]
    assert [b.dropout2.p for b in model.blocks] == [0.3, 0.3] and model.drop_f.p == 0.3


def test_initialisation_is_zoologys():
    model = make(d_model=128, state_mixer="mlp", max_position_embeddings=64, vocab_size=512)
    mlp, attention = model.blocks[0].state_mixer, model.blocks[1].sequence_mixer
    expected = {
        model.word_embeddings.weight: 0.02,
        model.position_embeddings.weight: 0.02,
        mlp.fc1.weight: 0.02,
        mlp.fc2.weight: 0.02 / 2,
        attention.Wqkv.weight: 0.02,
        attention.out_proj.weight: 0.02 / 2,
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    for bias in (mlp.fc1.bias, mlp.fc2.bias, attention.Wqkv.bias, attention.out_proj.bias):
        assert bias.eq(0).all()


def test_a_mixer_keeps_the_weights_it_came_with():
    spec = MixerSpec(name="ramnet", options={"alpha_init": 0.7, "address_init_std": 0.5})
    mixer = make(d_model=64, mixers=(spec,)).blocks[0].sequence_mixer
    assert mixer.alpha_q.eq(0.7).all()
    assert mixer.q_proj.weight.std().item() == pytest.approx(0.5, rel=0.1)


def test_mixers_cycle_over_the_layers_and_sizes_add_up():
    specs = (MixerSpec(name="short_conv"), MixerSpec(name="attention"))
    model = make(n_layers=5, mixers=specs)
    kinds = [type(b.sequence_mixer).__name__ for b in model.blocks]
    assert kinds == ["ShortConvolution", "SoftmaxAttention"] * 2 + ["ShortConvolution"]
    assert [m.layer_idx for m in model.sequence_mixers] == list(range(5))
    assert model.state_size(100) == 3 * 2 * 16 + 2 * 2 * 16 * 100
    assert count_parameters(model) == sum(p.numel() for p in model.parameters())


def test_auxiliary_losses_are_collected():
    model = make()
    assert model.auxiliary_loss() is None
    model.blocks[0].sequence_mixer.get_auxiliary_loss = lambda: torch.tensor(0.5)
    model.blocks[1].sequence_mixer.get_auxiliary_loss = lambda: torch.tensor(0.25)
    assert model.auxiliary_loss().item() == 0.75
