"""The same model, from the same weights, on the same batches, in Zoology's trainer and in ours: the losses.

In float64, where no machine's rounding comes near a choice between two slots, nor near the 1e-8 that AdamW adds to the
root of squared gradients (a bias on keys has none but rounding: in float32 its steps are noise as large as the rate).

ZOOLOGY=CHECKOUT python -m tests.zoology.parity      write Zoology's losses to tests/golden/zoology_losses.json
"""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import torch

from mqar_bench.config import RunConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.data import Batch
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.optimization import parameter_groups, training_loss
from mqar_bench.zoology import shim
from mqar_bench.zoology.checkout import Checkout
from mqar_bench.zoology.fields import Reader
from mqar_bench.zoology.translate import translate
from tests.zoology.live import checkout, import_zoology

GOLDEN = Path(__file__).parents[1] / "golden" / "zoology_losses.json"
STEPS, BATCH = 30, 16
TASK = {"vocab_size": 128, "input_seq_len": 32, "num_kv_pairs": 4}
CONV = {"name": "zoology.mixers.base_conv.BaseConv", "kwargs": {"l_max": 32, "kernel_size": 3}}
MHA = {"name": "zoology.mixers.attention.MHA", "kwargs": {"num_heads": 2, "dropout": 0.0}}
#: Of our own mixer, the paper's design but for the norm: it is Zoology's trainer that is compared.
PAPERS = {
    "output_norm": "rmsnorm", "normalize_reads": False, "address_bias": False, "anneal": "shrink",
    "address_norm": None, "learnable_temperature": True,
}  # fmt: skip
SIZES = {"order": 3, "sub_dim": 4, "top_k": 4, "train_top_k": 16, "head_v_dim": 16}
RAMNET = {"name": "mixers.RAMNet", "kwargs": SIZES | PAPERS}
ANNEALED = {**RAMNET, "kwargs": {**RAMNET["kwargs"], "anneal_steps": STEPS}}
IDENTITY = {"name": "torch.nn.Identity"}


def hybrid(*mixers):
    return {"name": "zoology.mixers.hybrid.Hybrid", "kwargs": {"configs": list(mixers)}}


#: By name, the arguments of Zoology's ModelConfig.
MODELS = {
    "MHA": {"sequence_mixer": MHA, "max_position_embeddings": 32},
    "BaseConv+MHA": {"sequence_mixer": hybrid(CONV, MHA), "state_mixer": IDENTITY, "max_position_embeddings": 0},
    "BaseConv+RAMNet": {"sequence_mixer": hybrid(CONV, RAMNET), "state_mixer": IDENTITY, "max_position_embeddings": 0},
    "BaseConv+RAMNet annealed": {
        "sequence_mixer": hybrid(CONV, ANNEALED), "state_mixer": IDENTITY, "max_position_embeddings": 0,
    },
}  # fmt: skip


def config_of(name: str, config, task):
    """With Zoology's config classes, or those that stand in for them."""
    model = config.ModelConfig(vocab_size=128, d_model=32, n_layers=2, embed_dropout=0.0, **MODELS[name])
    data = config.DataConfig(train_configs=[task(**TASK)], test_configs=[task(**TASK)], batch_size=BATCH)
    return config.TrainConfig(model=model, data=data, learning_rate=1e-2, max_epochs=1)


def batches() -> list[Batch]:
    segment = MQARConfig(num_examples=STEPS * BATCH, **TASK).build(1)
    return [Batch(*segment.batch(lo, lo + BATCH)) for lo in range(0, STEPS * BATCH, BATCH)]


def our_name(name: str) -> str:
    """Of a parameter of Zoology's model."""
    for prefix in ("backbone.embeddings.", "backbone."):
        name = name.removeprefix(prefix)
    return name.replace(".sequence_mixer.mixer.", ".sequence_mixer.")


def set_weights(model: torch.nn.Module, shaken: float = 0.0) -> None:
    """The same in both, from the names of the parameters alone; ``shaken``: by this share of each, up or down."""
    model.double()
    generator, coin = np.random.default_rng(0), np.random.default_rng(1)
    parameters = {our_name(name): p for name, p in model.named_parameters() if not name.startswith("lm_head")}
    for name, parameter in sorted(parameters.items()):
        draw = torch.from_numpy(generator.standard_normal(parameter.shape))
        scale = 0.1 if "q_proj" in name or "k_proj" in name else 0.02
        start = 1.0 if "norm" in name and name.endswith("weight") or name == "ln_f.weight" else 0.0
        with torch.no_grad():
            parameter.copy_(start + scale * draw)
            parameter *= 1 + shaken * torch.from_numpy(coin.choice([-1.0, 1.0], parameter.shape))


def our_losses(name: str, shaken: float = 0.0) -> list[float]:
    run: RunConfig = translate(config_of(name, shim, shim.MQARConfig), "parity", "zoology", Reader(Checkout(None)))
    with torch.random.fork_rng():
        model = LanguageModel(run.model).train()
    set_weights(model, shaken)
    optimizer = torch.optim.AdamW(parameter_groups(model, run.train), lr=run.train.learning_rate, fused=True)
    losses = []
    for batch in batches():
        loss = training_loss(model, batch, run.train)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


def their_losses(name: str, path: Path) -> list[float]:
    z = import_zoology(path)
    config = config_of(name, z.config, z.data.MQARConfig)
    with torch.random.fork_rng():
        model = z.model.LanguageModel(config.model)
    set_weights(model)
    trainer = z.train.Trainer(model, None, None, device="cpu")
    trainer.loss_fn = torch.nn.CrossEntropyLoss()
    trainer.optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses: list[float] = []
    trainer.logger = types.SimpleNamespace(log=lambda values: losses.append(values["train/loss"]))
    loader = []
    for batch in batches():
        labels = torch.full_like(batch.tokens, -100).scatter(1, batch.positions, batch.answers)
        loader.append((batch.tokens, labels, []))
    trainer.train_dataloader = loader
    trainer.train_epoch(0)
    return losses


def main() -> None:
    path = checkout()
    assert path is not None, "ZOOLOGY is not set"
    GOLDEN.write_text(json.dumps({name: their_losses(name, path) for name in MODELS}, indent=1) + "\n")


if __name__ == "__main__":
    main()
