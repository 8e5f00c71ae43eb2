"""What a mixer adds to the loss: through the model, into training, and nowhere else."""

import gc
import weakref

import pytest
import torch
from torch import nn

import mixers
from mixers import SequenceMixer
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.data import Batch, shared_data
from mqar_bench.training.loop import run
from mqar_bench.training.model import LanguageModel, supervised_loss
from mqar_bench.training.optimization import training_loss
from mqar_bench.training.scoring import evaluate

TASK = MQARConfig(vocab_size=64, input_seq_len=16, num_kv_pairs=2, num_examples=64)
MOM = MixerSpec(name="mom")


class Constant(nn.Module):
    """Zoology's convention, met by a mixer from elsewhere: the loss has a value but no gradient."""

    def __init__(self, d_model, layer_idx=None, value: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.value = value

    def forward(self, x):
        return x * self.weight

    def get_auxiliary_loss(self):
        return self.weight.new_tensor(self.value)

    def state_size(self, sequence_length):
        return 1

    active_state_size = state_size


@pytest.fixture(autouse=True)
def constant(monkeypatch):
    monkeypatch.setattr(mixers, "Constant", Constant, raising=False)


def config(*specs, **settings):
    return RunConfig(
        data=DataConfig(train=(TASK,), test=(TASK,)),
        model=ModelConfig(vocab_size=64, d_model=16, mixers=specs, n_layers=2),
        train=TrainConfig(**{"max_epochs": 2, "batch_size": 32, "early_stopping_threshold": None, **settings}),
    )


def model_and_batch(*specs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LanguageModel(config(*specs).model).eval()  # no dropout
    return model, Batch(*TASK.build(0).batch(0, 32))


def test_the_training_loss_is_cross_entropy_plus_every_layers_own():
    model, batch = model_and_batch(MOM)
    loss = training_loss(model, batch, TrainConfig())
    own = [layer.sequence_mixer.get_auxiliary_loss() for layer in model.blocks]
    assert all(0.01 < loss.item() < 0.08 for loss in own)
    expected = supervised_loss(model(batch.tokens, batch.positions), batch.answers) + sum(own)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(layer.sequence_mixer.gate.weight.grad.ne(0).any() for layer in model.blocks)


def test_what_has_no_gradient_changes_the_loss_reported_and_nothing_else():
    short_conv = MixerSpec(name="short_conv")
    without = run(config(short_conv, MixerSpec(name="mixers.Constant")))
    with_it = run(config(short_conv, MixerSpec(name="mixers.Constant", options={"value": 3.0})))
    assert [e.loss for e in with_it.epochs] == pytest.approx([e.loss + 3 for e in without.epochs])
    assert [e.settings for e in with_it.epochs] == [e.settings for e in without.epochs]


def test_the_scale_changes_how_the_router_is_trained():
    weights = []
    for scale in (0.0, 10.0):
        model, batch = model_and_batch(MixerSpec(name="mom", options={"aux_loss_scale": scale}))
        training_loss(model, batch, TrainConfig()).backward()
        weights.append(model.blocks[0].sequence_mixer.gate.weight.grad)
    assert not torch.allclose(*weights)


def test_where_no_mixer_has_one_nothing_is_added():
    assert not hasattr(SequenceMixer, "get_auxiliary_loss")
    model, batch = model_and_batch(MixerSpec(name="short_conv"))
    expected = supervised_loss(model(batch.tokens, batch.positions), batch.answers)
    assert model.auxiliary_loss() is None
    assert torch.equal(training_loss(model, batch, TrainConfig()), expected), "to the bit"


def test_evaluation_does_not_ask_for_it(monkeypatch):
    model, _ = model_and_batch(MOM)
    monkeypatch.setattr(LanguageModel, "auxiliary_loss", lambda self: pytest.fail("asked"))
    settings = config(MOM)
    with torch.random.fork_rng():
        data = shared_data(settings.data)
    evaluate(model, data, settings.train, torch.device("cpu"))


def test_a_step_leaves_nothing_of_the_step_before():
    model, batch = model_and_batch(MOM)
    losses = []
    for _ in range(3):
        loss = training_loss(model, batch, TrainConfig())
        loss.backward()
        losses.append(weakref.ref(model.blocks[0].sequence_mixer.get_auxiliary_loss()))
        del loss
    gc.collect()
    assert [loss() is None for loss in losses] == [True, True, False], "only the last forward's"
