"""The compiled rows of the selective scan, forward and backward: see ``mixers.ops.selective_scan_cpu``. numba.

A row is a sequence. Vectors are of channels, which are by themselves; the entries of their states are one after the
other, ``[N, width]``, each line of channels padded to ``width``.
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

inlined = numba.njit(**INLINED)
compiled = numba.njit(**COMPILED)

ONE = np.intp(1)


@inlined
def _take(x, first, count, size, width, out):
    """``count`` lines of x from ``first`` on; zeros if x is empty."""
    if x.size > 0:
        for i in range(count):
            lay_out(x, first + i, size, width, out, i)
    else:
        for i in range(0, count * width, LANES):
            store(out, i, spread(out.dtype.type(0)))


@inlined
def _give(out, count, size, width, x, first):
    """The other way, unless x is empty."""
    if x.size > 0:
        for i in range(count):
            put_back(out, i, size, width, x, first + i)


@compiled
def forward_rows(lo, hi, T, D, N, block, x, dt, A, B, C, h_in, y, h_out, kept):
    """x, dt, y ``[rows, T, D]``; A ``[N, D]``; B, C ``[rows, T, N]``; h ``[rows, N, D]``, given or empty.

    ``kept`` ``[rows, blocks - 1, N, width]``: the states between blocks of tokens, or empty.
    """
    width = (D + LANES - 1) // LANES * LANES
    between = (T - 1) // block
    inputs, steps, outputs = lines(T, width, x), lines(T, width, x), lines(T, width, x)
    rates, h = lines(N, width, x), lines(N, width, x)
    _take(A, START, N, D, width, rates)
    for row in range(lo, hi):
        _take(x, row * T, T, D, width, inputs)
        _take(dt, row * T, T, D, width, steps)
        _take(h_in, row * N, N, D, width, h)
        for c in range(0, width, LANES):
            for t in range(T):
                if kept.size > 0 and t > 0 and t % block == 0:
                    at = (row * between + t // block - 1) * N * width + c
                    for n in range(N):
                        store(kept, at + n * width, load(h, n * width + c))
                step = load(steps, t * width + c)
                written, sums = step * load(inputs, t * width + c), spread(x.dtype.type(0))
                at = (row * T + t) * N
                for n in range(N):
                    place = n * width + c
                    decay = exponential(step * load(rates, place))
                    state = madd(decay, load(h, place), written * spread(get(B, at + n)))
                    store(h, place, state)
                    sums = madd(state, spread(get(C, at + n)), sums)
                store(outputs, t * width + c, sums)
        _give(outputs, T, D, width, y, row * T)
        _give(h, N, D, width, h_out, row * N)


@compiled
def backward_rows(
    lo, hi, T, D, N, block, x, dt, A, B, C, h_in, kept, dy, dh_out, dx, ddt, dA, dB, dC, dh_in
):  # fmt: skip
    """The gradients, that of A for each row, ``[rows, N, D]``. A block of tokens is replayed, then walked in reverse
    with the state before every token at hand."""
    width = (D + LANES - 1) // LANES * LANES
    between, line = (T - 1) // block, N * LANES
    inputs, steps, gradient = lines(T, width, x), lines(T, width, x), lines(T, width, x)
    to_inputs, to_steps = lines(T, width, x), lines(T, width, x)
    rates, start, G, to_rates = lines(N, width, x), lines(N, width, x), lines(N, width, x), lines(N, width, x)
    h, decays = lines(block + 1, line, x), lines(block, line, x)
    to_B, to_C = lines(block, line, x), lines(block, line, x)  # to be summed over lanes at the end of a block
    zero = spread(x.dtype.type(0))
    _take(A, START, N, D, width, rates)
    for row in range(lo, hi):
        _take(x, row * T, T, D, width, inputs)
        _take(dt, row * T, T, D, width, steps)
        _take(dy, row * T, T, D, width, gradient)
        _take(h_in, row * N, N, D, width, start)
        _take(dh_out, row * N, N, D, width, G)
        for i in range(0, N * width, LANES):
            store(to_rates, i, zero)
        for first in range(between * block, -1, -block):
            count = min(block, T - first)
            for i in range(0, count * line, LANES):
                store(to_B, i, zero)
                store(to_C, i, zero)
            for c in range(0, width, LANES):
                at = (row * between + first // block - 1) * N * width + c
                for n in range(N):
                    before = load(kept, at + n * width) if first > 0 else load(start, n * width + c)
                    store(h, n * LANES, before)
                for i in range(count):
                    step = load(steps, (first + i) * width + c)
                    written = step * load(inputs, (first + i) * width + c)
                    at = (row * T + first + i) * N
                    for n in range(N):
                        decay = exponential(step * load(rates, n * width + c))
                        place = i * line + n * LANES
                        store(decays, place, decay)
                        state = madd(decay, load(h, place), written * spread(get(B, at + n)))
                        store(h, place + line, state)
                for i in range(count - 1, -1, -1):
                    step, given = load(steps, (first + i) * width + c), load(inputs, (first + i) * width + c)
                    out, written = load(gradient, (first + i) * width + c), step * given
                    to_step, to_written = zero, zero
                    at = (row * T + first + i) * N
                    for n in range(N):
                        place, entry = i * line + n * LANES, n * width + c
                        g = madd(out, spread(get(C, at + n)), load(G, entry))
                        store(to_C, place, madd(out, load(h, place + line), load(to_C, place)))
                        store(to_B, place, madd(g, written, load(to_B, place)))
                        to_written = madd(g, spread(get(B, at + n)), to_written)
                        g = g * load(decays, place)
                        store(G, entry, g)
                        exponent = g * load(h, place)
                        to_step = madd(exponent, load(rates, entry), to_step)
                        store(to_rates, entry, madd(exponent, step, load(to_rates, entry)))
                    store(to_inputs, (first + i) * width + c, to_written * step)
                    store(to_steps, (first + i) * width + c, madd(to_written, given, to_step))
            for i in range(count):
                at = (row * T + first + i) * N
                for n in range(N):
                    put(dB, at + n, total(load(to_B, i * line + n * LANES)))
                    put(dC, at + n, total(load(to_C, i * line + n * LANES)))
        _give(to_inputs, T, D, width, dx, row * T)
        _give(to_steps, T, D, width, ddt, row * T)
        _give(to_rates, N, D, width, dA, row * N)
        _give(G, N, D, width, dh_in, row * N)
