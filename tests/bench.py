"""Time what the project claims to be fast, each against its reference in the same process (`make bench`).

    python tests/bench.py                       samplers and RAM-Net's engines
    python tests/bench.py --zoology CHECKOUT    also Zoology's generator and training step, beside ours
    python tests/bench.py --against CHECKOUT    also training steps here and in another checkout of this repository

See ``tests/zoology/live.py`` for what is done to Zoology, and ``tests/checkout.py`` for the other checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import types
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.zoology

import numpy as np
import torch

from mixers.ramnet import decode_address, pdma
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.records.result import now, provenance
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.data import Batch
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.optimization import parameter_groups, training_loss
from tests.checkout import commit_of, compare_steps
from tests.zoology.live import import_zoology


def median_seconds(call, repeats: int, clock=time.perf_counter) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return float(np.median(times))


def line(name: str, ours: float, theirs: float | None = None, unit: str = "ms") -> None:
    text = f"{name:58s} {ours * 1e3:10.2f} {unit}"
    print(
        text if theirs is None else f"{text}   reference {theirs * 1e3:10.2f} {unit}   {theirs / ours:7.1f} x",
        flush=True,
    )


def pdma_by_gathers(w, w_idx, r, r_idx, v, num_slots, gamma, eps):
    """The plain PyTorch way: a loop over time that gathers and scatters the K slots of each token."""
    B, T, H, D = v.shape
    S = v.new_zeros(B, H, num_slots, D)
    z = v.new_full((B, H, num_slots), 1 / num_slots)
    outputs = []
    for t in range(T):
        slot = w_idx[:, t]
        wide = slot.unsqueeze(-1).expand(-1, -1, -1, D)
        a = (1 - w[:, t]) ** gamma
        S = S.scatter(2, wide, a.unsqueeze(-1) * S.gather(2, wide) + w[:, t].unsqueeze(-1) * v[:, t].unsqueeze(2))
        z = z.scatter(2, slot, a * z.gather(2, slot) + w[:, t])
        read = r_idx[:, t]
        rows = S.gather(2, read.unsqueeze(-1).expand(-1, -1, -1, D))
        outputs.append(((r[:, t] / (z.gather(2, read) + eps)).unsqueeze(-1) * rows).sum(2))
    return torch.stack(outputs, 1)


def bench_memory(B=64, T=64, H=2, M=64, K=4, D=32) -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, B, T, H, 3, 4, generator=g).requires_grad_()
    v = torch.randn(B, T, H, D, generator=g).requires_grad_()

    def addresses():
        return decode_address(logits, K)

    (weights, slots) = addresses()
    (w, r), (w_idx, r_idx) = weights.detach().unbind(), slots.unbind()
    for t in (w, r):
        t.requires_grad_()

    def forward_backward(op):
        def call():
            o = op(w, w_idx, r, r_idx, v, M, 1.0, 1e-6)
            o = o[0] if isinstance(o, tuple) else o
            return o, torch.autograd.grad(o.square().sum(), (w, r, v))

        return call

    ours, plain = forward_backward(pdma), forward_backward(pdma_by_gathers)
    (o1, g1), (o2, g2) = ours(), plain()
    for a, b in zip((o1, *g1), (o2, *g2), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)  # no speed without agreement
    title = f"PDMA forward + backward, B*H {B * H}, T {T}, M {M}, K {K}, D {D}"
    line(title, median_seconds(ours, 15), median_seconds(plain, 5))
    decode = median_seconds(lambda: torch.autograd.grad(addresses()[0].sum(), logits), 15)
    line("address decoding of keys and queries, forward + backward", decode)


def our_step(mixers_, vocab=8192, batch=64, L=64, kv=4, d_model=64, **model):
    model_config = ModelConfig(vocab_size=vocab, d_model=d_model, mixers=mixers_, **model)
    task = MQARConfig(vocab_size=vocab, num_examples=batch * 4, input_seq_len=L, num_kv_pairs=kv)
    config = RunConfig(
        data=DataConfig(train=(task,), test=(task,)), model=model_config, train=TrainConfig(batch_size=batch)
    )
    torch.manual_seed(0)
    net = LanguageModel(model_config)
    optimizer = torch.optim.AdamW(parameter_groups(net, config.train), lr=1e-3, fused=True)
    batches = [Batch(*task.build(1).batch(i, i + batch)) for i in range(0, 4 * batch, batch)]
    state = {"i": 0}

    def step():
        net.train()
        loss = training_loss(net, batches[state["i"] % 4], config.train)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        loss.item()
        optimizer.step()
        state["i"] += 1

    return step


def zoology_step(z, hybrid: bool, vocab=8192, batch=64, L=64, kv=4, d_model=64):
    mha = z.config.ModuleConfig(name="zoology.mixers.attention.MHA", kwargs={"num_heads": 1, "dropout": 0.1})
    more = {}
    if hybrid:
        conv = {"name": "zoology.mixers.base_conv.BaseConv", "kwargs": {"l_max": L, "kernel_size": 3}}
        mixer = z.config.ModuleConfig(name="zoology.mixers.hybrid.Hybrid", kwargs={"configs": [conv, mha.model_dump()]})
        more = {"state_mixer": z.config.ModuleConfig(name="torch.nn.Identity"), "max_position_embeddings": 0}
    config = z.config.ModelConfig(
        d_model=d_model, n_layers=2, vocab_size=vocab, sequence_mixer=mixer if hybrid else mha, **more
    )
    torch.manual_seed(0)
    net = z.model.LanguageModel(config)
    segment = z.data.multiquery_ar(vocab_size=vocab, num_examples=4 * batch, input_seq_len=L, seed=1, num_kv_pairs=kv)
    trainer = z.train.Trainer(net, None, None, device="cpu")
    trainer.loss_fn = torch.nn.CrossEntropyLoss()
    trainer.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    trainer.logger = types.SimpleNamespace(log=lambda _: None)
    loader = [(segment.inputs[:batch], segment.labels[:batch], [])]
    trainer.train_dataloader = loader
    return lambda: trainer.train_epoch(0)  # one batch an epoch: its own training step


def bench_steps(z) -> None:
    attention = (MixerSpec(name="attention", options={"dropout": 0.1}),)
    hybrid = (MixerSpec(name="short_conv"), *attention)
    shapes = ((64, 64, 4), (256, 64, 4), (64, 256, 64))
    for batch, L, kv in shapes:
        size = {"batch": batch, "L": L, "kv": kv}
        ours = our_step(attention, state_mixer="mlp", max_position_embeddings=L, **size)
        theirs = None if z is None or L > 64 else zoology_step(z, False, **size)  # its positions end at 64
        compare(f"training step, attention + MLP, batch {batch}, L {L}, {kv} pairs", ours, theirs)
        ours, theirs = our_step(hybrid, **size), None if z is None else zoology_step(z, True, **size)
        compare(f"training step, [conv, attention], batch {batch}, L {L}, {kv} pairs", ours, theirs)
    for M, order in ((64, 3), (256, 4), (1024, 5)):
        spec = (MixerSpec(name="short_conv"), MixerSpec(name="ramnet", options={"order": order, "head_v_dim": 32}))
        compare(f"training step, [conv, RAM-Net M {M} K 8], batch 64, L 64, 4 pairs", our_step(spec), None)


def compare(name: str, ours, theirs) -> None:
    """Medians of alternating runs, so that a drift of the machine's speed hits both."""
    if theirs is None:
        line(name, median_seconds(ours, 9))
        return
    pairs = [(median_seconds(ours, 3), median_seconds(theirs, 1)) for _ in range(4)]
    line(name, *(float(np.median([p[i] for p in pairs])) for i in (0, 1)))


