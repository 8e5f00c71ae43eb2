"""Time the chunked recurrence on the CPU beside fla's PyTorch operations: forward and backward, one thread.

    python tests/recurrence_speed.py [--repeats 7] [--kind gla ...] [--json speed.json]
    python tests/recurrence_speed.py --engines [--repeats 7] [--kind gla ...]

CPU time, the least of several runs, each operation in turn so that all share the machine's moods; errors are of the
output and of the worst gradient against a float64 loop over time, relative to the largest element. "best" is the
fastest of fla's PyTorch operations for the recurrence, "step" its loop over time. With ``--engines``, how many times
faster the compiled engine is than the chunked one, by length and size of the heads: what ``auto`` goes by.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.recurrence import Engine, recurrence

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # fla says at length that there is no GPU
    from fla.ops.delta_rule.naive import delta_rule_chunkwise, delta_rule_parallel, delta_rule_recurrence
    from fla.ops.gated_delta_rule.naive import naive_chunk_gated_delta_rule, naive_recurrent_gated_delta_rule
    from fla.ops.generalized_delta_rule.dplr.naive import dplr_chunkwise, dplr_recurrence
    from fla.ops.gla.naive import naive_recurrent_gla
    from fla.ops.kda.naive import naive_chunk_kda, naive_recurrent_kda
    from fla.ops.linear_attn.naive import naive_chunk_linear_attn, naive_recurrent_linear_attn
    from fla.ops.simple_gla.naive import (
        naive_chunk_simple_gla,
        naive_parallel_simple_gla,
        naive_recurrent_simple_gla,
    )

#: batch, length, heads, head dimension.
SHAPES = {"64x64x2x32": (64, 64, 2, 32), "16x256x2x64": (16, 256, 2, 64)}
#: Of ``--engines``.
LENGTHS, WIDTHS = (16, 32, 64, 128, 512), (16, 32, 64, 128)
Operation = Callable[..., Tensor]


def first(operation: Callable) -> Operation:
    """Only the output, of an operation that may return a state as well."""

    def call(*inputs: Tensor) -> Tensor:
        result = operation(*inputs)
        return result[0] if isinstance(result, tuple) else result

    return call


def head_first(operation: Callable) -> Operation:
    """The same for one that takes ``[B, H, T, D]``: timed on such tensors, without the transposition."""
    call = first(operation)
    call.head_first = True  # type: ignore[attr-defined]
    return call


def draw(kind: str, shape: tuple[int, int, int, int]) -> list[Tensor]:
    """Inputs of a kind, in the order that its operations take."""
    g = torch.Generator().manual_seed(0)
    B, T, H, D = shape
    q, k, v, x, y = (torch.randn(B, T, H, D, generator=g) for _ in range(5))
    q_n, k_n = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    scalar, beta = torch.randn(B, T, H, generator=g), torch.randn(B, T, H, generator=g).sigmoid()
    return {
        "linear": [q, k, v],
        "scalar decay": [q, k, v, -F.softplus(scalar - 2)],
        "gla": [q, k, v, F.logsigmoid(x) / 16],
        "hgrn2": [q, x.sigmoid(), v, F.logsigmoid(-x)],
        "hgrn2, strong": [q, (4 * x).sigmoid(), v, F.logsigmoid(-4 * x - 12)],
        "delta": [q_n, k_n, v, beta],
        "gated delta": [q_n, k_n, v, beta, -F.softplus(scalar - 2)],
        "kda": [q_n, k_n, v, beta, F.logsigmoid(x) / 16],
        "rwkv7": [q, k, v, -k_n, k_n * y.sigmoid(), -0.6065 * x.sigmoid()],
    }[kind]


def ours(kind: str, engine: Engine) -> Operation:
    def call(*inputs: Tensor) -> Tensor:
        q, k, v, *rest = inputs
        scale = q.shape[-1] ** -0.5
        if kind in ("delta", "gated delta", "kda"):
            g = rest[1] if len(rest) > 1 else None
            return gated_delta_rule(q, k, v, rest[0], g, scale, engine=engine)[0]
        w, a, b = (*rest, None, None, None)[:3]
        if kind == "rwkv7":
            a, b, w = rest
        return recurrence(q, k, v, w, a, b, scale, engine=engine)[0]

    return call


#: fla's loop over time, and its other operations, on the inputs of ``draw``.
PEERS: dict[str, tuple[Operation, dict[str, Operation]]] = {
    "linear": (first(naive_recurrent_linear_attn), {"naive_chunk_linear_attn": first(naive_chunk_linear_attn)}),
    "scalar decay": (
        first(naive_recurrent_simple_gla),
        {
            "naive_chunk_simple_gla": first(naive_chunk_simple_gla),
            "naive_parallel_simple_gla": first(naive_parallel_simple_gla),
        },
    ),
    "gla": (first(naive_recurrent_gla), {}),
    "hgrn2": (first(naive_recurrent_gla), {}),
    "hgrn2, strong": (first(naive_recurrent_gla), {}),
    "delta": (
        head_first(delta_rule_recurrence),
        {
            "delta_rule_chunkwise": head_first(delta_rule_chunkwise),
            "delta_rule_parallel": head_first(lambda *x: delta_rule_parallel(*x, BM=64)),
        },
    ),
    "gated delta": (
        first(naive_recurrent_gated_delta_rule),
        {
            "naive_chunk_gated_delta_rule": first(
                lambda q, k, v, beta, g: naive_chunk_gated_delta_rule(q, k, v, g, beta)
            )
        },
    ),
    "kda": (
        first(lambda q, k, v, beta, w: naive_recurrent_kda(q, k, v, w, beta)),
        {"naive_chunk_kda": first(lambda q, k, v, beta, w: naive_chunk_kda(q, k, v, w, beta))},
    ),
    "rwkv7": (head_first(dplr_recurrence), {"dplr_chunkwise": head_first(dplr_chunkwise)}),
}


class Run:
    """Forward and backward of one operation, and the least CPU time it took."""

    def __init__(self, operation: Operation, inputs: list[Tensor], gradient: Tensor) -> None:
        self.operation, self.least = operation, float("inf")
        self.head_first = getattr(operation, "head_first", False)
        if self.head_first:
            inputs = [x.transpose(1, 2).contiguous() for x in inputs]
            gradient = gradient.transpose(1, 2).contiguous()
        self.leaves, self.gradient = [x.detach().clone().requires_grad_() for x in inputs], gradient

    def results(self) -> list[Tensor]:
        o = self.operation(*self.leaves)
        return [o.detach(), *torch.autograd.grad(o, self.leaves, self.gradient)]

    def time(self) -> float:
        start = time.process_time()
        self.results()
        seconds = time.process_time() - start
        self.least = min(self.least, seconds)
        return seconds

    def error(self, expected: list[Tensor]) -> float:
        got = [x.transpose(1, 2) if self.head_first else x for x in self.results()]
        return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(got, expected, strict=True))


def measure(kind: str, shape: tuple[int, int, int, int], repeats: int) -> dict[str, object]:
    inputs = draw(kind, shape)
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    step, others = PEERS[kind]
    runs = {"ours": Run(ours(kind, "chunk"), inputs, gradient), "step": Run(step, inputs, gradient)}
    runs |= {name: Run(operation, inputs, gradient) for name, operation in others.items()}
    exact = Run(ours(kind, "reference"), [x.double() for x in inputs], gradient.double()).results()
    errors = {name: run.error(exact) for name, run in runs.items()}  # also the warm-up
    for name, error in errors.items():
        if not error < 1e-3:
            print(f"{kind}: {name} is wrong by {error:.1e} and is left out")
            if name != "ours":
                del runs[name]
    for _ in range(repeats):
        for run in runs.values():
            run.time()
    best = min((name for name in runs if name != "ours"), key=lambda name: runs[name].least)
    return {
        "kind": kind,
        "seconds": runs["ours"].least,
        "error": errors["ours"],
        "best": best,
        "best_seconds": runs[best].least,
        "best_error": errors[best],
        "step_seconds": runs["step"].least,
    }


def compare_engines(kinds: list[str], repeats: int) -> None:
    """Medians of the ratio, the engines in turn."""
    print(f"chunk / cpu    {'K = V':>5}" + "".join(f"{f'T {length}':>8}" for length in LENGTHS))
    for kind in kinds:
        for width in WIDTHS:
            ratios = []
            for length in LENGTHS:
                shape = (max(1, min(48, 2**22 // (length * width * width))), length, 2, width)
                inputs, gradient = draw(kind, shape), torch.ones(shape)
                runs = [Run(ours(kind, engine), inputs, gradient) for engine in ("chunk", "cpu")]
                assert runs[1].error(runs[0].results()) < 1e-3
                ratios.append(statistics.median(runs[0].time() / runs[1].time() for _ in range(repeats)))
            print(f"{kind:14} {width:5d}" + "".join(f"{ratio:8.2f}" for ratio in ratios), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--kind", choices=PEERS, action="append")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--engines", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.engines:
        compare_engines(options.kind or list(PEERS), options.repeats)
        return
    rows = []
    print(
        f"{'B x T x H x D':14} {'kind':14} {'ours ms':>8} {'error':>8} {'best ms':>8} {'error':>8} {'best/':>6}", end=""
    )
    print(f" {'step ms':>8} {'step/':>6}  best of fla's")
    for name, shape in SHAPES.items():
        for kind in options.kind or PEERS:
            row = {"shape": name} | measure(kind, shape, options.repeats)
            rows.append(row)
            s, best, step = (float(row[key]) * 1e3 for key in ("seconds", "best_seconds", "step_seconds"))  # type: ignore
            print(
                f"{name:14} {kind:14} {s:8.1f} {row['error']:8.1e} {best:8.1f} {row['best_error']:8.1e} {best / s:6.2f}"
                f" {step:8.1f} {step / s:6.2f}  {row['best']}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
