"""Recurrences whose state is numbers by themselves, and the choice of engine behind them.

| engine | where | what it is |
|---|---|---|
| ``torch`` | anywhere, any dtype | PyTorch: chunks one after the other, in each all states at once by doubling |
| ``cpu`` | CPU | compiled with numba: token after token, the state in registers and cache |

``auto`` takes ``cpu`` for sequences on the CPU, and ``torch`` for a single token and elsewhere. 16-bit inputs are
computed in float32. ``cpu`` cannot be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mixers.base import EngineChoice, TensorKind
from mixers.ops.recurrence import cpu_refusal

Engine = Literal["auto", "torch", "cpu"]
Chosen = Literal["torch", "cpu"]
#: What an engine takes and returns: sequences ``[B, T, ..]``, weights, and states; outputs, and the states after them.
Scan = Callable[..., tuple[Tensor, ...]]


def decide_engine(engine: Engine, x: Tensor | TensorKind) -> tuple[Chosen, str | None]:
    """The engine that will run for sequences like x ``[B, T, ..]``, and why not the device's fastest if that cannot.

    Raises:
        ValueError: the engine asked for by name cannot run.
    """
    if engine not in ("auto", "torch", "cpu"):
        raise ValueError(f"unknown engine {engine!r}: use 'auto', 'torch' or 'cpu'")
    if engine == "torch" or (engine == "auto" and (x.device.type != "cpu" or x.shape[1] == 1)):
        return "torch", None
    if refusal := cpu_refusal(x):
        if engine == "auto":
            return "torch", f"cpu {refusal}"
        raise ValueError(f"the scan's cpu engine {refusal}; use engine='auto' or 'torch'")
    return "cpu", None


def choose_engine(engine: Engine, x: Tensor | TensorKind) -> Chosen:
    """The engine that will run; ``ValueError`` if the one asked for cannot."""
    return decide_engine(engine, x)[0]


def engine_for(device: torch.device, dtype: torch.dtype, decoding: bool) -> EngineChoice:
    """What ``auto`` takes. See ``SequenceMixer.engine``."""
    return EngineChoice(*decide_engine("auto", TensorKind((1, 1 if decoding else 2, 1), dtype, device)))


def run_scan(
    engine: Engine, engines: dict[Chosen, Callable[[], Scan]], tensors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """What the chosen engine makes of tensors, of which the first is a sequence ``[B, T, ..]``: in one dtype of 32 bits
    at least, also under autocast; the outputs in the first one's dtype, and the states.

    ``engines`` bring theirs when they are asked, for numba is slow to import.
    """
    x, wide = tensors[0], torch.float32
    scan = engines[choose_engine(engine, x)]()
    for tensor in tensors:
        wide = torch.promote_types(wide, tensor.dtype)
    with torch.autocast(x.device.type, enabled=False):
        y, *states = scan(*(tensor.to(wide) for tensor in tensors))
    return y.to(x.dtype), *states


def in_chunks(
    scan: Scan, length: int, sequences: Sequence[Tensor], weights: Sequence[Tensor], states: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """``scan`` of chunk after chunk of so many tokens; only their inputs are kept for the gradients."""
    outputs = []
    needed = torch.is_grad_enabled() and sequences[0].shape[1] > length
    for pieces in zip(*(sequence.split(length, 1) for sequence in sequences), strict=True):
        if needed:
            y, *after = checkpoint(scan, *pieces, *weights, *states, use_reentrant=False, preserve_rng_state=False)
        else:
            y, *after = scan(*pieces, *weights, *states)
        states = tuple(after)
        outputs.append(y)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1), *states
