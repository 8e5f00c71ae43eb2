import pytest
import torch
import torch.nn.functional as F

import mixers
from mqar_bench.config import MixerSpec, ModelConfig, TrainConfig
from mqar_bench.tasks import MQARConfig, StackedConfig
from mqar_bench.training.model import LanguageModel, count_parameters, supervised_loss
from mqar_bench.training.optimization import parameter_groups

SEGMENT = MQARConfig(vocab_size=64, num_examples=12, input_seq_len=32, num_kv_pairs=4).build(3)


def make(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LanguageModel(ModelConfig(**{"vocab_size": 64, "d_model": 16, **changes})).eval()


MODELS = {
    "identity": {},
    "mlp-positions": {"state_mixer": "mlp", "max_position_embeddings": 40},
    "three-layers": {"n_layers": 3, "resid_dropout": 0.2},
    "glu-spherical": {"state_mixer": "glu", "embedding_init_type": "spherical"},
    "a-head-of-its-own": {"learnable_word_embeddings": False},
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


def test_a_glu_starts_as_zoologys():
    glu = make(d_model=128, state_mixer="glu", mlp_hidden_mult=2).blocks[0].state_mixer
    for layer, std, shape in ((glu.fc1, 0.02, (256, 128)), (glu.fc2, 0.01, (256, 128)), (glu.fc3, 0.02, (128, 256))):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05) and layer.weight.shape == shape
        assert layer.bias.eq(0).all()
    x = torch.randn(3, 128)
    torch.testing.assert_close(glu(x), (F.gelu(x @ glu.fc2.weight.T) * (x @ glu.fc1.weight.T)) @ glu.fc3.weight.T)


def test_how_embeddings_start():
    kinds = ("default", "normal", "spherical")
    of = {kind: make(d_model=64, vocab_size=512, embedding_init_type=kind, max_position_embeddings=8) for kind in kinds}
    default, normal, spherical = (of[kind].word_embeddings.weight for kind in kinds)
    assert normal.std().item() == pytest.approx(1, rel=0.02)
    torch.testing.assert_close(spherical.norm(dim=1), torch.ones(512))
    torch.testing.assert_close(spherical, default / default.norm(dim=1, keepdim=True))
    for kind in kinds:  # nothing else changes
        for name, parameter in of[kind].named_parameters():
            assert name == "word_embeddings.weight" or torch.equal(parameter, of["default"].get_parameter(name)), name


def test_embeddings_that_are_not_learnt_leave_the_head_its_own_weights():
    model = make(learnable_word_embeddings=False)
    assert model.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.1)
    before = model.word_embeddings.weight.clone()
    tokens, positions, answers = SEGMENT.batch(0, 12)
    optimizer = torch.optim.AdamW(parameter_groups(model, TrainConfig()), lr=0.1)
    supervised_loss(model(tokens, positions), answers).backward()
    head = model.lm_head.weight.clone()
    optimizer.step()
    assert torch.equal(model.word_embeddings.weight, before) and not torch.equal(model.lm_head.weight, head)


def test_continuous_inputs_written_out():
    """A pair is two embeddings and a query one beside zeros; the answer is the most similar value, never none."""
    task = StackedConfig(vocab_size=81, num_examples=12, num_kv_pairs=3)
    model = make(vocab_size=16, input_type="continuous", learnable_word_embeddings=False, n_layers=1)
    tokens, positions, answers = task.build(3).batch(0, 12)
    embeddings, pairs = model.word_embeddings.weight, model.pairs
    rows = [[embeddings[t // 9 - 1].tolist() + (embeddings[8 + t % 9 - 1].tolist() if t % 9 else [0] * 16) for t in row]
            for row in tokens.tolist()]  # fmt: skip
    hidden, residual = model.blocks[0].mix(pairs.input_proj(torch.tensor(rows)), None)
    hidden, residual = model.blocks[0].update(hidden, residual)
    logits = model(tokens)
    expected = pairs.output_proj(model.ln_f(hidden + residual)) @ embeddings[8:].T
    torch.testing.assert_close(logits[..., 1:], expected)
    assert logits.shape == (12, 6, 9) and logits[..., 0].eq(-float("inf")).all()
    loss = supervised_loss(model(tokens, positions), answers)
    torch.testing.assert_close(loss, F.cross_entropy(expected[:, 3:].flatten(0, 1), answers.flatten() - 1))
    loss.backward()
    assert embeddings.grad is None and all(p.grad.isfinite().all() for p in pairs.parameters())


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


def size_of(state):
    return sum(mixers.state_elements(layer) for layer in state.layers)


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_a_sequence_read_in_pieces_gives_what_it_gives_as_a_whole(changes):
    model = make(**changes).double()
    tokens, positions, _ = SEGMENT.batch(0, 3)
    with torch.no_grad():
        whole, state, read = model(tokens), None, []
        for piece in tokens.split([1, 6, 16, 9], dim=1):
            before = None if state is None else state.seen
            logits, state = model.prefill(piece, state)
            read.append(logits)
            assert state.seen == (before or 0) + piece.shape[1]
        torch.testing.assert_close(torch.cat(read, 1), whole, rtol=1e-9, atol=1e-9)
        assert size_of(state) == model.state_size(32)
        nothing, state = model.prefill(tokens[:, :20], None, positions[:, :0])
        assert nothing.shape == (3, 0, 64)
        some, _ = model.prefill(tokens[:, 20:], state, torch.tensor([[0, 11]] * 3))
    torch.testing.assert_close(some, whole[:, [20, 31]], rtol=1e-9, atol=1e-9)


def test_pieces_of_pairs_are_read_as_the_whole_is():
    config = StackedConfig(vocab_size=81, num_examples=4, num_kv_pairs=4)
    model = make(vocab_size=16, input_type="continuous", learnable_word_embeddings=False).double()
    tokens = config.build(1).inputs
    with torch.no_grad():
        first, state = model.prefill(tokens[:, :3])
        rest, _ = model.prefill(tokens[:, 3:], state)
        torch.testing.assert_close(torch.cat([first, rest], 1), model(tokens), rtol=1e-9, atol=1e-9)


def test_a_sequence_ends_with_the_learned_positions():
    model = make(max_position_embeddings=8)
    _, state = model.prefill(torch.zeros(1, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^the model has learned positions of 8 tokens, and is to read 9$"):
        model.prefill(torch.zeros(1, 3, dtype=torch.int64), state)


class StepsOnly(torch.nn.Module):
    """Carries the sum of what it has seen; from elsewhere, so that it has no more than it must."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__()

    def forward(self, x):
        return x.cumsum(1)

    def init_state(self, batch):
        return {"sum": torch.zeros(batch, 16)}

    def step(self, x_t, state):
        total = state["sum"] + x_t
        return total, {"sum": total}


class NoState(torch.nn.Module):
    def __init__(self, d_model, layer_idx=None):
        super().__init__()

    def forward(self, x):
        return x


def test_a_mixer_from_elsewhere_is_read_step_by_step_or_not_at_all():
    model = make(mixers=(MixerSpec(name=f"{__name__}.StepsOnly"),))
    tokens = SEGMENT.inputs[:2]
    with torch.no_grad():
        first, state = model.prefill(tokens[:, :20])
        rest, _ = model.prefill(tokens[:, 20:], state)
        torch.testing.assert_close(torch.cat([first, rest], 1), model(tokens))
    model = make(mixers=(MixerSpec(name=f"{__name__}.NoState"),))
    with pytest.raises(TypeError, match="^NoState carries no state: it has no prefill, nor step and init_state$"):
        model.prefill(tokens)
