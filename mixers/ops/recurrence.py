"""One linear recurrence for all the gated and delta-rule mixers, and the choice of engine behind it.

    S_t = diag(exp(w_t)) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T        o_t = scale S_t^T q_t

| engine | where | what it is |
|---|---|---|
| ``reference`` | anywhere, any dtype | a loop over time: the definition, and the oracle in float64 |
| ``chunk`` | anywhere, any dtype | PyTorch: matrix products inside chunks of up to 64 tokens |
| ``cpu`` | CPU | compiled with numba: token after token, the state in cache |
| ``fla`` | CUDA, not float64 | flash-linear-attention's Triton kernels |

``auto`` takes for CPU tensors ``cpu``, or ``chunk`` where that is faster; for CUDA tensors ``fla`` where it can run and
``chunk`` otherwise; and a plain step for T = 1. An engine asked for by name that cannot run is an error, never replaced
by another. 16-bit inputs are computed in float32 by all but ``fla``, whose matrix products are then in 16 bits, and in
TF32 for float32 where the GPU has it. ``cpu`` cannot be differentiated twice.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mixers.base import EngineChoice, TensorKind
from mixers.ops.recurrence_chunk import CHUNK, recurrence_chunk
from mixers.ops.recurrence_reference import recurrence_reference
from mixers.ops.recurrence_step import recurrence_step

Engine = Literal["auto", "reference", "chunk", "cpu", "fla"]
Chosen = Literal["reference", "chunk", "cpu", "fla", "step"]

#: fla's kernels for the delta rules hold a whole key in one block.
FLA_DELTA_WIDTH = 256
#: The largest state of a head, K times V, for which the compiled engine is faster than ``chunk``, without and with a
#: and b (``python tests/recurrence_speed.py --engines``).
CPU_STATE = {False: 64 * 64, True: 128 * 128}
#: The same for a sequence of one chunk, through which ``chunk`` carries no state.
CPU_STATE_OF_ONE_CHUNK = {False: 0, True: 32 * 32}


def fla_refusal(q: Tensor | TensorKind, v: Tensor | TensorKind, delta: bool) -> str | None:
    """Why fla cannot run the recurrence (``delta``: with a and b) for tensors like these; None if it can."""
    K, V = q.shape[-1], v.shape[-1]
    if q.device.type != "cuda":
        return f"needs CUDA tensors, got tensors on {q.device}"
    if q.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"takes float32, bfloat16 or float16, got {q.dtype}"
    if delta and K > FLA_DELTA_WIDTH:
        return f"takes a head dimension of at most {FLA_DELTA_WIDTH} with a and b, got K = {K}"
    if q.dtype != torch.float32 and (K % 2 or V % 2):
        return f"takes even head dimensions in 16 bits, got K = {K} and V = {V}"
    if not importlib.util.find_spec("fla"):
        return "needs the package fla: pip install flash-linear-attention"
    return None


def cpu_refusal(q: Tensor | TensorKind) -> str | None:
    """Why the compiled engine cannot run the recurrence for tensors like these; None if it can."""
    if q.device.type != "cpu":
        return f"needs CPU tensors, got tensors on {q.device}"
    if not importlib.util.find_spec("numba"):
        return "needs the package numba: pip install numba"
    return None


def decide_engine(
    engine: Engine, q: Tensor | TensorKind, v: Tensor | TensorKind, delta: bool
) -> tuple[Chosen, str | None]:
    """The engine that will run, and why not the device's fastest if that cannot.

    Raises:
        ValueError: the engine asked for by name cannot run.
    """
    if engine not in ("auto", "reference", "chunk", "cpu", "fla"):
        raise ValueError(f"unknown engine {engine!r}: use 'auto', 'reference', 'chunk', 'cpu' or 'fla'")
    if engine == "auto":
        if q.shape[1] == 1:
            return "step", None
        fastest: Literal["cpu", "fla"] = "fla" if q.device.type == "cuda" else "cpu"
        largest = (CPU_STATE if q.shape[1] > CHUNK else CPU_STATE_OF_ONE_CHUNK)[delta]
        if fastest == "cpu" and (q.device.type != "cpu" or q.shape[-1] * v.shape[-1] > largest):
            return "chunk", None
        refusal = _refusal(fastest, q, v, delta)
        return ("chunk", f"{fastest} {refusal}") if refusal else (fastest, None)
    if (engine == "cpu" or engine == "fla") and (refusal := _refusal(engine, q, v, delta)):
        raise ValueError(f"the recurrence's {engine} engine {refusal}; use engine='auto' or 'chunk'")
    return engine, None


def _refusal(engine: Literal["cpu", "fla"], q: Tensor | TensorKind, v: Tensor | TensorKind, delta: bool) -> str | None:
    return cpu_refusal(q) if engine == "cpu" else fla_refusal(q, v, delta)


def choose_engine(engine: Engine, q: Tensor | TensorKind, v: Tensor | TensorKind, delta: bool) -> Chosen:
    """The engine that will run; ``ValueError`` if the one asked for cannot."""
    return decide_engine(engine, q, v, delta)[0]


def engine_for(K: int, V: int, delta: bool, device: torch.device, dtype: torch.dtype, decoding: bool) -> EngineChoice:
    """What ``auto`` takes for heads of K by V, ``delta``: with a and b, and a sequence that is not short. See
    ``SequenceMixer.engine``."""
    length = 1 if decoding else CHUNK + 1
    q, v = (TensorKind((1, length, 1, width), dtype, device) for width in (K, V))
    return EngineChoice(*decide_engine("auto", q, v, delta))


def check_shapes(q: Tensor, v: Tensor, **others: tuple[Tensor | None, tuple[tuple[int, ...], ...]]) -> None:
    """``ValueError`` unless q is ``[B, T, H, K]``, v ``[B, T, H, V]`` and each other one of its shapes, or None."""
    if q.dim() != 4 or q.shape[1] < 1:
        raise ValueError(f"q must be [B, T, H, K] with T at least 1, got {list(q.shape)}")
    if v.dim() != 4 or v.shape[:3] != q.shape[:3]:
        raise ValueError(f"v must be [B, T, H, V] to go with q {list(q.shape)}, got {list(v.shape)}")
    for name, (tensor, shapes) in others.items():
        if tensor is not None and tuple(tensor.shape) not in shapes:
            expected = " or ".join(str(list(shape)) for shape in shapes)
            raise ValueError(
                f"{name} must be {expected} to go with q {list(q.shape)} and v {list(v.shape)},"
                f" got {list(tensor.shape)}"
            )


def engine_function(
    engine: Literal["reference", "chunk", "cpu", "step"],
) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """An engine's function of q, k, v, w, a, b, scale, initial state, and whether to return the final one."""
    if engine == "cpu":
        from mixers.ops.recurrence_cpu import recurrence_cpu  # numba is slow to import

        return recurrence_cpu
    return {"reference": recurrence_reference, "chunk": recurrence_chunk, "step": recurrence_step}[engine]


