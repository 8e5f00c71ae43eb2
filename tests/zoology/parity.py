"""The same model, from the same weights, on the same batches, in Zoology's trainer and in ours: the losses.

In float64, where no machine's rounding comes near a choice between two slots, nor near the 1e-8 that AdamW adds to the
root of squared gradients (a bias on keys has none but rounding: in float32 its steps are noise as large as the rate).

ZOOLOGY=CHECKOUT python -m tests.zoology.parity      write Zoology's losses to tests/golden/zoology_losses.json
"""

from __future__ import annotations

import importlib
import json
import types
from pathlib import Path

import numpy as np
import torch

from mqar_bench.config import RunConfig
from mqar_bench.tasks import MQARConfig, StackedConfig
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
TTT = {"name": "zoology.mixers.ttt.TTT", "kwargs": {"num_heads": 2, "mini_batch_size": 12}}
TTT_MLP = {**TTT, "kwargs": {**TTT["kwargs"], "ttt_layer_type": "mlp", "use_gate": True, "share_qk": True}}
#: Its window looks ahead unless it is told not to.
NSA = {
    "name": "zoology.mixers.deepseek_nsa.SparseAttention",
    "kwargs": {
        "num_heads": 4, "kv_heads": 2, "sliding_window_size": 6, "compress_block_size": 4, "selection_block_size": 4,
        "num_selected_blocks": 2, "causal": True,
    },
}  # fmt: skip
IDENTITY = {"name": "torch.nn.Identity"}
GLU = {"name": "zoology.mixers.mlp.GLU", "kwargs": {"hidden_mult": 2}}
#: Of the task with continuous inputs: a vocabulary of 32 embeddings.
PAIRS = {"num_kv_pairs": 4, "num_passes": 2}
BASED = {"num_heads": 2, "num_key_value_heads": 2, "feature_dim": 8, "train_view": "quadratic"}
#: Zoology takes the length of its input for l_max.
COSFORMER = BASED | {"feature_name": "cosformer", "l_max": 32, "train_view": "linear"}


def based(kwargs):
    return {"name": "zoology.mixers.based.Based", "kwargs": kwargs}


LONG_CONV = {"name": "zoology.mixers.base_conv.BaseConv", "kwargs": {"l_max": 32, "kernel_size": -1}}
EXPLICIT_CONV = {**LONG_CONV, "kwargs": {**LONG_CONV["kwargs"], "implicit_long_conv": False, "use_act": True}}
HYENA = {"name": "zoology.mixers.hyena.Hyena", "kwargs": {"l_max": 32, "filter_order": 16, "emb_dim": 5, "w": 4}}


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
    "MHA and GLU, spherical": {
        "sequence_mixer": MHA, "state_mixer": GLU, "max_position_embeddings": 32, "embedding_init_type": "spherical",
    },
    "BaseConv+MHA, fixed normal": {
        "sequence_mixer": hybrid(CONV, MHA), "state_mixer": IDENTITY, "max_position_embeddings": 0,
        "embedding_init_type": "normal", "learnable_word_embeddings": False,
    },
    "MHA of continuous inputs": {
        "sequence_mixer": MHA, "state_mixer": IDENTITY, "max_position_embeddings": 0, "vocab_size": 32,
        "embedding_init_type": "spherical", "learnable_word_embeddings": False,
    },
    "BaseConv+Based": {
        "sequence_mixer": hybrid(CONV, based(BASED)), "state_mixer": IDENTITY, "max_position_embeddings": 0,
    },
    "BaseConv+Based cosformer": {
        "sequence_mixer": hybrid(CONV, based(COSFORMER)), "state_mixer": IDENTITY, "max_position_embeddings": 0,
    },
    "BaseConv, long": {"sequence_mixer": LONG_CONV, "state_mixer": IDENTITY, "max_position_embeddings": 0},
    "BaseConv, explicit": {"sequence_mixer": EXPLICIT_CONV, "state_mixer": IDENTITY, "max_position_embeddings": 0},
    "Hyena": {"sequence_mixer": HYENA, "state_mixer": IDENTITY, "max_position_embeddings": 0},
    "BaseConv+TTT linear": {"sequence_mixer": hybrid(CONV, TTT), "max_position_embeddings": 0},
    "BaseConv+TTT MLP": {"sequence_mixer": hybrid(CONV, TTT_MLP), "max_position_embeddings": 0},
    "BaseConv+NSA": {"sequence_mixer": hybrid(CONV, NSA), "max_position_embeddings": 0},
}  # fmt: skip
CONTINUOUS = {"MHA of continuous inputs"}

#: What its own code for them imports besides.
NEEDS = {
    "BaseConv+TTT linear": ["transformers"],
    "BaseConv+TTT MLP": ["transformers"],
    "BaseConv+NSA": ["rotary_embedding_torch", "einx"],
}


