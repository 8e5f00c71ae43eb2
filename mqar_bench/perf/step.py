"""Case ``step``: a whole training step of ``[short_conv, X]``, from batch to AdamW, for several mixers X.

d_model is heads times width. RAM-Net trains with K slots throughout, as it does at the end of its schedule.
"""

from __future__ import annotations

from functools import partial
from itertools import cycle

import torch
from torch import Tensor

from mixers.ramnet.ops import Backend
from mqar_bench.config import MixerSpec, ModelConfig, TrainConfig
from mqar_bench.perf.bench import Bench, Call, role
from mqar_bench.perf.record import Role, Row
from mqar_bench.perf.shape import WORD, Shape
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.data import Batch
from mqar_bench.training.model import LanguageModel, count_parameters
from mqar_bench.training.optimization import parameter_groups, training_loss

NAME = "step"
BATCHES = 4

#: Other mixers, with options of theirs; on a GPU gla is fla's kernels.
OTHERS: dict[str, dict] = {"linear_attention": {}, "attention": {}, "gla": {"expand_k": 1.0}}


def check(bench: Bench) -> None:
    """Loss and gradient of all parameters of a small model, in float32: each engine's against float64."""
    small = {"batch": 2, "length": 64, "heads": 2, "width": 8, "order": 2, "top_k": 2, "dtype": "float32"}
    shape = bench.shape.model_copy(update=small)
    batch = _batches(shape, 1)[0].to(bench.device)

    def results(engine: Backend | None, dtype: torch.dtype) -> dict[str, Tensor]:
        model = _model(ramnet(shape, engine or "reference"), shape).to(bench.device, dtype)
        loss = training_loss(model, batch, TrainConfig())
        loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return {"loss": loss.detach(), "gradient": torch.cat(gradients)}

    bench.check(NAME, results, torch.float32)


def measure(bench: Bench) -> None:
    """RAM-Net with each engine, and the reference where it can run; this project's other mixers."""
    shape = bench.shape

    def time(engine: Backend, shape: Shape, size: str) -> None:
        _time(bench, f"ramnet, {engine}", role(engine), ramnet(shape, engine), shape, size)

    # at least the eight tokens that a recall task needs
    bench.each(time, shape.batch * shape.heads * shape.slots * shape.width * 4 * 3, least=8)
    for name, options in OTHERS.items():
        mixer = MixerSpec(name=name, options={"num_heads": shape.heads, **options})
        _time(bench, name, "reference", mixer, shape)


def training_step(mixer: MixerSpec, shape: Shape, device: torch.device) -> Call:
    """A call that trains on the next of a few batches: loss, backward, AdamW, and the loss as a number."""
    settings = TrainConfig(precision="bfloat16" if shape.dtype == "bfloat16" else "float32")
    model = _model(mixer, shape).to(device).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, settings), lr=1e-3, fused=True)
    batches = cycle([batch.to(device) for batch in _batches(shape, BATCHES)])

    def call() -> float:
        loss = training_loss(model, next(batches), settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def _time(bench: Bench, name: str, role: Role, mixer: MixerSpec, shape: Shape, size: str = "") -> None:
    model = _model(mixer, shape)
    row = Row(
        case=NAME,
        what="training step",
        name=name,
        role=role,
        size=size,
        note="float32" if shape.dtype == "float16" else "",  # there is no float16 training here
        # weights read once; gradients written; AdamW reads weight, gradient and two moments and writes all but the
        # gradient: a lower bound, for activations are left out
        minimum_bytes=9 * WORD * count_parameters(model),
        state_elements=model.state_size(shape.length),
    )
    bench.time(row, partial(training_step, mixer, shape, bench.device))


def ramnet(shape: Shape, engine: Backend) -> MixerSpec:
    """RAM-Net with the slots of a shape, and K of them throughout."""
    sizes = {"num_heads": shape.heads, "head_v_dim": shape.width, "order": shape.order, "sub_dim": shape.sub_dim}
    tops = {"top_k": shape.top_k, "train_top_k": shape.top_k}
    return MixerSpec(name="ramnet", options={**sizes, **tops, "backend": engine})


def _model(mixer: MixerSpec, shape: Shape) -> LanguageModel:
    config = ModelConfig(
        vocab_size=recall_task(shape, 1).vocab_size,
        d_model=shape.heads * shape.width,
        mixers=(MixerSpec(name="short_conv"), mixer),
        embed_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):  # weights draw from torch's generator, put back on leaving
        torch.manual_seed(40)
        return LanguageModel(config)


def recall_task(shape: Shape, examples: int) -> MQARConfig:
    """MQAR with T tokens (even, at least 8), a pair for every 16, and a vocabulary that is large enough."""
    length = max(8, shape.length // 2 * 2)
    sizes = {"input_seq_len": length, "num_kv_pairs": max(1, length // 16)}
    return MQARConfig(vocab_size=max(8192, 2 * length), num_examples=examples, **sizes)


def _batches(shape: Shape, count: int) -> list[Batch]:
    segment = recall_task(shape, count * shape.batch).build(41)
    return [Batch(*batch) for batch in segment.batches(shape.batch)]
