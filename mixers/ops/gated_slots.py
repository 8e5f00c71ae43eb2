"""Attention over slots that fade: two passes of a gated recurrence with a softmax between them.

    K_t = diag(exp(w_t)) K_{t-1} + s_t k_t^T        p_t = softmax(scale K_t q_t)
    V_t = diag(exp(w_t)) V_{t-1} + s_t v_t^T        o_t = V_t^T p_t

``w_t`` and ``s_t`` have a number per slot. The second line is ``recurrence`` with p for q and s for k. The first is the
same recurrence, but read from the other side (``slot_logits``). fla calls the two together GSA.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mixers.base import at_least_float32
from mixers.ops.recurrence import check_shapes, recurrence, run_wide
from mixers.ops.recurrence_chunk import carry, choose_decay, split
from mixers.ops.recurrence_decay import HalvedDecay


def gated_slots(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    w: Tensor,
    scale: float = 1.0,
    initial_state: tuple[Tensor, Tensor] | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """The attention above over a sequence, any length, differentiable in everything.

    Args:
        q, k: ``[B, T, H, D]``.
        v: ``[B, T, H, V]``.
        s: strength of the writes, ``[B, T, H, M]``; 0 writes nothing.
        w: log-decay, at most 0, ``[B, T, H, M]``. Any strength; -inf forgets everything.
        scale: of the logits.
        initial_state: K_0 ``[B, H, M, D]`` and V_0 ``[B, H, M, V]``; default 0. Not modified.
        output_final_state: also return K_T and V_T.

    Returns:
        o ``[B, T, H, V]`` in v's dtype, and K_T and V_T, float32 for 16-bit inputs, or None if not asked for.

    Raises:
        ValueError: shapes that do not fit.
    """
    K, V = (None, None) if initial_state is None else initial_state
    logits, K = slot_logits(q, k, s, w, scale, K, output_final_state)
    o, V = recurrence(logits.softmax(-1).to(v.dtype), s, v, w, initial_state=V, output_final_state=output_final_state)
    return o, None if K is None or V is None else (K, V)


def slot_logits(
    q: Tensor,
    k: Tensor,
    s: Tensor,
    w: Tensor,
    scale: float = 1.0,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """``scale K_t q_t`` of the first pass, ``[B, T, H, M]``, float32 at least, and K_T or None; see ``gated_slots``."""
    wide = tuple(q.shape)
    check_shapes(
        q,
        s,
        k=(k, (wide,)),
        w=(w, (tuple(s.shape),)),
        initial_state=(initial_state, ((wide[0], wide[2], s.shape[-1], wide[3]),)),
    )
    operation = _step if q.shape[1] == 1 else _chunks
    return run_wide(operation, (at_least_float32(q), k, s, w), scale, initial_state, output_final_state)


def _step(
    q: Tensor, k: Tensor, s: Tensor, w: Tensor, scale: float, K: Tensor | None, final: bool
) -> tuple[Tensor, Tensor | None]:
    """One token, in a handful of operations."""
    q, k, s, w = (x[:, 0] for x in (q, k, s, w))
    added = s.unsqueeze(-1) * k.unsqueeze(-2)
    K = added if K is None else w.exp().unsqueeze(-1) * K + added
    return scale * (K @ q.unsqueeze(-1)).squeeze(-1).unsqueeze(1), K if final else None


def _chunks(
    q: Tensor, k: Tensor, s: Tensor, w: Tensor, scale: float, K: Tensor | None, final: bool
) -> tuple[Tensor, Tensor | None]:
    """Matrix products inside chunks, K from chunk to chunk, as in ``recurrence_chunk``.

    ``exp(G_t - G_s)``, G being the sums of w, is on the side of the result and not between q and k: inside a block
    where it falls into factors, ``out_t = exp(G_t) sum_s (q_t . k_s) exp(-G_s) s_s``. Where it does not, it does
    from one half of a chunk to the other, about their boundary, and so on for the halves.
    """
    B, T, H, D = q.shape
    M = s.shape[-1]
    N, C, decay = choose_decay(w, T, q.dtype)
    q, k, s = split(scale * q, N, C), split(k, N, C), split(s, N, C)
    halved = isinstance(decay, HalvedDecay)
    within, size = (decay.within, decay.block) if isinstance(decay, HalvedDecay) else (decay, C)

    written = within.writes(_blocks(s, size))
    scores = torch.bmm(_blocks(q, size), _blocks(k, size).mT).tril_()
    out = within.reads(torch.bmm(scores, written), True)
    while isinstance(decay, HalvedDecay) and size < C:
        late, early = _blocks(q, 2 * size)[:, size:], _blocks(k, 2 * size)[:, :size]
        before = _blocks(s, 2 * size)[:, :size] * decay.factor(size, "before")
        crossing = torch.bmm(torch.bmm(late, early.mT), before) * decay.factor(size, "late")
        out = _blocks(out, 2 * size) + F.pad(crossing, (0, 0, size, 0))
        size *= 2

    S = None
    if N > 1 or K is not None or final:
        added = torch.bmm(decay.to_state(s if halved else written).mT, k)  # [N B H, M, D]
        start = q.new_zeros(B * H, M, D) if K is None else K.reshape(B * H, M, D)
        entering, S = carry(decay, start, added, added, None, final)
        out = out + decay.from_state(decay.reads(torch.bmm(q, entering.mT), True), True)
    out = out.view(N, B, H, C, M).permute(1, 0, 3, 2, 4).reshape(B, N * C, H, M)[:, :T]
    return out, S.view(B, H, M, D) if final and S is not None else None


def _blocks(x: Tensor, size: int) -> Tensor:
    """Rows ``[G, C, D]`` in blocks ``[., size, D]``."""
    return x.reshape(-1, size, x.shape[-1])
