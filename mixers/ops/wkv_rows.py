"""The compiled rows of RWKV-4's average on the CPU, forward and backward: see ``mixers.ops.wkv_cpu``. numba.

A row is a sequence. Vectors are of channels, which are by themselves; no exponential is of a positive number.
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
    larger,
    lay_out,
    lines,
    load,
    madd,
    put_back,
    spread,
    store,
)

inlined = numba.njit(**INLINED)
compiled = numba.njit(**COMPILED)

#: The lines of a state.
LINES = np.intp(3)
TOP, BOTTOM, MOST = np.arange(LINES)
ONE = np.intp(1)


@inlined
def _take(p, q, o, row, C, width, state):
    """A sequence's state as lines."""
    lay_out(p, row, C, width, state, TOP)
    lay_out(q, row, C, width, state, BOTTOM)
    lay_out(o, row, C, width, state, MOST)


@compiled
def forward_rows(lo, hi, T, C, k, v, w, u, p, q, o, y, p_out, q_out, o_out):
    """k, v, y ``[rows, T, C]``; w, u ``[C]``; states ``[rows, C]``."""
    width = (C + LANES - 1) // LANES * LANES
    keys, values, outputs = lines(T, width, k), lines(T, width, k), lines(T, width, k)
    decay, bonus, state = lines(ONE, width, k), lines(ONE, width, k), lines(LINES, width, k)
    lay_out(w, START, C, width, decay, START)
    lay_out(u, START, C, width, bonus, START)
    for row in range(lo, hi):
        for t in range(T):
            lay_out(k, row * T + t, C, width, keys, t)
            lay_out(v, row * T + t, C, width, values, t)
        _take(p, q, o, row, C, width, state)
        for c in range(0, width, LANES):
            top, bottom, most = (
                load(state, TOP * width + c),
                load(state, BOTTOM * width + c),
                load(state, MOST * width + c),
            )
            forget, more = load(decay, c), load(bonus, c)
            for t in range(T):
                key, value = load(keys, t * width + c), load(values, t * width + c)
                now = key + more
                largest = larger(most, now)
                past, now = exponential(most - largest), exponential(now - largest)
                store(outputs, t * width + c, madd(past, top, now * value) / madd(past, bottom, now))
                most = most + forget
                largest = larger(most, key)
                past, now = exponential(most - largest), exponential(key - largest)
                top, bottom, most = madd(past, top, now * value), madd(past, bottom, now), largest
            store(state, TOP * width + c, top)
            store(state, BOTTOM * width + c, bottom)
            store(state, MOST * width + c, most)
        for t in range(T):
            put_back(outputs, t, C, width, y, row * T + t)
        put_back(state, TOP, C, width, p_out, row)
        put_back(state, BOTTOM, C, width, q_out, row)
        put_back(state, MOST, C, width, o_out, row)


@compiled
def backward_rows(
    lo, hi, T, C, k, v, w, u, p, q, o, dy, dp_out, dq_out, dk, dv, dw, du, dp, dq, do
):  # fmt: skip
    """The gradients, those of w and u for each row, ``[rows, C]``; with the states before all tokens at hand.

    Those of the sums are held as multiples of ``e^-o``, of the same o as the sums.
    """
    width = (C + LANES - 1) // LANES * LANES
    zero = spread(k.dtype.type(0))
    keys, values, gradient = lines(T, width, k), lines(T, width, k), lines(T, width, k)
    to_keys, to_values = lines(T, width, k), lines(T, width, k)
    decay, bonus, state, to_state = (
        lines(ONE, width, k),
        lines(ONE, width, k),
        lines(LINES, width, k),
        lines(LINES, width, k),
    )
    to_decay, to_bonus = lines(ONE, width, k), lines(ONE, width, k)
    states = lines(T + 1, LINES * LANES, k)
    lay_out(w, START, C, width, decay, START)
    lay_out(u, START, C, width, bonus, START)
    for row in range(lo, hi):
        for t in range(T):
            lay_out(k, row * T + t, C, width, keys, t)
            lay_out(v, row * T + t, C, width, values, t)
            lay_out(dy, row * T + t, C, width, gradient, t)
        _take(p, q, o, row, C, width, state)
        lay_out(dp_out, row, C, width, to_state, TOP)
        lay_out(dq_out, row, C, width, to_state, BOTTOM)
        for c in range(0, width, LANES):
            top, bottom, most = (
                load(state, TOP * width + c),
                load(state, BOTTOM * width + c),
                load(state, MOST * width + c),
            )
            forget, more = load(decay, c), load(bonus, c)
            for t in range(T + 1):
                at = t * LINES * LANES
                store(states, at + TOP * LANES, top)
                store(states, at + BOTTOM * LANES, bottom)
                store(states, at + MOST * LANES, most)
                if t < T:
                    key, value = load(keys, t * width + c), load(values, t * width + c)
                    most = most + forget
                    largest = larger(most, key)
                    past, now = exponential(most - largest), exponential(key - largest)
                    top, bottom, most = madd(past, top, now * value), madd(past, bottom, now), largest
            to_top, to_bottom = load(to_state, TOP * width + c), load(to_state, BOTTOM * width + c)
            to_forget, to_more = zero, zero
            for t in range(T - 1, -1, -1):
                at = t * LINES * LANES
                top, bottom, most = (
                    load(states, at + TOP * LANES), load(states, at + BOTTOM * LANES), load(states, at + MOST * LANES)
                )  # fmt: skip
                largest = load(states, at + (LINES + MOST) * LANES)
                key, value = load(keys, t * width + c), load(values, t * width + c)
                past, now = exponential(most + forget - largest), exponential(key - largest)
                to_key, to_value = now * madd(to_top, value, to_bottom), now * to_top
                to_top, to_bottom = past * to_top, past * to_bottom
                to_forget = madd(top, to_top, madd(bottom, to_bottom, to_forget))
                now = key + more
                largest = larger(most, now)
                past, now = exponential(most - largest), exponential(now - largest)
                denominator = madd(past, bottom, now)
                output = madd(past, top, now * value) / denominator
                given = load(gradient, t * width + c) / denominator
                through = now * given * (value - output)
                to_more = to_more + through
                store(to_keys, t * width + c, to_key + through)
                store(to_values, t * width + c, madd(now, given, to_value))
                given = past * given
                to_top, to_bottom = to_top + given, to_bottom - given * output
            store(to_decay, c, to_forget)
            store(to_bonus, c, to_more)
            store(to_state, TOP * width + c, to_top)
            store(to_state, BOTTOM * width + c, to_bottom)
            store(
                to_state,
                MOST * width + c,
                madd(load(states, TOP * LANES), to_top, load(states, BOTTOM * LANES) * to_bottom),
            )
        for t in range(T):
            put_back(to_keys, t, C, width, dk, row * T + t)
            put_back(to_values, t, C, width, dv, row * T + t)
        put_back(to_decay, START, C, width, dw, row)
        put_back(to_bonus, START, C, width, du, row)
        put_back(to_state, TOP, C, width, dp, row)
        put_back(to_state, BOTTOM, C, width, dq, row)
        put_back(to_state, MOST, C, width, do, row)
