"""The operations of RAM-Net, ``decode_address``, ``pdma`` and ``ramnet_step``, and the choice of engine behind them.

| engine | where | what it is |
|---|---|---|
| ``reference`` | anywhere, any dtype | dense PyTorch: all M slots, a loop over time; the definition |
| ``cpu`` | CPU, float32 or float64 | compiled with numba; cost follows K, not M |
| ``triton`` | CUDA, float32, bfloat16 or float16 | fused Triton kernels; cost follows K, not M |

``auto`` takes ``cpu`` for CPU tensors, ``triton`` for CUDA tensors, and ``reference`` for what these cannot do (float64
on CUDA, 16 bits on the CPU). An engine asked for by name that cannot run is an error, never replaced by another. The
triton engine also runs on the CPU under Triton's interpreter, slowly: set ``TRITON_INTERPRET=1`` before importing
triton.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

import torch
from torch import Tensor

from mixers.base import TensorKind
from mixers.ramnet.address import cyclic_shift, decode_address_reference
from mixers.ramnet.memory import MemoryState, pdma_reference
from mixers.ramnet.step import step_dense, step_sparse

Backend = Literal["auto", "reference", "cpu", "triton"]
Engine = Literal["reference", "cpu", "triton"]


def refusal(engine: Literal["cpu", "triton"], like: Tensor | TensorKind) -> str | None:
    """Why a compiled engine cannot run for tensors like ``like``; None if it can."""
    on_cpu, on_cuda = like.device.type == "cpu", like.device.type == "cuda"
    if engine == "cpu":
        if not on_cpu or like.dtype not in (torch.float32, torch.float64):
            return f"takes float32 or float64 on the CPU, got {like.dtype} on {like.device}"
        return None
    if like.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"takes float32, bfloat16 or float16, got {like.dtype}"
    if not on_cuda and not (on_cpu and os.environ.get("TRITON_INTERPRET") == "1"):
        return (
            f"needs a CUDA device, got tensors on {like.device}, or TRITON_INTERPRET=1 set before triton is imported,"
            " which interprets it on the CPU"
        )
    return None if importlib.util.find_spec("triton") else "needs the package triton: pip install triton"


def decide_backend(backend: Backend, like: Tensor | TensorKind) -> tuple[Engine, str | None]:
    """The engine that will run for tensors like ``like``, and why ``auto`` passes over the compiled one if it does.

    Raises:
        ValueError: the engine asked for by name cannot run, or numba is missing.
    """
    chosen: Engine
    reason = None
    if backend == "auto":
        chosen = "triton" if like.device.type == "cuda" else "cpu"
        if problem := refusal(chosen, like):
            chosen, reason = "reference", f"{chosen} {problem}"
    elif backend in ("reference", "cpu", "triton"):
        chosen = backend
        if chosen != "reference" and (problem := refusal(chosen, like)):
            raise ValueError(f"RAM-Net's {chosen} engine {problem}; use backend='auto' or 'reference'")
    else:
        raise ValueError(f"unknown backend {backend!r}: use 'auto', 'reference', 'cpu' or 'triton'")
    if chosen == "cpu" and not importlib.util.find_spec("numba"):  # too slow without it to go unsaid under auto
        raise ValueError("RAM-Net's cpu engine needs the package numba: pip install numba, or use backend='reference'")
    return chosen, reason


def choose_backend(backend: Backend, like: Tensor | TensorKind) -> Engine:
    """The engine that will run for tensors like ``like``; ``ValueError`` if the one asked for cannot."""
    return decide_backend(backend, like)[0]


def _check_address(order: int, sub_dim: int, **tops: int) -> None:
    for name, top_k in tops.items():
        if not 1 <= top_k <= sub_dim**order:
            raise ValueError(
                f"{name} must be between 1 and the {sub_dim**order} slots of {sub_dim}^{order}, got {top_k}"
            )
    if sub_dim**order > 2**31 - 1:
        raise ValueError(f"slots are numbered in 32 bits, and {sub_dim}^{order} slots are more than that")


def decode_address(
    logits: Tensor,
    top_k: int,
    backend: Backend = "auto",
    position: Tensor | None = None,
    cape: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sparse addresses by product softmax and exact Top-K (equations 4 and 5 of arXiv 2602.11958), and CAPE.

    Args:
        logits: keys or queries as U sub-vectors, temperature applied, ``[..., U, d_p]``.
        top_k: K, the number of slots kept of the ``M = d_p ** U``.
        backend: which engine, see the module.
        position: for CAPE (equation 6), t of every token, ``[B, T]`` or ``[T]`` int64, counted from 0; logits are
            then ``[B, T, H, U, d_p]``.
        cape: the heads in which the entry at slot j moves to slot ``(j - t) mod M``, ``[H]`` bool.

    Returns:
        weights ``[..., K]``, descending and not renormalised, float32 (float64 for float64 logits), and their slots
        ``[..., K]`` int32, distinct; the first sub-vector is the most significant digit of a slot. Differentiable
        in ``logits``.

    Raises:
        ValueError: K outside 1..M, more slots than 32 bits number, one of ``position`` and ``cape`` without the
            other, or an engine that cannot run here.
    """
    order, sub_dim = logits.shape[-2:]
    _check_address(order, sub_dim, top_k=top_k)
    if (position is None) != (cape is None):
        raise ValueError("CAPE takes both position and cape")
    engine = choose_backend(backend, logits)
    if engine == "triton":
        from mixers.ramnet.address_triton import decode_address_triton  # triton is slow to import

        return decode_address_triton(logits, top_k, position, cape)
    if engine == "cpu":
        from mixers.ramnet.address_cpu import decode_address_cpu  # numba is slow to import

        weights, slots = decode_address_cpu(logits, top_k)
    else:
        weights, slots = decode_address_reference(logits, top_k)
    if position is not None and cape is not None:
        slots = cyclic_shift(slots, position, cape, sub_dim**order)
    return weights, slots


