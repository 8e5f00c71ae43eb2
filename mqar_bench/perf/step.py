"""Case ``step``: a whole training step of ``[short_conv, X]``, from batch to AdamW, for several mixers X.

d_model is heads times width. RAM-Net trains with K slots throughout, as it does at the end of its schedule.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixers.ramnet.ops import Backend
from mqar_bench.config import MixerSpec, ModelConfig, TrainConfig
from mqar_bench.data import Batch
from mqar_bench.model import LanguageModel, count_parameters
from mqar_bench.perf.bench import Bench, Call
from mqar_bench.perf.check import compare
from mqar_bench.perf.data import recall_task
from mqar_bench.perf.peers import gla_name
from mqar_bench.perf.record import Role, Row
from mqar_bench.perf.shape import Shape, shortened, tokens_that_fit
from mqar_bench.perf.traffic import step_bytes
from mqar_bench.train import parameter_groups, training_loss

NAME = "step"
BATCHES = 4


def check(bench: Bench) -> None:
    """Loss and gradient of all parameters of a small model, in float32: each engine's against float64.

    Raises:
        PerfError: one is wrong.
    """
    shape = Shape(
        batch=2, length=64, heads=2, width=8, order=2, sub_dim=bench.shape.sub_dim, top_k=2, dtype="float32"
    )  # fmt: skip
    settings = TrainConfig()
    batch = _batches(shape, 1)[0].to(bench.device)

    def results(engine: Backend, dtype: torch.dtype) -> dict[str, Tensor]:
        model = _model(_ramnet(shape, engine), shape).to(bench.device, dtype)
        loss = training_loss(model, batch, settings)
        loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return {"loss": loss.detach(), "gradient": torch.cat(gradients)}

    exact, plain = results("reference", torch.float64), results("reference", torch.float32)
    for engine in bench.engines:
        bench.checks += compare(NAME, engine, results(engine, torch.float32), plain, exact)


def measure(bench: Bench) -> None:
    """RAM-Net with each engine, this project's other mixers, fla's GLA; the reference where it can run."""
    shape, heads = bench.shape, {"num_heads": bench.shape.heads}
    for engine in bench.engines:
        _time(bench, f"ramnet, {engine}", "ours", _ramnet(shape, engine), shape)
    _time(bench, "linear_attention", "reference", MixerSpec(name="linear_attention", options=heads), shape)
    _time(bench, "attention", "reference", MixerSpec(name="attention", options=heads), shape)
    gla = MixerSpec(name="mqar_bench.perf.gla_mixer.ChunkGLA", options=heads)
    _time(bench, gla_name(bench.device), "peer", gla, shape)
    per_token = shape.batch * shape.heads * shape.slots * shape.width * 4 * 3
    short, size = shortened(shape, max(8, tokens_that_fit(per_token, shape, bench.device)))
    if size:
        for engine in bench.engines:
            _time(bench, f"ramnet, {engine}", "ours", _ramnet(shape, engine), short, size)
    _time(bench, "ramnet, reference", "reference", _ramnet(shape, "reference"), short, size)


def training_step(mixer: MixerSpec, shape: Shape, device: torch.device) -> Call:
    """A call that trains on the next of a few batches: loss, backward, AdamW, and the loss as a number."""
    settings = TrainConfig(precision="bfloat16" if shape.dtype == "bfloat16" else "float32")
    model = _model(mixer, shape).to(device)
    optimizer = torch.optim.AdamW(parameter_groups(model, settings), lr=1e-3, fused=True)
    batches = [batch.to(device) for batch in _batches(shape, BATCHES)]
    done = 0

    def call() -> float:
        nonlocal done
        model.train()
        loss = training_loss(model, batches[done % BATCHES], settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        done += 1
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
        minimum_bytes=step_bytes(count_parameters(model)),
        state_elements=model.state_size(shape.length),
    )
    make: Callable[[], Call] = lambda: training_step(mixer, shape, bench.device)  # noqa: E731
    bench.time(row, make)


def _ramnet(shape: Shape, engine: Backend) -> MixerSpec:
    options = {
        "num_heads": shape.heads,
        "head_v_dim": shape.width,
        "order": shape.order,
        "sub_dim": shape.sub_dim,
        "top_k": shape.top_k,
        "train_top_k": shape.top_k,
        "backend": engine,
    }
    return MixerSpec(name="ramnet", options=options)


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


def _batches(shape: Shape, count: int) -> list[Batch]:
    segment = recall_task(shape, count * shape.batch).build(41)
    return [Batch(*segment.batch(i * shape.batch, (i + 1) * shape.batch)) for i in range(count)]
