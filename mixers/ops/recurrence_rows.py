"""The compiled rows of the recurrence on the CPU, forward and backward: see ``mixers.ops.recurrence_cpu``. numba.

Inputs are flat, token after token as in ``[B, T, H, n]``; the lines of a token are what the state meets: q, scaled, k,
exp(w), a and b, each padded to ``width``.
"""

from __future__ import annotations

import numba
import numpy as np

from mixers.ops.lanes import (
    COMPILED,
    INLINED,
    LANES,
    START,
    exponential,
    get,
    lay_out,
    lines,
    load,
    madd,
    put,
    put_back,
    spread,
    store,
    total,
)
from mixers.ops.recurrence_state import copy, gather, give, overlap, read, take, update, update_twice

inlined = numba.njit(**INLINED)
compiled = numba.njit(**COMPILED)

#: What there is beside decay and write: nothing; a and b; or the delta rule, whose a is beta and whose b is empty.
PLAIN, RANK_ONE, DELTA = 0, 1, 2
#: The lines of a token, and of its gradients.
LINES = np.intp(5)
ONE = np.intp(1)
Q, KEY, DECAY, A, B = np.arange(LINES)


@inlined
def _lay_out(n, K, width, term, scale, q, k, w, w_width, a, b, token, at):
    """The lines of token n. Those of the delta rule are beta k for k, and exp(w) k for a."""
    lay_out(q, n, K, width, token, at // width + Q)
    lay_out(k, n, K, width, token, at // width + KEY)
    for j in range(at + Q * width, at + (Q + 1) * width, LANES):
        store(token, j, load(token, j) * spread(scale))
    if w_width > 1:
        lay_out(w, n, K, width, token, at // width + DECAY)
        for j in range(at + DECAY * width, at + (DECAY + 1) * width, LANES):
            store(token, j, exponential(load(token, j)))
    else:
        decay = spread(q.dtype.type(1)) if w_width == 0 else exponential(spread(get(w, n)))
        for j in range(at + DECAY * width, at + (DECAY + 1) * width, LANES):
            store(token, j, decay)
    if term == RANK_ONE:
        lay_out(a, n, K, width, token, at // width + A)
        lay_out(b, n, K, width, token, at // width + B)
    elif term == DELTA:
        beta = spread(get(a, n))
        for j in range(at, at + width, LANES):
            key = load(token, j + KEY * width)
            store(token, j + A * width, key * load(token, j + DECAY * width))
            store(token, j + KEY * width, key * beta)


@inlined
def _advance(old, old_at, new, new_at, V, width, term, token, at, v, v_at, x, u, x_at):
    """The state after a token; u is what a reads, x what is written under k, which is v - u for the delta rule."""
    if term != PLAIN:
        read(old, old_at, V, width, token, at + A * width, u, x_at)
    if term == DELTA:
        for i in range(V):
            put(x, x_at + i, get(v, v_at + i) - get(u, x_at + i))
    else:
        copy(v, v_at, V, x, x_at)
    decay, key = at + DECAY * width, at + KEY * width
    if term == RANK_ONE:
        other = at + B * width
        update_twice(
            old, old_at, new, new_at, V, width, token, decay, token, key, x, x_at, token, other, u, x_at
        )  # fmt: skip
    else:
        update(old, old_at, new, new_at, V, width, token, decay, token, key, x, x_at)


@compiled
def forward_rows(lo, hi, T, H, K, V, block, term, scale, q, k, v, w, w_width, a, b, S_in, o, S_out, kept):
    """``kept`` [rows, blocks - 1, V width]: the states between blocks of tokens, or empty."""
    width = (K + LANES - 1) // LANES * LANES
    size, between = V * width, (T - 1) // block
    scale = q.dtype.type(scale)
    S, token = lines(V, width, q), lines(LINES, width, q)
    x, u = lines(ONE, V, q), lines(ONE, V, q)
    for row in range(lo, hi):
        take(S_in, row, K, V, width, S, START)
        for t in range(T):
            if kept.size > 0 and t > 0 and t % block == 0:
                copy(S, START, size, kept, (row * between + t // block - 1) * size)
            n = (row // H * T + t) * H + row % H
            _lay_out(n, K, width, term, scale, q, k, w, w_width, a, b, token, START)
            _advance(S, START, S, START, V, width, term, token, START, v, n * V, x, u, START)
            read(S, START, V, width, token, Q * width, o, n * V)
        give(S, START, row, K, V, width, S_out)


@inlined
def _put_gradients(n, K, width, term, k, w_width, a, token, at, grads, dk, dw, da, db):
    """The gradients of token n's inputs from those of its lines; for the delta rule by way of what they are made of."""
    if term == DELTA:
        beta, to_beta = spread(get(a, n)), spread(a.dtype.type(0))
        lay_out(k, n, K, width, grads, B)  # that line is free
        for j in range(0, width, LANES):
            key, decay = load(grads, B * width + j), load(token, at + DECAY * width + j)
            to_key, to_a = load(grads, KEY * width + j), load(grads, A * width + j)
            to_beta = madd(key, to_key, to_beta)
            to_decay = load(grads, DECAY * width + j)
            store(grads, DECAY * width + j, madd(load(token, at + A * width + j), to_a, to_decay))
            store(grads, KEY * width + j, madd(decay, to_a, beta * to_key))
        put(da, n, total(to_beta))
    elif term == RANK_ONE:
        put_back(grads, A, K, width, da, n)
        put_back(grads, B, K, width, db, n)
    put_back(grads, KEY, K, width, dk, n)
    if w_width == 1:
        sums = spread(a.dtype.type(0))
        for j in range(0, width, LANES):
            sums = sums + load(grads, DECAY * width + j)
        put(dw, n, total(sums))
    elif w_width > 1:
        put_back(grads, DECAY, K, width, dw, n)


@compiled
def backward_rows(
    lo, hi, T, H, K, V, block, term, scale, q, k, v, w, w_width, a, b, S_in, kept, do, dS_out,
    dq, dk, dv, dw, da, db, dS_in,
):  # fmt: skip
    width = (K + LANES - 1) // LANES * LANES
    size, between = V * width, (T - 1) // block
    scale = q.dtype.type(scale)
    S, G = lines(block + 1, size, q), lines(V, width, q)  # G is the gradient of the state
    # one more token before the block, whose q stays 0; and lines of ones
    tokens, grads, ones = lines(block + 1, LINES * width, q), lines(LINES, width, q), lines(ONE, width, q)
    for c in range(width):
        ones[c] = 1
    x, u, dx = lines(block, V, q), lines(block, V, q), lines(ONE, V, q)
    for row in range(lo, hi):
        take(dS_out, row, K, V, width, G, START)
        for first in range(between * block, -1, -block):
            count = min(block, T - first)
            if first > 0:
                copy(kept, (row * between + first // block - 1) * size, size, S, START)
            else:
                take(S_in, row, K, V, width, S, START)
            n = (row // H * T + first) * H + row % H
            for i in range(count):
                at = (i + 1) * LINES * width
                _lay_out(n, K, width, term, scale, q, k, w, w_width, a, b, tokens, at)
                _advance(S, i * size, S, (i + 1) * size, V, width, term, tokens, at, v, n * V, x, u, i * V)
                gather(S, (i + 1) * size, V, width, do, n * V, grads, START)
                for j in range(0, width, LANES):
                    store(grads, j, load(grads, j) * spread(scale))
                put_back(grads, START, K, width, dq, n)
                n += H
            n -= H
            update(G, START, G, START, V, width, ones, START, tokens, count * LINES * width + Q * width, do, n * V)
            for i in range(count - 1, -1, -1):
                at = (i + 1) * LINES * width
                read(G, START, V, width, tokens, at + KEY * width, dv, n * V)
                gather(G, START, V, width, x, i * V, grads, KEY * width)
                if term == RANK_ONE:
                    read(G, START, V, width, tokens, at + B * width, dx, START)
                    gather(G, START, V, width, u, i * V, grads, B * width)
                elif term == DELTA:
                    for c in range(V):
                        put(dx, c, -get(dv, n * V + c))
                if term != PLAIN:
                    gather(S, i * size, V, width, dx, START, grads, A * width)
                if w_width > 0:
                    overlap(S, i * size, G, V, width, tokens, at + DECAY * width, grads, DECAY * width)
                _put_gradients(n, K, width, term, k, w_width, a, tokens, at, grads, dk, dw, da, db)
                before, m = at - LINES * width + Q * width, n - H if i > 0 else n
                decay, key = at + DECAY * width, at + A * width
                if term == PLAIN:
                    update(G, START, G, START, V, width, tokens, decay, tokens, before, do, m * V)
                else:
                    update_twice(
                        G, START, G, START, V, width, tokens, decay, tokens, key, dx, START, tokens, before, do, m * V
                    )  # fmt: skip
                n = m
        give(G, START, row, K, V, width, dS_in)