def pdma(
    w: Tensor,
    w_idx: Tensor,
    r: Tensor,
    r_idx: Tensor,
    v: Tensor,
    num_slots: int,
    gamma: float,
    eps: float,
    initial_state: MemoryState | None = None,
    output_final_state: bool = False,
    proxy_gradient: bool = True,
    backend: Backend = "auto",
) -> tuple[Tensor, MemoryState | None]:
    """Power Decay Moving Average memory over sparse addresses (equation 7 of arXiv 2602.11958).

    Per head, with ``a = (1 - w) ** gamma`` at the K written slots and 1 elsewhere: ``S = a S + w v``,
    ``z = a z + w``, then ``o = sum_k r_k S[i_k] / (z[i_k] + eps)``. The write comes before the read.

    Args:
        w, w_idx: write weights and slots, ``[B, T, H, K]`` (float, int32 or int64); a token's slots are distinct.
        r, r_idx: read weights and slots, ``[B, T, H, K']``; a token's slots are distinct.
        v: values, ``[B, T, H, D]``; with 16 bits, the arithmetic and the state are float32.
        num_slots: M.
        gamma: exponent of the decay, at least 0; 0 gives the weighted cumulative mean.
        eps: added to z in the read, and the smoothing of the proxy gradient; above 0.
        initial_state: S ``[B, H, M, D]`` and z ``[B, H, M]``; default S = 0, z = 1/M. Not modified.
        output_final_state: also return the state after the last token.
        proxy_gradient: differentiate the decay as ``(eps + (1 - eps)(1 - w)) ** gamma`` (paper, section 4); the
            forward is exact either way.
        backend: which engine, see the module.

    Returns:
        o ``[B, T, H, D]``, and the state (S, z), or None if it was not asked for. Differentiable in w, r, v and
        the initial state.

    Raises:
        ValueError: shapes that do not fit, gamma or eps out of range, an engine that cannot run here, or (except in
            the triton engine, where looking would hold up the GPU) slots outside 0..M-1.
    """
    B, T, H, D = v.shape
    for name, weights, slots in (("w", w, w_idx), ("r", r, r_idx)):
        if weights.shape != slots.shape or weights.shape[:3] != (B, T, H):
            raise ValueError(
                f"{name} and {name}_idx must be [{B}, {T}, {H}, K] like v {tuple(v.shape)},"
                f" got {tuple(weights.shape)} and {tuple(slots.shape)}"
            )
        if slots.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{name}_idx must be int32 or int64, got {slots.dtype}")
    if gamma < 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")
    if eps <= 0:
        raise ValueError(f"eps must be above 0, got {eps}")
    if initial_state is not None:
        shapes = tuple(initial_state[0].shape), tuple(initial_state[1].shape)
        if shapes != ((B, H, num_slots, D), (B, H, num_slots)):
            raise ValueError(
                f"initial_state must be S [{B}, {H}, {num_slots}, {D}] and z [{B}, {H}, {num_slots}],"
                f" got {shapes[0]} and {shapes[1]}"
            )
    arguments = (
        w,
        w_idx,
        r,
        r_idx,
        v,
        num_slots,
        gamma,
        eps,
        initial_state,
        output_final_state,
        proxy_gradient,
    )
    engine = choose_backend(backend, v)
    if engine == "triton":
        from mixers.ramnet.memory_triton import pdma_triton  # triton is slow to import

        return pdma_triton(*arguments)
    for name, slots in (("w_idx", w_idx), ("r_idx", r_idx)):
        # the compiled engine would write outside the memory
        if slots.numel() and not 0 <= int(slots.min()) <= int(slots.max()) < num_slots:
            raise ValueError(f"{name} has slots outside 0..{num_slots - 1}")
    if engine == "reference":
        return pdma_reference(*arguments)
    from mixers.ramnet.memory_cpu import pdma_cpu  # numba is slow to import

    return pdma_cpu(*arguments)


