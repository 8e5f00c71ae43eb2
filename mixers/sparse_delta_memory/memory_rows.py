"""The compiled rows of the sparse delta memory, forward and backward: see ``mixers.sparse_delta_memory.memory_cpu``.

Arrays are flat, token after token as in ``[B, T, H, n]``. A line is what a slot holds, ``width`` numbers, a multiple of
``LANES``.
"""

from __future__ import annotations

import numba
import numpy as np

from mixers.ops.lanes import COMPILED, INLINED, LANES, START, get, lines, load, madd, put, spread, store, total
from mixers.ops.recurrence_state import copy

inlined = numba.njit(**INLINED)
compiled = numba.njit(**COMPILED)

ONE = np.intp(1)


@inlined
def _places(slots, n, width, at):
    """Where the lines of token n's slots begin."""
    for i in range(at.size):
        at[i] = np.intp(get(slots, n * at.size + i)) * width


@inlined
def _decays(a, each, n, decay):
    """What token n multiplies the lines that it writes with; ``each``: one number per line, else one for all."""
    for i in range(decay.size):
        decay[i] = get(a, n * decay.size + i if each else n)


@inlined
def _clear(S, at, count):
    for i in range(at, at + count, LANES):
        store(S, i, spread(S.dtype.type(0)))


@inlined
def _wipe(G, first, T, H, slots, count, width):
    """Zeros in the lines of a row's slots, of which a token has ``count``; in all, if that is less."""
    if T * count * width >= G.size:
        _clear(G, START, G.size)
        return
    for t in range(T):
        for i in range(count):
            _clear(G, np.intp(get(slots, (first + t * H) * count + i)) * width, width)


@inlined
def _start(S, S_in, row):
    """The state before the first token: row ``row`` of those given, which begin again where they end, or zeros."""
    if S_in.size > 0:
        copy(S_in, row * S.size % S_in.size, S.size, S, START)
    else:
        _clear(S, START, S.size)


@inlined
def _write(S, at, width, k, n, decay, beta, v, u, u_at):
    """Decay and write the lines at ``at``; u is the value less what they held."""
    W = at.size
    for d in range(0, width, LANES):
        held = spread(S.dtype.type(0))
        for i in range(W):
            held = madd(spread(get(k, n * W + i) * decay[i]), load(S, at[i] + d), held)
        missing = load(v, n * width + d) - held
        store(u, u_at + d, missing)
        added = spread(beta) * missing
        for i in range(W):
            line = spread(decay[i]) * load(S, at[i] + d)
            store(S, at[i] + d, madd(spread(get(k, n * W + i)), added, line))


@inlined
def _read(S, at, width, q, n, o):
    R = at.size
    for d in range(0, width, LANES):
        even, odd = spread(S.dtype.type(0)), spread(S.dtype.type(0))  # two sums: one would wait for itself
        for j in range(0, R - 1, 2):
            even = madd(load(S, at[j] + d), spread(get(q, n * R + j)), even)
            odd = madd(load(S, at[j + 1] + d), spread(get(q, n * R + j + 1)), odd)
        if R % 2:
            even = madd(load(S, at[R - 1] + d), spread(get(q, n * R + R - 1)), even)
        store(o, n * width + d, even + odd)


@compiled
def forward_rows(lo, hi, T, H, N, W, R, width, each, k, k_idx, q, q_idx, v, beta, a, S_in, o, S_out):
    S, u = lines(N, width, v), lines(ONE, width, v)
    at, read_at, decay = np.empty(W, np.intp), np.empty(R, np.intp), np.empty(W, v.dtype)
    for row in range(lo, hi):
        first = row // H * T * H + row % H
        if S_in.size > 0:
            _start(S, S_in, row)
        for t in range(T):
            n = first + t * H
            _decays(a, each, n, decay)
            _places(k_idx, n, width, at)
            _write(S, at, width, k, n, decay, get(beta, n), v, u, START)
            _places(q_idx, n, width, read_at)
            _read(S, read_at, width, q, n, o)
        if S_out.size > 0:
            copy(S, START, S.size, S_out, row * S.size)
        if S_in.size == 0:
            _wipe(S, first, T, H, k_idx, W, width)


