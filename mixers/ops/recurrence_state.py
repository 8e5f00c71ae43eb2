"""What the compiled recurrence does to a state: products with vectors, and updates of low rank. numba.

A state is held transposed, a line of keys for each value, ``S[v, k]``: a token changes each line by itself, and what
crosses lines are sums over values, which keep to their order. A line is a multiple of ``LANES``, zeros behind the keys.
Arrays are flat; what is called ``_at`` is where in the array a thing begins.
"""

from __future__ import annotations

import numba

from mixers.ops.lanes import INLINED, LANES, get, load, madd, put, spread, store, total

compiled = numba.njit(**INLINED)


@compiled
def read(S, at, V, width, x, x_at, y, y_at):
    """``y_v = sum_k S[v, k] x_k``."""
    for i in range(V):
        sums = spread(S.dtype.type(0))
        for j in range(0, width, LANES):
            sums = madd(load(S, at + i * width + j), load(x, x_at + j), sums)
        put(y, y_at + i, total(sums))


@compiled
def gather(S, at, V, width, y, y_at, x, x_at):
    """``x_k = sum_v S[v, k] y_v``."""
    for j in range(0, width, LANES):
        even, odd = spread(S.dtype.type(0)), spread(S.dtype.type(0))  # two sums: one would wait for itself
        line = at + j
        for i in range(0, V - 1, 2):
            even = madd(load(S, line), spread(get(y, y_at + i)), even)
            odd = madd(load(S, line + width), spread(get(y, y_at + i + 1)), odd)
            line += 2 * width
        if V % 2:
            even = madd(load(S, line), spread(get(y, y_at + V - 1)), even)
        store(x, x_at + j, even + odd)


@compiled
def overlap(S, at, G, V, width, decay, d_at, x, x_at):
    """``x_k = decay_k sum_v S[v, k] G[v, k]``."""
    for j in range(0, width, LANES):
        even, odd = spread(S.dtype.type(0)), spread(S.dtype.type(0))
        line = j
        for _ in range(0, V - 1, 2):
            even = madd(load(S, at + line), load(G, line), even)
            odd = madd(load(S, at + line + width), load(G, line + width), odd)
            line += 2 * width
        if V % 2:
            even = madd(load(S, at + line), load(G, line), even)
        store(x, x_at + j, load(decay, d_at + j) * (even + odd))


@compiled
def update(old, old_at, new, new_at, V, width, decay, d_at, x, x_at, y, y_at):
    """``new[v, k] = decay_k old[v, k] + y_v x_k``."""
    for j in range(0, width, LANES):
        keep, add = load(decay, d_at + j), load(x, x_at + j)
        for i in range(V):
            line = i * width + j
            store(new, new_at + line, madd(add, spread(get(y, y_at + i)), keep * load(old, old_at + line)))


@compiled
def update_twice(old, old_at, new, new_at, V, width, decay, d_at, x, x_at, y, y_at, more, more_at, z, z_at):
    """``new[v, k] = decay_k old[v, k] + y_v x_k + z_v more_k``."""
    for j in range(0, width, LANES):
        keep, add, last = load(decay, d_at + j), load(x, x_at + j), load(more, more_at + j)
        for i in range(V):
            line = i * width + j
            value = madd(add, spread(get(y, y_at + i)), keep * load(old, old_at + line))
            store(new, new_at + line, madd(last, spread(get(z, z_at + i)), value))


@compiled
def take(given, row, K, V, width, S, at):
    """Row ``row`` of states ``[rows, K, V]``, or zeros if there are none."""
    for i in range(0, V * width, LANES):
        store(S, at + i, spread(S.dtype.type(0)))
    if given.size > 0:
        for c in range(K):
            for i in range(V):
                put(S, at + i * width + c, get(given, (row * K + c) * V + i))


@compiled
def give(S, at, row, K, V, width, wanted):
    """Put a state where ``take`` would find it, if it is wanted."""
    if wanted.size > 0:
        for c in range(K):
            for i in range(V):
                put(wanted, (row * K + c) * V + i, get(S, at + i * width + c))


@compiled
def copy(x, at, count, out, out_at):
    """``count`` numbers."""
    whole = count // LANES * LANES
    for i in range(0, whole, LANES):
        store(out, out_at + i, load(x, at + i))
    for i in range(whole, count):
        put(out, out_at + i, get(x, at + i))
