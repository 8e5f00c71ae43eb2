"""The compiled rows of PDMA on the CPU, forward and backward: see ``mixers.ramnet.memory_cpu``.

Arrays of tokens are ``[B T H, n]``: a view of a token would cost as much as what is done with it. Lines of v, S and
their gradients are multiples of ``LANES``; slots are unsigned, so that nobody asks whether they count from the end.
"""

from __future__ import annotations

import numba
import numpy as np

from mixers.ops.lanes import LANES, lines, load, madd, spread, store, total
from mixers.ops.rows import FAST

compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)


@compiled
def _decays(w, n, gamma, a):
    """``(1 - w) ** gamma`` of token n's weights, into ``a``."""
    if gamma == 1:
        for k in range(a.size):
            a[k] = 1 - w[n, k]
    elif gamma == 0:
        for k in range(a.size):
            a[k] = 1
    else:
        for k in range(a.size):
            a[k] = max(1 - w[n, k], w[n, k] * 0) ** gamma  # rounding may put a weight just above 1


@compiled
def _slopes(w, n, gamma, eps, slope):
    """d/dw of ``(eps + (1 - eps)(1 - w)) ** gamma``, into ``slope``; eps 0 gives the exact derivative."""
    if gamma == 1:
        for k in range(slope.size):
            slope[k] = eps - 1
    elif gamma == 0:
        for k in range(slope.size):
            slope[k] = 0
    else:
        for k in range(slope.size):
            slope[k] = -gamma * (1 - eps) * (eps + (1 - eps) * (1 - w[n, k])) ** (gamma - 1)


@compiled
def _copy(S, z, b, h, S_all, z_all, out):
    """The state of a row into those of all, or from them."""
    for m in range(z.size):
        for d in range(S_all.shape[3]):
            if out:
                S_all[b, h, m, d] = S[m * S_all.shape[3] + d]
            else:
                S[m * S_all.shape[3] + d] = S_all[b, h, m, d]
        if out:
            z_all[b, h, m] = z[m]
        else:
            z[m] = z_all[b, h, m]


@compiled
def _wipe(b, h, T, H, slots, S, z, z_value):
    """Reset the slots a row has touched, so that a row costs its events, or M if they are more."""
    M = z.size
    width = S.size // M
    if T * slots.shape[1] > M:
        for i in range(S.size):
            S[i] = 0
        for m in range(M):
            z[m] = z_value
        return
    for t in range(T):
        for k in range(slots.shape[1]):
            slot = slots[(b * T + t) * H + h, k]
            for d in range(width):
                S[np.intp(slot) * width + d] = 0
            z[slot] = z_value


@compiled
def _places(slots, n, width, at):
    """Where the lines of token n's slots begin."""
    for k in range(at.size):
        at[k] = np.intp(slots[n, k]) * width


@compiled
def _write(S, at, v, w, n, width, a):
    """``S = a S + w v`` at token n's slots, whose lines begin at ``at``."""
    for d in range(0, width, LANES):
        x = load(v, n * width + d)
        for k in range(at.size):
            line = load(S, at[k] + d)
            store(S, at[k] + d, madd(line, spread(a[k]), x * spread(w[n, k])))


@compiled
def _limit(gamma):
    """The weight above which the decay is less than a half."""
    return np.inf if gamma == 0 else 1 - 0.5 ** (1 / gamma)


