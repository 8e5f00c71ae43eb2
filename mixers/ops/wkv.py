"""The average over the past of RWKV-4, weighted by keys that decay, in a form that no key can overflow."""

from __future__ import annotations

import torch
from torch import Tensor

from mixers.ops.scan import Engine, Scan, in_chunks, run_scan

#: Tokens whose states are computed at once.
CHUNK = 64
#: The largest exponent before the first token: there is nothing.
NOTHING = -1e38


def wkv(
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    initial_state: tuple[Tensor, Tensor, Tensor] | None = None,
    engine: Engine = "auto",
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """``y_t = (p_{t-1} + e^(u + k_t) v_t) / (q_{t-1} + e^(u + k_t))`` per channel, of the sums

        p_t = e^w p_{t-1} + e^(k_t) v_t        q_t = e^w q_{t-1} + e^(k_t)

    which are held as multiples of ``e^o``, o the largest exponent in them. Any length, differentiable in everything.

    Args:
        k, v: ``[B, T, C]``, T at least 1.
        w: log-decay, at most 0, ``[C]``.
        u: what the current token's key has more, ``[C]``.
        initial_state: p, q, o before the first token, ``[B, C]`` each; default 0, 0, ``NOTHING``. Not modified.
        engine: which, see ``mixers.ops.scan``.

    Returns:
        y ``[B, T, C]`` in k's dtype, and p, q, o after the last token, ``[B, C]``, float32 for 16-bit inputs.
        Gradients of what depends on ``e^o p`` and ``e^o q`` are right; those of o alone are up to the engine.

    Raises:
        ValueError: shapes that do not fit, or an engine that cannot run here.
    """
    if k.dim() != 3 or k.shape[1] < 1:
        raise ValueError(f"k must be [B, T, C] with T at least 1, got {list(k.shape)}")
    batch, _, channels = k.shape
    if initial_state is None:
        zeros = k.new_zeros(batch, channels)
        initial_state = zeros, zeros, nothing_yet(zeros)
    p, q, o = initial_state
    wanted = {"v": (v, k.shape), "w": (w, (channels,)), "u": (u, (channels,))}
    states = {name: (state, (batch, channels)) for name, state in zip("pqo", initial_state, strict=True)}
    for name, (tensor, shape) in {**wanted, **states}.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {list(shape)} to go with k {list(k.shape)}, got {list(tensor.shape)}")
    y, p, q, o = run_scan(engine, {"torch": lambda: _torch, "cpu": _compiled}, (k, v, w, u, p, q, o))
    return y, (p, q, o)


def nothing_yet(like: Tensor) -> Tensor:
    """o before the first token, of the shape and dtype of another."""
    return torch.full_like(like, max(NOTHING, torch.finfo(like.dtype).min))


def _compiled() -> Scan:
    from mixers.ops.wkv_cpu import wkv_cpu  # numba is slow to import

    return wkv_cpu


def _torch(k: Tensor, v: Tensor, w: Tensor, u: Tensor, p: Tensor, q: Tensor, o: Tensor) -> tuple[Tensor, ...]:
    return in_chunks(_chunk, CHUNK, (k, v), (w, u), (p, q, o))


def _chunk(k: Tensor, v: Tensor, w: Tensor, u: Tensor, p: Tensor, q: Tensor, o: Tensor) -> tuple[Tensor, ...]:
    """All states of a chunk at once: from each token over the one before it, over the two, the four before it."""
    T = k.shape[1]
    # sums from the state before the chunk on, which stands in the place of a token
    sums: tuple[Tensor, ...] = (
        torch.cat([p.unsqueeze(1), v], 1),
        torch.cat([q.unsqueeze(1), torch.ones_like(v)], 1),
        torch.cat([o.unsqueeze(1), k], 1),
    )
    step = 1
    while step <= T:
        p, q, o = (each[:, :-step] for each in sums)
        reached = _sum(p, q, o + step * w, *(each[:, step:] for each in sums))
        sums = tuple(torch.cat([each[:, :step], more], 1) for each, more in zip(sums, reached, strict=True))
        step *= 2
    p, q, o = (each[:, :-1] for each in sums)
    numerator, denominator, _ = _sum(p, q, o, v, torch.ones_like(v), u + k)
    return numerator / denominator, *(each[:, -1] for each in sums)


def _sum(p: Tensor, q: Tensor, o: Tensor, v: Tensor, n: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``e^o p + e^k v`` and ``e^o q + e^k n``, as multiples of the larger exponential, and its exponent."""
    most = torch.maximum(o, k)
    first, second = (o - most).exp(), (k - most).exp()
    return first * p + second * v, first * q + second * n, most
