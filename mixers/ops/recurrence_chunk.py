"""The recurrence in chunks: matrix products inside a chunk, a state from chunk to chunk. PyTorch, plain autograd.

With S' the state that enters a chunk of C tokens, U the rows ``a_t^T S_{t-1}``, and ``A_xy`` the C x C products of the
reads x with the writes y, decayed and masked (``recurrence_decay``; a and q stand for their decayed rows as well):

    (I - A_ab) U = A_ak V + a S'        O = A_qk V + A_qb U + q S'        S_out = S' + k^T V + b^T U

The system is unit lower triangular and is solved as such: the powers of ``A_ab`` overflow when keys repeat. If b = -k,
as in the delta rules, ``D = V - U`` takes the place of V in linear attention, and two of the four products go:

    (I + A_ak) D = V - a S'             O = A_qk D + q S'                 S_out = S' + k^T D

Source: the chunk forms of arXiv 2312.06635 (decay) and arXiv 2406.06484 (the delta rule).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mixers.ops.recurrence_decay import NOTHING, FactoredDecay, HalvedDecay, NoDecay, ScalarDecay

#: Tokens in a chunk, at most.
CHUNK = 64
#: The factored form takes exp of half the sum of w over its block, and leaves as much room for the values.
FACTOR_SPAN = {torch.float32: 120.0, torch.float64: 1000.0}
#: Blocks in which it is tried if w is too strong for a whole chunk; blocks of 1 need no factors.
BLOCKS = (16, 4)


def split(x: Tensor, chunks: int, length: int) -> Tensor:
    """``[B, T, H, D] -> [N * B * H, C, D]``, chunks first; zeros fill up the last."""
    B, T, H, D = x.shape
    if chunks * length > T:
        x = F.pad(x, (0, 0, 0, 0, 0, chunks * length - T))
    return x.view(B, chunks, length, H, D).permute(1, 0, 3, 2, 4).reshape(chunks * B * H, length, D)


def choose_decay(w: Tensor | None, T: int, dtype: torch.dtype) -> tuple[int, int, NoDecay]:
    """The number of chunks, their length, and the fastest form of decay that w's strength allows."""
    chunks = -(-T // CHUNK)
    length = -(-T // chunks)
    if w is None:
        return chunks, length, NoDecay()
    lowest = -FACTOR_SPAN[dtype]
    if w.dim() == 3:
        w = split(w.unsqueeze(-1), chunks, length)
        if w.detach().sum(1).amin() < lowest:
            w = w.clamp(min=NOTHING[dtype]).double()
        return chunks, length, ScalarDecay(w, dtype)
    parts = split(w, chunks, length)
    if parts.detach().sum(1).amin() >= lowest:
        return chunks, length, FactoredDecay(parts)
    length = 1 << (length - 1).bit_length()
    parts = split(w.clamp(min=NOTHING[dtype]), chunks, length)
    given = parts.detach()

    def fits(block: int) -> bool:
        return block <= length and bool(given.unflatten(1, (-1, block)).sum(2).amin() >= lowest)

    return chunks, length, HalvedDecay(parts, next(filter(fits, BLOCKS), 1))


def solve_unit_lower(A: Tensor, X: Tensor) -> Tensor:
    """``(I + A)^-1 X`` for A ``[G, C, C]``, strictly lower triangular. Transposed, which spares LAPACK a copy."""
    return torch.linalg.solve_triangular(A.mT, X.mT, upper=True, left=False, unitriangular=True).mT


def scaled(factor: Tensor | None, x: Tensor) -> Tensor:
    return x if factor is None else factor * x


def carry(
    decay: NoDecay, S: Tensor, added: Tensor, keys: Tensor, W: Tensor | None, final: bool
) -> tuple[Tensor, Tensor]:
    """The pass over chunks, ``S_out = keep S' + leave (added - keys^T W S')``, from S ``[M, K, V]``.

    Returns every chunk's S' ``[N * M, K, V]`` and, if ``final``, the state after the last (else of no use).
    """
    M = len(S)
    N = len(added) // M

    def parts(x: Tensor | None) -> list[Tensor] | list[None]:
        return [None] * N if x is None else list(x.view(N, M, *x.shape[1:]).unbind(0))

    entering = []
    every = (parts(x) for x in (decay.enter, decay.keep, decay.leave, added, keys, W))
    for n, (enter, keep, leave, new, keys_n, W_n) in enumerate(zip(*every, strict=True)):
        S = scaled(enter, S)
        entering.append(S)
        if n == N - 1 and not final:
            break
        if W_n is not None:
            new = torch.baddbmm(new, keys_n.mT, torch.bmm(W_n, S), alpha=-1)
        S = scaled(keep, S) + scaled(leave, new)
    return torch.cat(entering), S


def recurrence_chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
    scale: float,
    initial_state: Tensor | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """See ``recurrence``; float32 or float64, all alike. With a but no b, b is -k, at half the cost.

    Looks at the values of w to choose how to decay, for which a GPU has to wait.
    """
    B, T, H, K = q.shape
    V = v.shape[-1]
    N, C, decay = choose_decay(w, T, q.dtype)
    q = decay.reads(split(q if scale == 1 else scale * q, N, C), True)
    k, v = decay.writes(split(k, N, C)), split(v, N, C)
    state_enters = N > 1 or initial_state is not None

    # every chunk as if no state entered: values (V, or D, or -U) that keys write and A_q reads; W S' is their change
    o, values, keys, A_q, W = None, v, k, decay.scores(q, k, True), None
    if a is not None:
        a = decay.reads(split(a, N, C), False)
        A = decay.scores(a, k, False)
        if b is not None:
            keys = decay.writes(split(-b, N, C))
            values, A = torch.bmm(A, v).neg_(), decay.scores(a, keys, False)
            o, A_q = torch.bmm(A_q, v), decay.scores(q, keys, True)
        if state_enters:
            rows = torch.cat([values, decay.from_state(a, False)], -1)
            values, W = solve_unit_lower(A, rows).split([V, K], -1)
        else:
            values = solve_unit_lower(A, values)

    S = entering = None
    if state_enters or output_final_state:
        keys = decay.to_state(keys)
        added = torch.bmm(keys.mT, values)
        if b is not None:
            added = torch.baddbmm(added, decay.to_state(k).mT, v)
        if state_enters:
            start = q.new_zeros(B * H, K, V) if initial_state is None else initial_state.reshape(B * H, K, V)
            entering, S = carry(decay, start, added, keys, W, output_final_state)
        else:
            S = scaled(decay.leave, added)
    if entering is not None and W is not None:
        values = torch.baddbmm(values, W, entering, alpha=-1)
    o = torch.bmm(A_q, values) if o is None else torch.baddbmm(o, A_q, values)
    if entering is not None:
        o = torch.baddbmm(o, decay.from_state(q, True), entering)
    o = o.view(N, B, H, C, V).permute(1, 0, 3, 2, 4).reshape(B, N * C, H, V)[:, :T]
    return o, S.view(B, H, K, V) if output_final_state and S is not None else None