def ramnet_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    top_k: int,
    read_top_k: int,
    gamma: float,
    eps: float,
    alpha_q: Tensor | None = None,
    alpha_k: Tensor | None = None,
    position: Tensor | None = None,
    cape: Tensor | None = None,
    backend: Backend = "auto",
    normalize_reads: bool = False,
) -> Tensor:
    """One token of decoding for all heads: addresses, K slots written, K' slots read. No gradients.

    The same as ``decode_address`` and ``pdma`` on a sequence of one token, but **S, z and position are updated in
    place**, and only the slots concerned are touched (except by the reference). The triton engine is one launch,
    waits for nothing and allocates only its output, so it can be captured in a CUDA graph.

    Args:
        q, k: query and key as U sub-vectors, ``[B, H, U, d_p]``.
        v: value, ``[B, H, D]``.
        S, z: the memory, ``[B, H, M, D]`` and ``[B, H, M]``, contiguous, float32 (float64 for float64 values).
        top_k, read_top_k: K and K'.
        gamma, eps: see ``pdma``.
        alpha_q, alpha_k: temperatures, ``[H]``: logits are multiplied by ``exp(alpha)``; both or neither.
        position: for CAPE, t of the token, ``[B, H]`` int64, contiguous.
        cape: the heads that use CAPE, ``[H]`` bool.
        backend: which engine, see the module.
        normalize_reads: divide the K' weights of a read by their sum.

    Returns:
        o ``[B, H, D]``.

    Raises:
        ValueError: shapes or dtypes that do not fit, a memory that is not contiguous, half of a pair of arguments,
            or an engine that cannot run here.
    """
    B, H, order, sub_dim = q.shape
    D, M = v.shape[-1], sub_dim**order
    _check_address(order, sub_dim, top_k=top_k, read_top_k=read_top_k)
    wide = torch.promote_types(v.dtype, torch.float32)
    for name, tensor, shape, dtype in (
        ("k", k, (B, H, order, sub_dim), q.dtype),
        ("v", v, (B, H, D), v.dtype),
        ("S", S, (B, H, M, D), wide),
        ("z", z, (B, H, M), wide),
    ):
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name} must be {list(shape)} {dtype} to go with q {list(q.shape)} and v {list(v.shape)},"
                f" got {list(tensor.shape)} {tensor.dtype}"
            )
    if not (S.is_contiguous() and z.is_contiguous()):
        raise ValueError("S and z must be contiguous: they are updated in place")
    for left, right, names in ((alpha_q, alpha_k, "alpha_q and alpha_k"), (position, cape, "position and cape")):
        if (left is None) != (right is None):
            raise ValueError(f"{names} go together: give both or neither")
    engine = choose_backend(backend, v)
    with torch.no_grad():
        if engine == "triton":
            from mixers.ramnet.step_triton import step_triton  # triton is slow to import

            return step_triton(
                q, k, v, S, z, top_k, read_top_k, float(gamma), float(eps), alpha_q, alpha_k, position, cape,
                normalize_reads,
            )  # fmt: skip
        if alpha_q is not None and alpha_k is not None:
            q, k = q * alpha_q.exp()[:, None, None], k * alpha_k.exp()[:, None, None]
        here = None if position is None else position[:, :1]
        w, w_idx = decode_address(k[:, None], top_k, engine, here, cape)
        r, r_idx = decode_address(q[:, None], read_top_k, engine, here, cape)
        if normalize_reads:
            r = r / r.sum(-1, keepdim=True)
        if position is not None:
            position += 1
        step = step_dense if engine == "reference" else step_sparse
        return step(w[:, 0], w_idx[:, 0], r[:, 0], r_idx[:, 0], v, S, z, gamma, eps)
