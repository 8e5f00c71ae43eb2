"""The two operations of RAM-Net, ``decode_address`` and ``pdma``, and the choice of engine behind them.

| engine | where | what it is |
|---|---|---|
| ``reference`` | anywhere, any dtype | dense PyTorch: all M slots, a loop over time; the definition |
| ``cpu`` | CPU, float32 or float64 | compiled with numba; cost follows K, not M |

``auto`` takes ``cpu`` for CPU tensors and ``reference`` elsewhere. An engine asked for by name that cannot run
is an error, never replaced by another.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mixers.ramnet.address import decode_address_reference
from mixers.ramnet.memory import MemoryState, pdma_reference

Backend = Literal["auto", "reference", "cpu", "triton"]


def choose_backend(backend: Backend, like: Tensor) -> Literal["reference", "cpu"]:
    """The engine that will run for tensors like ``like``; ``ValueError`` if the one asked for cannot."""
    runs_compiled = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    if backend == "auto":
        return "cpu" if runs_compiled else "reference"
    if backend == "reference":
        return "reference"
    if backend == "cpu":
        if not runs_compiled:
            raise ValueError(
                f"RAM-Net's cpu engine takes float32 or float64 on the CPU, got {like.dtype} on {like.device};"
                " move the tensors or use backend='reference'"
            )
        return "cpu"
    if backend == "triton":
        raise ValueError("RAM-Net has no triton engine in this version; use backend='auto', 'cpu' or 'reference'")
    raise ValueError(f"unknown backend {backend!r}: use 'auto', 'reference', 'cpu' or 'triton'")


def decode_address(logits: Tensor, top_k: int, backend: Backend = "auto") -> tuple[Tensor, Tensor]:
    """Sparse addresses by product softmax and exact Top-K (equations 4 and 5 of arXiv 2602.11958).

    Args:
        logits: keys or queries as U sub-vectors, temperature applied, ``[..., U, d_p]``.
        top_k: K, the number of slots kept of the ``M = d_p ** U``.
        backend: which engine, see the module.

    Returns:
        weights ``[..., K]``, descending and not renormalised, and their slots ``[..., K]`` int64, distinct; the
        first sub-vector is the most significant digit of a slot. Differentiable in ``logits``.

    Raises:
        ValueError: K outside 1..M, or an engine that cannot run here.
    """
    order, sub_dim = logits.shape[-2:]
    if not 1 <= top_k <= sub_dim**order:
        raise ValueError(f"top_k must be between 1 and the {sub_dim**order} slots of {sub_dim}^{order}, got {top_k}")
    if choose_backend(backend, logits) == "reference":
        return decode_address_reference(logits, top_k)
    from mixers.ramnet.address_cpu import decode_address_cpu  # numba is slow to import

    return decode_address_cpu(logits, top_k)


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
        w, w_idx: write weights and slots, ``[B, T, H, K]`` (float, int64); a token's slots are distinct.
        r, r_idx: read weights and slots, ``[B, T, H, K']``; a token's slots are distinct.
        v: values, ``[B, T, H, D]``.
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
        ValueError: shapes that do not fit, gamma or eps out of range, or an engine that cannot run here.
    """
    B, T, H, D = v.shape
    for name, weights, slots in (("w", w, w_idx), ("r", r, r_idx)):
        if weights.shape != slots.shape or weights.shape[:3] != (B, T, H):
            raise ValueError(
                f"{name} and {name}_idx must be [{B}, {T}, {H}, K] like v {tuple(v.shape)},"
                f" got {tuple(weights.shape)} and {tuple(slots.shape)}"
            )
        if slots.dtype != torch.int64:
            raise ValueError(f"{name}_idx must be int64, got {slots.dtype}")
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
    if choose_backend(backend, v) == "reference":
        return pdma_reference(*arguments)
    for name, slots in (("w_idx", w_idx), ("r_idx", r_idx)):
        # the compiled engine would write outside the memory
        if slots.numel() and not 0 <= int(slots.min()) <= int(slots.max()) < num_slots:
            raise ValueError(f"{name} has slots outside 0..{num_slots - 1}")
    from mixers.ramnet.memory_cpu import pdma_cpu  # numba is slow to import

    return pdma_cpu(*arguments)
