"""fla's operations, to stand beside ours: Triton kernels on a GPU, its PyTorch (``naive``) ones on a CPU.

fla is imported when a peer is made and not before. Inputs are drawn in the range that a trained layer has: normal
queries, keys and values, log-decays from ``logsigmoid``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mqar_bench.perf.inputs import draw_normal, make_generator

#: A call that returns the output ``[B, T, H, d]``, and what it is differentiated in.
Peer = tuple[Callable[[], Tensor], tuple[Tensor, ...]]


def gla_name(device: torch.device) -> str:
    return "fla chunk_gla" if device.type == "cuda" else "fla naive gla"


def delta_name(device: torch.device) -> str:
    return "fla chunk_gated_delta_rule" if device.type == "cuda" else "fla naive gated_delta_rule"


def gla_decode_name(device: torch.device) -> str:
    return "fla fused_recurrent_gla" if device.type == "cuda" else "fla naive gla"


def gla_operation(device: torch.device) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """``(q, k, v, log-decay)``, all ``[B, T, H, d]``, to the output and no state; fla's fastest for training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fla says at length that there is no GPU
        if device.type == "cuda":
            from fla.ops.gla import chunk_gla

            return chunk_gla
        from fla.ops.gla.naive import naive_recurrent_gla

        return naive_recurrent_gla


def gated_linear_attention(
    batch: int, length: int, heads: int, width: int, dtype: torch.dtype, device: torch.device
) -> Peer:
    """GLA with d_k = d_v = ``width``."""
    operation = gla_operation(device)
    g = make_generator(device, 1)
    q, k, v, gate = (draw_normal(g, batch, length, heads, width, dtype=dtype) for _ in range(4))
    leaves = tuple(t.requires_grad_() for t in (q, k, v, F.logsigmoid(gate)))
    return lambda: operation(*leaves)[0], leaves


def gated_delta_rule(batch: int, length: int, heads: int, width: int, dtype: torch.dtype, device: torch.device) -> Peer:
    """Gated DeltaNet's operation with d_k = d_v = ``width``; queries and keys of length one, log-decays in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule
        from fla.ops.gated_delta_rule.naive import naive_chunk_gated_delta_rule
    operation = chunk_gated_delta_rule if device.type == "cuda" else naive_chunk_gated_delta_rule
    g = make_generator(device, 2)
    q, k, v = (draw_normal(g, batch, length, heads, width, dtype=dtype) for _ in range(3))
    decay = F.logsigmoid(draw_normal(g, batch, length, heads))
    beta = draw_normal(g, batch, length, heads, dtype=dtype).sigmoid()
    leaves = tuple(t.requires_grad_() for t in (F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, decay, beta))
    q, k, v, decay, beta = leaves
    return lambda: operation(q, k, v, g=decay, beta=beta)[0], leaves


def gla_decoding(
    batch: int, heads: int, width: int, tokens: int, dtype: torch.dtype, device: torch.device
) -> Callable[[], object]:
    """A call that decodes ``tokens`` different tokens with GLA, one after another, from a float32 state d x d."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fla.ops.gla import fused_recurrent_gla
        from fla.ops.gla.naive import naive_recurrent_gla
    g = make_generator(device, 3)
    inputs = []
    for _ in range(tokens):
        q, k, v, gate = (draw_normal(g, batch, 1, heads, width, dtype=dtype) for _ in range(4))
        inputs.append((q, k, v, F.logsigmoid(gate)))
    start = draw_normal(g, batch, heads, width, width)
    on_gpu = device.type == "cuda"

    @torch.no_grad()
    def call() -> Tensor:
        state = start
        for q, k, v, gate in inputs:
            if on_gpu:
                o, state = fused_recurrent_gla(q, k, v, gk=gate, initial_state=state, output_final_state=True)
            else:
                o, state = naive_recurrent_gla(q, k, v, gate, initial_state=state, output_final_state=True)
        return o

    return call
