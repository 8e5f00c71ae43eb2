"""The selective scan of Mamba: a decay per channel and entry of its state, which the token chooses."""

from __future__ import annotations

import torch
from torch import Tensor

from mixers.ops.scan import Engine, Scan, in_chunks, run_scan

#: Tokens whose states are computed at once.
CHUNK = 16


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial_state: Tensor | None = None,
    engine: Engine = "auto",
) -> tuple[Tensor, Tensor]:
    """``h_t[d, n] = exp(dt_t[d] A[d, n]) h_{t-1}[d, n] + dt_t[d] B_t[n] x_t[d]``, ``y_t[d] = sum_n C_t[n] h_t[d, n]``.

    Any length, differentiable in everything.

    Args:
        x: ``[B, T, D]``, T at least 1.
        dt: ``[B, T, D]``, at least 0.
        A: ``[D, N]``, at most 0.
        B, C: ``[B, T, N]``.
        initial_state: h_0 ``[B, D, N]``; default 0. Not modified.
        engine: which, see ``mixers.ops.scan``.

    Returns:
        y ``[B, T, D]`` in x's dtype, and h_T ``[B, D, N]``, float32 for 16-bit inputs.

    Raises:
        ValueError: shapes that do not fit, or an engine that cannot run here.
    """
    if x.dim() != 3 or x.shape[1] < 1 or A.dim() != 2:
        raise ValueError(
            f"x must be [B, T, D] with T at least 1, and A [D, N], got {list(x.shape)} and {list(A.shape)}"
        )
    batch, T, D = x.shape
    N = A.shape[1]
    if initial_state is None:
        initial_state = x.new_zeros(batch, D, N)
    wanted = {"dt": (dt, [batch, T, D]), "A": (A, [D, N]), "B": (B, [batch, T, N]), "C": (C, [batch, T, N])}
    for name, (tensor, shape) in {**wanted, "initial_state": (initial_state, [batch, D, N])}.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} to go with x {list(x.shape)}, got {list(tensor.shape)}")
    y, h = run_scan(engine, {"torch": lambda: _torch, "cpu": _compiled}, (x, dt, B, C, A, initial_state))
    return y, h


def _compiled() -> Scan:
    from mixers.ops.selective_scan_cpu import selective_scan_cpu  # numba is slow to import

    return selective_scan_cpu


def _torch(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return in_chunks(_chunk, CHUNK, (x, dt, B, C), (A,), (h,))


def _chunk(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """All states of a chunk at once: from each token over the one before it, over the two, the four before it."""
    decays = (dt.unsqueeze(-1) * A).exp()  # [B, T, D, N]
    states = (dt * x).unsqueeze(-1) * B.unsqueeze(-2)
    first = torch.addcmul(states[:, :1], decays[:, :1], h.unsqueeze(1))
    states = torch.cat([first, states[:, 1:]], 1)
    step = 1
    while step < x.shape[1]:
        reached = torch.addcmul(states[:, step:], decays[:, step:], states[:, :-step])
        states = torch.cat([states[:, :step], reached], 1)
        decays = torch.cat([decays[:, :step], decays[:, step:] * decays[:, :-step]], 1)
        step *= 2
    return (states @ C.unsqueeze(-1)).squeeze(-1), states[:, -1]