@compiled
def _most_above(lo, hi, T, H, w, limit):
    """The most weights above ``limit`` that a row has."""
    most = 0
    for row in range(lo, hi):
        count = 0
        for t in range(T):
            for k in range(w.shape[1]):
                count += w[(row // H * T + t) * H + row % H, k] > limit
        most = max(most, count)
    return most


@compiled
def forward_rows(lo, hi, T, H, w, w_idx, r, r_idx, v, M, gamma, eps, S_in, z_in, o, S_out, z_out):
    K, R, width = w.shape[1], r.shape[1], v.shape[1]
    given, wanted = S_in.size > 0, S_out.size > 0
    number = w.dtype.type
    gamma, eps, start = number(gamma), number(eps), number(1 / M)
    S, z = lines(M, width, w), np.zeros(M, w.dtype)
    for m in range(M):
        z[m] = start
    a, at = np.empty(K, w.dtype), np.empty(K, np.intp)
    c, read_at = np.empty(R, w.dtype), np.empty(R, np.intp)
    for row in range(lo, hi):
        b, h = row // H, row % H
        if given:
            _copy(S, z, b, h, S_in, z_in, False)
        for t in range(T):
            n = (b * T + t) * H + h
            _decays(w, n, gamma, a)
            _places(w_idx, n, width, at)
            for k in range(K):
                slot = w_idx[n, k]
                z[slot] = a[k] * z[slot] + w[n, k]
            _write(S, at, v, w, n, width, a)
            _places(r_idx, n, width, read_at)
            for k in range(R):
                c[k] = z[r_idx[n, k]]
            for k in range(R):
                c[k] = r[n, k] / (c[k] + eps)
            for d in range(0, width, LANES):
                even, odd = spread(number(0)), spread(number(0))  # two sums: one would wait for itself
                for k in range(0, R - 1, 2):
                    even = madd(load(S, read_at[k] + d), spread(c[k]), even)
                    odd = madd(load(S, read_at[k + 1] + d), spread(c[k + 1]), odd)
                if R % 2:
                    even = madd(load(S, read_at[R - 1] + d), spread(c[R - 1]), even)
                store(o, n * width + d, even + odd)
        if wanted:
            _copy(S, z, b, h, S_out, z_out, True)
        if not given:
            _wipe(b, h, T, H, w_idx, S, z, start)


@compiled
def backward_rows(
    lo,
    hi,
    T,
    H,
    w,
    w_idx,
    r,
    r_idx,
    v,
    M,
    gamma,
    eps,
    slope_eps,
    S_in,
    z_in,
    do,
    dS_out,
    dz_out,
    dw,
    dr,
    dv,
    dS_in,
    dz_in,
):
    K, R, width = w.shape[1], r.shape[1], v.shape[1]
    given, chained = S_in.size > 0, dS_out.size > 0
    number = w.dtype.type
    gamma, eps, slope_eps, start = number(gamma), number(eps), number(slope_eps), number(1 / M)
    limit = number(_limit(gamma))
    S, z = lines(M, width, w), np.zeros(M, w.dtype)
    for m in range(M):
        z[m] = start
    dS, dz = lines(M, width, w), np.zeros(M, w.dtype)
    overlap = np.zeros(M, w.dtype)  # <dS, S> of every slot
    kept, z_before = lines(_most_above(lo, hi, T, H, w, limit), width, w), np.empty((T, K), w.dtype)
    to_S, to_z = np.empty((T, R), w.dtype), np.empty((T, R), w.dtype)
    a, inverse_a, slope = np.empty(K, w.dtype), np.empty(K, w.dtype), np.empty(K, w.dtype)
    direct, to_a, inverse = np.empty(K, w.dtype), np.empty(K, w.dtype), np.empty(R, w.dtype)
    at, read_at = np.empty(K, np.intp), np.empty(R, np.intp)
    for row in range(lo, hi):
        b, h = row // H, row % H
        if given:
            _copy(S, z, b, h, S_in, z_in, False)
        count = 0
        for t in range(T):
            n = (b * T + t) * H + h
            _decays(w, n, gamma, a)
            _places(w_idx, n, width, at)
            for k in range(K):
                weight, slot = w[n, k], w_idx[n, k]
                z_before[t, k] = z[slot]
                z[slot] = a[k] * z[slot] + weight
                if weight > limit:
                    for d in range(0, width, LANES):
                        store(kept, count * width + d, load(S, at[k] + d))
                    count += 1
            _write(S, at, v, w, n, width, a)
            _places(r_idx, n, width, read_at)
            for k in range(R):
                inverse[k] = z[r_idx[n, k]]
                products = spread(number(0))
                for d in range(0, width, LANES):
                    products = madd(load(S, read_at[k] + d), load(do, n * width + d), products)
                dr[n, k] = total(products)
            for k in range(R):
                inverse[k] = number(1) / (inverse[k] + eps)
                dr[n, k] *= inverse[k]
                to_S[t, k] = r[n, k] * inverse[k]
                to_z[t, k] = -to_S[t, k] * dr[n, k]
        if chained:
            _copy(dS, dz, b, h, dS_out, dz_out, False)
        for m in range(M if chained else 0):
            products = spread(number(0))
            for d in range(0, width, LANES):
                products = madd(load(dS, m * width + d), load(S, m * width + d), products)
            overlap[m] = total(products)
        for t in range(T - 1, -1, -1):
            n = (b * T + t) * H + h
            _places(r_idx, n, width, read_at)
            for k in range(R):
                slot = r_idx[n, k]
                dz[slot] += to_z[t, k]
                overlap[slot] += r[n, k] * dr[n, k]
            for d in range(0, width, LANES):
                g = load(do, n * width + d)
                for k in range(R):
                    store(dS, read_at[k] + d, madd(spread(to_S[t, k]), g, load(dS, read_at[k] + d)))
            _decays(w, n, gamma, a)
            _slopes(w, n, gamma, slope_eps, slope)
            _places(w_idx, n, width, at)
            for k in range(K - 1, -1, -1):
                if w[n, k] > limit:
                    count -= 1
                    products = spread(number(0))
                    for d in range(0, width, LANES):
                        products = madd(load(dS, at[k] + d), load(kept, count * width + d), products)
                    to_a[k] = total(products)
            for k in range(K):
                direct[k] = 0
            d = 0
            while d + 2 * LANES <= width:  # two vectors at a time where there are two, for half as many sums of lanes
                x, y = load(v, n * width + d), load(v, n * width + d + LANES)
                dx, dy = spread(number(0)), spread(number(0))
                for k in range(K):
                    decay, weight = spread(a[k]), spread(w[n, k])
                    line, more = load(dS, at[k] + d), load(dS, at[k] + d + LANES)
                    dx, dy = madd(line, weight, dx), madd(more, weight, dy)
                    direct[k] += total(madd(line, x, more * y))
                    store(dS, at[k] + d, line * decay)
                    store(dS, at[k] + d + LANES, more * decay)
                store(dv, n * width + d, dx)
                store(dv, n * width + d + LANES, dy)
                d += 2 * LANES
            if d < width:
                x, dx = load(v, n * width + d), spread(number(0))
                for k in range(K):
                    line = load(dS, at[k] + d)
                    dx = madd(line, spread(w[n, k]), dx)
                    direct[k] += total(line * x)
                    store(dS, at[k] + d, line * spread(a[k]))
                store(dv, n * width + d, dx)
            for k in range(K):
                inverse_a[k] = number(1) / a[k]
            for k in range(K):
                slot, weight = w_idx[n, k], w[n, k]
                if weight > limit:
                    overlap[slot] = a[k] * to_a[k]
                else:
                    overlap[slot] -= weight * direct[k]
                    to_a[k] = overlap[slot] * inverse_a[k]
                dw[n, k] = direct[k] + dz[slot] + slope[k] * (to_a[k] + dz[slot] * z_before[t, k])
                dz[slot] *= a[k]
        if given:
            _copy(dS, dz, b, h, dS_in, dz_in, True)
        else:
            _wipe(b, h, T, H, w_idx, S, z, start)
        for m in range(M):
            overlap[m] = 0
        if not chained:
            _wipe(b, h, T, H, w_idx, dS, dz, number(0))
            _wipe(b, h, T, H, r_idx, dS, dz, number(0))