@inlined
def _unread(S, G, at, width, q, n, do, dq):
    """The gradients of a read, of its weights and of the lines."""
    R = at.size
    for j in range(R):
        products, weight = spread(S.dtype.type(0)), spread(get(q, n * R + j))
        for d in range(0, width, LANES):
            g = load(do, n * width + d)
            products = madd(load(S, at[j] + d), g, products)
            store(G, at[j] + d, madd(weight, g, load(G, at[j] + d)))
        put(dq, n * R + j, total(products))


@inlined
def _unwrite(S, G, at, width, k, n, decay, beta, u, u_at, kept, k_at, back, dk, dv, dbeta, da, each):
    """The gradients of a write, from those of the lines after it to those before it; S goes back to what was kept."""
    W, zero = at.size, S.dtype.type(0)
    to_beta = spread(zero)
    for d in range(0, width, LANES):
        to_added = spread(zero)
        for i in range(W):
            to_added = madd(spread(get(k, n * W + i)), load(G, at[i] + d), to_added)
        to_beta = madd(to_added, load(u, u_at + d), to_beta)
        to_value = spread(beta) * to_added
        store(dv, n * width + d, to_value)
        store(back, d, spread(zero) - to_value)
    put(dbeta, n, total(to_beta))
    all_decays = zero
    for i in range(W):
        weight, keep, line = spread(get(k, n * W + i)), spread(decay[i]), k_at + i * width
        added, held, faded = spread(zero), spread(zero), spread(zero)
        for d in range(0, width, LANES):
            before, g, r = load(kept, line + d), load(G, at[i] + d), load(back, d)
            added = madd(g, load(u, u_at + d), added)
            held = madd(r, before, held)
            g = madd(weight, r, g)
            faded = madd(g, before, faded)
            store(G, at[i] + d, keep * g)
            store(S, at[i] + d, before)
        put(dk, n * W + i, beta * total(added) + decay[i] * total(held))
        to_decay = total(faded)
        all_decays += to_decay
        if each:
            put(da, n * W + i, to_decay)
    if not each:
        put(da, n, all_decays)


@compiled
def backward_rows(
    lo, hi, T, H, N, W, R, width, block, each, k, k_idx, q, q_idx, v, beta, a, S_in, do, dS_out,
    dk, dq, dv, dbeta, da, dS_in,
):  # fmt: skip
    """A row is replayed in blocks, the last one first; ``kept`` has what a block's writes found in their lines."""
    between = (T - 1) // block
    S, G, starts = lines(N, width, v), lines(N, width, v), lines(between * N, width, v)
    kept, u, back = lines(min(block, T) * W, width, v), lines(min(block, T), width, v), lines(ONE, width, v)
    at, read_at, decay = np.empty(W, np.intp), np.empty(R, np.intp), np.empty(W, v.dtype)
    for row in range(lo, hi):
        first = row // H * T * H + row % H
        _start(S, S_in, row)
        for t in range(between * block):
            n = first + t * H
            _decays(a, each, n, decay)
            _places(k_idx, n, width, at)
            _write(S, at, width, k, n, decay, get(beta, n), v, u, START)
            if (t + 1) % block == 0:
                copy(S, START, S.size, starts, t // block * S.size)
        if dS_out.size > 0:
            copy(dS_out, row * G.size, G.size, G, START)
        for part in range(between, -1, -1):
            if part > 0:
                copy(starts, (part - 1) * S.size, S.size, S, START)
            elif between > 0:
                _start(S, S_in, row)
            begin, end = part * block, min(T, (part + 1) * block)
            for t in range(begin, end):
                n = first + t * H
                _decays(a, each, n, decay)
                _places(k_idx, n, width, at)
                for i in range(W):
                    copy(S, at[i], width, kept, ((t - begin) * W + i) * width)
                _write(S, at, width, k, n, decay, get(beta, n), v, u, (t - begin) * width)
            for t in range(end - 1, begin - 1, -1):
                n = first + t * H
                _places(q_idx, n, width, read_at)
                _unread(S, G, read_at, width, q, n, do, dq)
                _decays(a, each, n, decay)
                _places(k_idx, n, width, at)
                _unwrite(
                    S, G, at, width, k, n, decay, get(beta, n), u, (t - begin) * width, kept,
                    (t - begin) * W * width, back, dk, dv, dbeta, da, each,
                )  # fmt: skip
        if dS_in.size > 0:
            copy(G, START, G.size, dS_in, row * G.size)
        if dS_out.size == 0:
            _wipe(G, first, T, H, k_idx, W, width)
            _wipe(G, first, T, H, q_idx, R, width)