def run_wide(
    operation: Callable[..., tuple[Tensor, Tensor | None]],
    tensors: tuple[Tensor | None, ...],
    scale: float,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """An operation on (q, k, v and more), in one dtype of 32 bits at least, also under autocast."""
    q = tensors[0]
    assert q is not None
    wide = torch.float32
    for tensor in (*tensors, initial_state):
        if tensor is not None:
            wide = torch.promote_types(wide, tensor.dtype)
    with torch.autocast(q.device.type, enabled=False):
        arguments = (None if tensor is None else tensor.to(wide) for tensor in tensors)
        state = None if initial_state is None else initial_state.to(wide)
        o, state = operation(*arguments, scale, state, output_final_state)
    return o.to(q.dtype), state


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    scale: float = 1.0,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    engine: Engine = "auto",
) -> tuple[Tensor, Tensor | None]:
    """The recurrence above over a sequence, any length, differentiable in everything.

    Args:
        q, k: ``[B, T, H, K]``.
        v: ``[B, T, H, V]``.
        w: log-decay, at most 0: none, one per head ``[B, T, H]``, or one per channel ``[B, T, H, K]``. Any strength;
            -inf forgets everything.
        a, b: of the rank-one update, ``[B, T, H, K]``; both or neither. a meets the state before its decay.
        scale: of the output.
        initial_state: S_0 ``[B, H, K, V]``; default 0. Not modified.
        output_final_state: also return S_T.
        engine: which, see the module.

    Returns:
        o ``[B, T, H, V]`` in q's dtype, and S_T ``[B, H, K, V]``, float32 for 16-bit inputs, or None if it was not
        asked for.

    Raises:
        ValueError: shapes that do not fit, a without b, or an engine that cannot run here.
    """
    if (a is None) != (b is None):
        raise ValueError("a and b go together: give both or neither")
    wide = tuple(q.shape)
    check_shapes(
        q,
        v,
        k=(k, (wide,)),
        w=(w, (wide[:3], wide)),
        a=(a, (wide,)),
        b=(b, (wide,)),
        initial_state=(initial_state, ((wide[0], *wide[2:], v.shape[-1]),)),
    )
    chosen = choose_engine(engine, q, v, a is not None)
    if chosen == "fla":
        from mixers.ops.recurrence_fla import recurrence_fla  # fla is slow to import, and optional

        return recurrence_fla(q, k, v, w, a, b, scale, initial_state, output_final_state)
    return run_wide(engine_function(chosen), (q, k, v, w, a, b), scale, initial_state, output_final_state)
