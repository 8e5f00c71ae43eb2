"""Our mixers in Zoology's own model and trainer, alone and in its Hybrid; its data against our reading of it."""

import contextlib
import importlib
import types

import numpy as np
import pytest
import torch

import mixers
from mqar_bench.tasks import CompositionalConfig, ForgettingConfig
from mqar_bench.zoology.checkout import Checkout
from mqar_bench.zoology.circuits import CIRCUITS, translate_circuit
from mqar_bench.zoology.fields import Reader
from tests.tasks.test_tasks import solve
from tests.zoology.live import HOW, checkout, import_zoology

pytestmark = pytest.mark.skipif(checkout() is None, reason=HOW)

LENGTH = 18  # no multiple of any chunk or segment


@pytest.fixture(scope="module")
def zoology():
    return import_zoology(checkout())


@pytest.mark.parametrize("hybrid", [False, True], ids=["alone", "hybrid"])
@pytest.mark.parametrize("name", mixers.names())
def test_a_mixer_trains_in_zoology(zoology, name, hybrid):
    cls = mixers.load(name)
    module = {"name": f"mixers.{cls.__name__}", "kwargs": {}}
    if hybrid:
        conv = {"name": "zoology.mixers.base_conv.BaseConv", "kwargs": {"l_max": LENGTH, "kernel_size": 3}}
        module = {"name": "zoology.mixers.hybrid.Hybrid", "kwargs": {"configs": [conv, module]}}
    config = zoology.config.ModelConfig(
        vocab_size=64, d_model=64, n_layers=2, max_position_embeddings=0, embed_dropout=0.0, sequence_mixer=module
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = zoology.model.LanguageModel(config)
    ours = [module for module in model.modules() if isinstance(module, cls)]
    assert len(ours) == (1 if hybrid else 2)

    counted = [m for m in model.modules() if isinstance(m, cls) or type(m).__name__ == "BaseConv"]
    sizes = sum(mixer.state_size(sequence_length=LENGTH) for mixer in counted)
    assert len(counted) == 2 and model.state_size(sequence_length=LENGTH) == 4 * sizes

    trainer = zoology.train.Trainer(model, None, None, device="cpu")
    trainer.loss_fn = torch.nn.CrossEntropyLoss()
    trainer.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    trainer.logger = types.SimpleNamespace(log=lambda values: losses.append(values["train/loss"]))
    tokens = torch.randint(0, 64, (4, LENGTH), generator=torch.Generator().manual_seed(1))
    trainer.train_dataloader = [(tokens, tokens.roll(1, 1), [])] * 12
    trainer.train_epoch(0)
    assert all(torch.tensor(losses).isfinite()) and losses[-1] < losses[0]
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "name, module, ours",
    [
        ("ForgettingMQARConfig", "forgetting_mqar", ForgettingConfig),
        ("CompositionalMQARConfig", "compositional_mqar", CompositionalConfig),
    ],
    ids=["forgetting", "compositional"],
)
def test_its_data_are_what_we_take_them_for(zoology, name, module, ours):
    """Read by our reading of the task, a reader of its examples gives its answers."""
    sizes = {"vocab_size": 256, "num_examples": 200, "input_seq_len": 48, "num_kv_pairs": 4}
    task = ours(**sizes, random_non_queries=False)
    their = getattr(importlib.import_module(f"zoology.data.{module}"), name)
    with preserved_generators():
        segment = their(**sizes, random_non_queries=False).build(3)
    used = (task.build(3).tokens != 0).sum(1)
    assert torch.equal((segment.inputs != 0).sum(1), used)
    assert ((segment.labels != -100).sum(1) == task.num_answers).all()
    for tokens, labels in zip(segment.inputs.tolist(), segment.labels.tolist(), strict=True):
        places = [i for i, label in enumerate(labels) if label != -100]
        assert [solve(task, tokens, i) for i in places] == [labels[i] for i in places]


@pytest.mark.parametrize("kind", CIRCUITS, ids=lambda kind: kind.__name__)
def test_its_circuits_are_what_we_take_them_for(zoology, kind):
    sizes = {"vocab_size": 7, "num_examples": 200, "input_seq_len": 13}
    task = translate_circuit(kind(**sizes), Reader(Checkout(checkout() / "zoology")))
    with preserved_generators():
        segment = getattr(importlib.import_module("zoology.data.circuits"), kind.__name__)(**sizes).build(3)
    ours = task.build(3)
    assert segment.inputs.shape == ours.tokens.shape
    assert torch.equal(segment.inputs.unique(), ours.tokens.unique())
    assert torch.equal(segment.labels != -100, ours.labels != -100)
    for tokens, labels in zip(segment.inputs.tolist(), segment.labels.tolist(), strict=True):
        places = [i for i, label in enumerate(labels) if label != -100]
        assert [solve(task, tokens, i) for i in places] == [labels[i] for i in places]


@contextlib.contextmanager
def preserved_generators():
    state = np.random.get_state()
    with torch.random.fork_rng():
        yield
    np.random.set_state(state)
