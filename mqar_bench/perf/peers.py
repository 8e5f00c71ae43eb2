"""fla's operations, to stand beside ours: Triton kernels on a GPU, its PyTorch (``naive``) ones on a CPU.

fla is imported when a peer is made and not before. Inputs are drawn in the range that a trained layer has: normal
queries, keys and values, log-decays from ``logsigmoid``.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mqar_bench.perf.inputs import draw_normal, make_generator
from mqar_bench.perf.shape import Shape

#: By the type of the device.
GLA = {"cuda": "fla chunk_gla", "cpu": "fla naive gla"}
DELTA = {"cuda": "fla chunk_gated_delta_rule", "cpu": "fla naive gated_delta_rule"}
GLA_DECODING = {"cuda": "fla fused_recurrent_gla", "cpu": "fla naive gla"}

#: A call that returns the output ``[B, T, H, d]``, and what it is differentiated in.
Peer = tuple[Callable[[], Tensor], tuple[Tensor, ...]]


def gated_linear_attention(shape: Shape, width: int, device: torch.device) -> Peer:
    """GLA with d_k = d_v = ``width``."""
    on_gpu = device.type == "cuda"
    operation = _load("gla", "chunk_gla") if on_gpu else _load("gla.naive", "naive_recurrent_gla")
    g = make_generator(device, 1)
    q, k, v, gate = (draw_normal(g, *shape.tokens, width, dtype=shape.torch_dtype) for _ in range(4))
    leaves = tuple(t.requires_grad_() for t in (q, k, v, F.logsigmoid(gate)))
    return lambda: operation(*leaves)[0], leaves


def gated_delta_rule(shape: Shape, width: int, device: torch.device) -> Peer:
    """Gated DeltaNet's operation with d_k = d_v = ``width``; queries and keys of length one, log-decays in float32."""
    on_gpu = device.type == "cuda"
    where, name = ("gated_delta_rule", "chunk") if on_gpu else ("gated_delta_rule.naive", "naive_chunk")
    operation = _load(where, f"{name}_gated_delta_rule")
    g = make_generator(device, 2)
    q, k, v = (draw_normal(g, *shape.tokens, width, dtype=shape.torch_dtype) for _ in range(3))
    decay = F.logsigmoid(draw_normal(g, *shape.tokens))
    beta = draw_normal(g, *shape.tokens, dtype=shape.torch_dtype).sigmoid()
    leaves = tuple(t.requires_grad_() for t in (F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, decay, beta))
    q, k, v, decay, beta = leaves
    return lambda: operation(q, k, v, g=decay, beta=beta)[0], leaves


def gla_decoding(shape: Shape, width: int, tokens: int, device: torch.device) -> Callable[[], object]:
    """A call that decodes ``tokens`` different tokens with GLA, one after another, from a float32 state d x d."""
    on_gpu = device.type == "cuda"
    operation = _load("gla", "fused_recurrent_gla") if on_gpu else _load("gla.naive", "naive_recurrent_gla")
    g, batch, heads = make_generator(device, 3), shape.decode_batch, shape.heads
    inputs = []
    for _ in range(tokens):
        q, k, v, gate = (draw_normal(g, batch, 1, heads, width, dtype=shape.torch_dtype) for _ in range(4))
        inputs.append({"q": q, "k": k, "v": v, "gk": F.logsigmoid(gate)})
    start = draw_normal(g, batch, heads, width, width)

    @torch.no_grad()
    def call() -> Tensor:
        state = start
        for token in inputs:
            o, state = operation(**token, initial_state=state, output_final_state=True)
        return o

    return call


def _load(module: str, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fla says at length that there is no GPU
        return getattr(importlib.import_module(f"fla.ops.{module}"), name)