def config_of(name: str, config, tasks):
    """With Zoology's config classes, or those that stand in for them; ``tasks`` has those of the data."""
    sizes = {"vocab_size": 128, "d_model": 32, "n_layers": 2, "embed_dropout": 0.0}
    model = config.ModelConfig(**{**sizes, **MODELS[name]})
    task = tasks.ContinuousMQARConfig(**PAIRS) if name in CONTINUOUS else tasks.MQARConfig(**TASK)
    data = config.DataConfig(train_configs=[task], test_configs=[task], batch_size=BATCH)
    kind = "continuous" if name in CONTINUOUS else "discrete"
    return config.TrainConfig(model=model, data=data, learning_rate=1e-2, max_epochs=1, input_type=kind)


def batches(name: str) -> list[Batch]:
    task = StackedConfig(num_examples=STEPS * BATCH, vocab_size=17**2, **PAIRS)
    if name not in CONTINUOUS:
        task = MQARConfig(num_examples=STEPS * BATCH, **TASK)
    segment = task.build(1)
    return [Batch(*segment.batch(lo, lo + BATCH)) for lo in range(0, STEPS * BATCH, BATCH)]


def our_name(name: str) -> str:
    """Of a parameter of Zoology's model."""
    for prefix in ("backbone.embeddings.", "backbone."):
        name = name.removeprefix(prefix)
    if name.startswith(("input_proj.", "output_proj.")):
        name = f"pairs.{name}"
    return name.replace(".sequence_mixer.mixer.", ".sequence_mixer.").replace(".ttt_layer.", ".")


def is_spherical(embeddings: torch.Tensor) -> bool:
    return bool((embeddings.norm(dim=1) - 1).abs().max() < 1e-5)


def is_default(embeddings: torch.Tensor) -> bool:
    return bool(embeddings.std() < 0.03)


def set_weights(model: torch.nn.Module, shaken: float = 0.0) -> None:
    """The same in both, from the names of the parameters alone; ``shaken``: by this share of each, up or down."""
    model.double()
    generator, coin = np.random.default_rng(0), np.random.default_rng(1)
    parameters = {  # a tied head is the embeddings; the features of a filter's places stay what they are
        our_name(name): p for name, p in model.named_parameters() if p.requires_grad or "word_embeddings" in name
    }
    for name, parameter in sorted(parameters.items()):
        draw = torch.from_numpy(generator.standard_normal(parameter.shape))
        scale = 0.1 if "q_proj" in name or "k_proj" in name else 0.02
        if name == "word_embeddings.weight" and not is_default(parameter):
            scale = 1.0 / draw.norm(dim=1, keepdim=True) if is_spherical(parameter) else 1.0
        start = 1.0 if "norm" in name and name.endswith("weight") or name == "ln_f.weight" else 0.0
        with torch.no_grad():
            parameter.copy_(start + scale * draw)
            parameter *= 1 + shaken * torch.from_numpy(coin.choice([-1.0, 1.0], parameter.shape))


def our_losses(name: str, shaken: float = 0.0) -> list[float]:
    run: RunConfig = translate(config_of(name, shim, shim), "parity", "zoology", Reader(Checkout(None)))
    with torch.random.fork_rng():
        model = LanguageModel(run.model).train()
    set_weights(model, shaken)
    optimizer = torch.optim.AdamW(parameter_groups(model, run.train), lr=run.train.learning_rate, fused=True)
    losses = []
    for batch in batches(name):
        loss = training_loss(model, batch, run.train)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


def their_losses(name: str, path: Path) -> list[float]:
    z = import_zoology(path)
    tasks = types.SimpleNamespace(MQARConfig=z.data.MQARConfig)
    tasks.ContinuousMQARConfig = importlib.import_module("zoology.data.stacked_mqar").ContinuousMQARConfig
    config = config_of(name, z.config, tasks)
    with torch.random.fork_rng():
        kind = z.model.ContinuousInputModel if name in CONTINUOUS else z.model.LanguageModel
        model = kind(config.model)
    set_weights(model)
    trainer = z.train.Trainer(model, None, None, device="cpu", input_type=config.input_type)
    trainer.loss_fn = torch.nn.CrossEntropyLoss()
    trainer.optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses: list[float] = []
    trainer.logger = types.SimpleNamespace(log=lambda values: losses.append(values["train/loss"]))
    loader = []
    for batch in batches(name):
        labels = torch.full_like(batch.tokens, -100).scatter(1, batch.positions, batch.answers)
        loader.append((batch.tokens, labels, []))
        if name in CONTINUOUS:
            loader[-1] = continuous_inputs(batch.tokens, model), batch.answers - 1, []
    trainer.train_dataloader = loader
    trainer.train_epoch(0)
    return losses


def continuous_inputs(tokens: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    """As Zoology's generator puts them together; no value is zeros."""
    embeddings = model.backbone.embeddings.word_embeddings.weight.detach()
    keys, values = tokens // 17 - 1, tokens % 17 - 1
    absent = torch.zeros_like(embeddings[0])
    return torch.cat([embeddings[keys], torch.where(values[..., None] < 0, absent, embeddings[16 + values])], -1)


def main() -> None:
    path = checkout()
    assert path is not None, "ZOOLOGY is not set"
    GOLDEN.write_text(json.dumps({name: their_losses(name, path) for name in MODELS}, indent=1) + "\n")


if __name__ == "__main__":
    main()