def bench_samplers(z) -> None:
    for n, L, kv in ((10_000, 64, 4), (1_000, 1024, 256), (100_000, 64, 4)):
        task = MQARConfig(num_examples=n, input_seq_len=L, num_kv_pairs=kv)
        ours = median_seconds(lambda t=task: t.build(1), 5, time.process_time)
        theirs = None
        if z is not None and n < 100_000:  # its memory for 100,000 is 6.9 GiB
            arguments = dict(vocab_size=8192, num_examples=n, input_seq_len=L, num_kv_pairs=kv, seed=1)
            theirs = median_seconds(lambda a=arguments: z.data.multiquery_ar(**a), 1, time.process_time)
        line(f"MQAR, {n:,} x {L}, {kv} pairs", ours, theirs, "CPU ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoology", type=Path, help="a checkout of HazyResearch/zoology")
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--json", type=Path, help="where to write what --against found")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads; medians")
    z = import_zoology(arguments.zoology) if arguments.zoology else None
    bench_memory()
    bench_samplers(z)
    bench_steps(z)
    if arguments.against:
        torch.set_num_threads(1)
        bench_against(arguments.against, arguments.json)


def bench_against(other: Path, path: Path | None) -> None:
    """One thread: CPU time then says nothing of how threads wait for one another."""
    here = provenance(torch.device("cpu"), now())
    rows = compare_steps(other)
    if path is not None:
        written = {"bench_schema_version": 1, "provenance": here.model_dump(), "before": commit_of(other), "rows": rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(written, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
