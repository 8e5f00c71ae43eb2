"""Triton kernels of the PDMA memory: writes and reads sorted by slot, then a segmented scan in chunks.

A row is one head of one sequence. Its accesses are the K writes and then the K' reads of every token, numbered
``t (K + K') + j``. Sorted by slot (stably, so by time within a slot, a token's write before its read), each slot
is a segment, an independent recurrence ``x_i = a_i x_{i-1} + w_i v_i`` in which reads have a = 1 and w = 0. A row
is cut into chunks of equal length whatever its slots are, so that a slot written by every token costs no tail:

    arrange          the accesses in sorted order: token, place and flags, weight
    tails            each chunk's effect on the state that leaves it                    (reads few values)
    carries          scan over the chunks: the state that enters each
    scan_reads       the states at the reads, times r / (z + eps), to a place of their own
    sum_slots        sum over the K' reads of a token                                   -> o
    read_gradients   again the states at the reads: <do, state>                         -> dr; and, as ``tails``,
                     each chunk's effect on the gradient that leaves it to the left
    carries          the gradient that enters each chunk from the right
    write_gradients  the gradients of the states after the writes, right to left        -> dw, and w times it
    sum_slots        sum over the K writes of a token                                   -> dv

Nothing is added up by atomics: every run gives the same bits. States are float32. A tile is ``[ROWS, D]`` with the
columns on the lanes and ROWS accesses in registers. ``row L`` here is where a row's sorted accesses begin; L is a
multiple of CHUNK, filled up with accesses that are neither write nor read.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mixers.ramnet.rows_triton import add_to_row, load_rows, row_of, scan, store_rows

# Of an access: its place among the token's writes or reads, and flags.
_PLACE = tl.constexpr(0xFFFF)
_WRITE = tl.constexpr(1 << 16)
_READ = tl.constexpr(1 << 17)
_FIRST = tl.constexpr(1 << 18)  # of its slot
_LAST = tl.constexpr(1 << 19)

_UNSPECIALISED = ["T", "H", "K", "R", "one"]  # one kernel for all of them


def decay_case(gamma: float) -> int | None:
    """GAMMA of the kernels: the exponents whose decay needs no power."""
    return int(gamma) if gamma in (0.0, 1.0) else None


@triton.jit
def decay(w, gamma, GAMMA: tl.constexpr):
    """``(1 - w) ** gamma``; GAMMA names the cases 0 and 1, else is None."""
    if GAMMA == 0:
        return tl.zeros_like(w) + 1.0
    elif GAMMA == 1:
        return 1.0 - w
    else:
        left = 1.0 - w
        return tl.where(left > 0, tl.exp2(gamma * tl.log2(tl.where(left > 0, left, 1.0))), 0.0)


@triton.jit
def _decay_slope(w, gamma, eps, GAMMA: tl.constexpr):
    """d/dw of ``(eps + (1 - eps)(1 - w)) ** gamma``; eps 0 gives the exact derivative."""
    if GAMMA == 0:
        return tl.zeros_like(w)
    elif GAMMA == 1:
        return tl.zeros_like(w) - (1.0 - eps)
    else:
        left = eps + (1.0 - eps) * (1.0 - w)
        return -gamma * (1.0 - eps) * tl.exp2((gamma - 1.0) * tl.log2(left))


@triton.jit
def _program(blocks):
    """(row, block of the row) of this program: blocks of a row run side by side, so its tokens stay in cache."""
    return (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks


@triton.jit(do_not_specialize=_UNSPECIALISED)
def number_slots_kernel(keys, w_idx, r_idx, M, T, H, K, R, BLOCK: tl.constexpr):
    """keys[row, t (K + R) + j] = row M + slot, in the order of time."""
    number = T * (K + R)
    row, block = _program(tl.cdiv(number, BLOCK))
    i = block * BLOCK + tl.arange(0, BLOCK)
    t, j = i // (K + R), i % (K + R)
    token = ((row // H) * T + t) * H + row % H
    write = tl.load(w_idx + token * K + j, (i < number) & (j < K), 0).to(tl.int64)
    read = tl.load(r_idx + token * R + j - K, (i < number) & (j >= K), 0).to(tl.int64)
    tl.store(keys + row * number + i, row * M + tl.where(j < K, write, read), i < number)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def arrange_kernel(keys, order, w, r, tokens, codes, weights, L, T, H, K, R, BLOCK: tl.constexpr):
    """Tokens (over B, T, H), codes (place and flags) and weights ``[rows, L]``, in the sorted keys' order."""
    number = T * (K + R)
    row, block = _program(tl.cdiv(L, BLOCK))
    i = block * BLOCK + tl.arange(0, BLOCK)
    real = i < number
    here = row * number + i
    key = tl.load(keys + here, real, -1)
    before = tl.load(keys + here - 1, real & (i > 0), -1)
    after = tl.load(keys + here + 1, i + 1 < number, -1)
    event = tl.load(order + here, real, row * number) - row * number
    t, j = event // (K + R), event % (K + R)
    token = ((row // H) * T + t) * H + row % H
    write, read = real & (j < K), real & (j >= K)
    weight = tl.load(w + token * K + j, write, 0.0) + tl.load(r + token * R + j - K, read, 0.0)
    code = tl.where(write, j + _WRITE, j - K + _READ)
    code += tl.where(key != before, _FIRST, 0) + tl.where(key != after, _LAST, 0)
    inside = i < L
    tl.store(tokens + row * L + i, token.to(tl.int32), inside)
    tl.store(codes + row * L + i, tl.where(real, code, 0).to(tl.int32), inside)
    tl.store(weights + row * L + i, weight, inside)


@triton.jit
def _slots(keys, row, i, number):
    """Index over B, H, M of the slots of accesses i: the keys themselves."""
    return tl.load(keys + row * number + i, i < number, 0).to(tl.int64)


@triton.jit
def _given(S, z, slot, mask, one, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """S ``[ROWS, BLOCK_D]`` and z ``[ROWS]`` of slots (index over B, H, M), 0 outside the mask."""
    return load_rows(S, slot, mask, one, D, BLOCK_D), tl.load(z + slot, mask, 0.0).to(tl.float32)


@triton.jit
def _states(
    v, S, z, keys, token, code, weight, a, x, xz, row, i, number, M, one,
    LOG_ROWS: tl.constexpr, GIVEN: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The states after the accesses of a tile, from (x ``[D]``, xz ``[1]``) before it.

    Returns the products of the decays so far ``[ROWS]``, 0 from the first new slot on, S ``[ROWS, D]``, z ``[ROWS]``.
    """
    write, first = (code & _WRITE) != 0, (code & _FIRST) != 0
    b = tl.where(write, weight, 0.0)
    add = b[:, None] * load_rows(v, token, write, one, D, BLOCK_D)
    if GIVEN:
        start, start_z = _given(S, z, _slots(keys, row, i, number), first, one, D, BLOCK_D)
        add += a[:, None] * start
        add_z = b + a * start_z
    else:
        add_z = b + tl.where(first, a / M, 0.0)
    on = tl.where(first, 0.0, a)
    top = tl.sum(tl.where(tl.arange(0, 1 << LOG_ROWS) == 0, on, 0.0), 0)
    products, states = scan(on, add_to_row(add, 0, top * x), LOG_ROWS)
    _, states_z = scan(on, add_to_row(add_z[:, None], 0, top * xz), LOG_ROWS)
    return products, states, tl.sum(states_z, 1)


@triton.jit
def _load(tokens, codes, weights, at, gamma, GAMMA: tl.constexpr, WIDE: tl.constexpr):
    """Token, code, weight and decay of the accesses at ``at`` ``[ROWS]``. WIDE: 64 bits to index with."""
    token, code, weight = tl.load(tokens + at), tl.load(codes + at), tl.load(weights + at)
    token = token.to(tl.int64) if WIDE else token
    return token, code, weight, tl.where((code & _WRITE) != 0, decay(weight, gamma, GAMMA), 1.0)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def tails_kernel(
    keys, tokens, codes, weights, v, S, z, effect, effect_z, passed, gamma, L, number, M, one,
    GAMMA: tl.constexpr, GIVEN: tl.constexpr, LOG_ROWS: tl.constexpr, CHUNK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """What a chunk makes of the state that enters it: passed times it, plus effect. Nothing if a slot ends with it."""
    row, chunk = _program(L // CHUNK)
    d = tl.arange(0, BLOCK_D)
    begin, end = chunk * CHUNK, (chunk + 1) * CHUNK
    c = begin + tl.arange(0, CHUNK)
    chunk_codes = tl.load(codes + row * L + c)
    last_slot = tl.maximum(tl.max(tl.where((chunk_codes & _FIRST) != 0, c, 0), 0), begin)  # where it begins
    goes_on = tl.sum(tl.where(c == end - 1, chunk_codes & (_LAST | _WRITE | _READ), 0), 0)
    goes_on = (goes_on != 0) & ((goes_on & _LAST) == 0)
    x = tl.zeros((BLOCK_D,), tl.float32)
    xz = tl.zeros((1,), tl.float32)
    passed_on = tl.where(goes_on, 1.0, 0.0)
    if goes_on:
        for p in range(last_slot // (1 << LOG_ROWS) * (1 << LOG_ROWS), end, 1 << LOG_ROWS):
            i = p + tl.arange(0, 1 << LOG_ROWS)
            token, code, weight, a = _load(tokens, codes, weights, row * L + i, gamma, GAMMA, WIDE)
            code = tl.where(i < last_slot, 0, code)
            products, states, states_z = _states(
                v, S, z, keys, token, code, weight, a, x, xz, row, i, number, M, one, LOG_ROWS, GIVEN, D, BLOCK_D
            )
            x = row_of(states, (1 << LOG_ROWS) - 1)
            xz = row_of(states_z[:, None], (1 << LOG_ROWS) - 1)
            passed_on *= tl.sum(row_of(products[:, None], (1 << LOG_ROWS) - 1))
    place = row * (L // CHUNK) + chunk
    tl.store(effect + place * D + d, x, d < D)
    tl.store(effect_z + place + tl.arange(0, 1), xz)
    tl.store(passed + place, passed_on)


@triton.jit(do_not_specialize=["chunks"])
def carries_kernel(
    effect, effect_z, passed, carry, carry_z, chunks,
    UP: tl.constexpr, LOG_ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """What enters each chunk of a row from the left (UP: from the right), by a scan over the chunks."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    x = tl.zeros((BLOCK_D,), tl.float32)
    xz = tl.zeros((1,), tl.float32)
    for p in range(0, chunks, 1 << LOG_ROWS):
        i = p + tl.arange(0, 1 << LOG_ROWS)
        source = row * chunks + (chunks - i if UP else i - 1)  # the neighbour whose effect comes in
        have = (i >= 1) & (i < chunks)
        a = tl.load(passed + source, have, 0.0)
        add = tl.load(effect + source[:, None] * D + d[None, :], have[:, None] & (d < D)[None, :], 0.0)
        add_z = tl.load(effect_z + source, have, 0.0)
        top = tl.sum(tl.where(tl.arange(0, 1 << LOG_ROWS) == 0, a, 0.0), 0)
        _, states = scan(a, add_to_row(add, 0, top * x), LOG_ROWS)
        _, states_z = scan(a, add_to_row(add_z[:, None], 0, top * xz), LOG_ROWS)
        x = row_of(states, (1 << LOG_ROWS) - 1)
        xz = row_of(states_z, (1 << LOG_ROWS) - 1)
        place = row * chunks + (chunks - 1 - i if UP else i)
        tl.store(carry + place[:, None] * D + d[None, :], states, (i < chunks)[:, None] & (d < D)[None, :])
        if tl.program_id(1) == 0:
            tl.store(carry_z + place, tl.sum(states_z, 1), i < chunks)


@triton.jit(do_not_specialize=[*_UNSPECIALISED, "first_row", "first_token"])
def scan_reads_kernel(
    keys, tokens, codes, weights, v, S, z, carry, carry_z, reads, S_out, z_out,
    gamma, eps, L, number, M, R, first_row, first_token, one,
    GAMMA: tl.constexpr, GIVEN: tl.constexpr, KEEP: tl.constexpr,
    LOG_ROWS: tl.constexpr, CHUNK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """States at the reads, weighted: reads ``[tokens from first_token, R, D]``. KEEP: also the states at the end."""
    row, chunk = _program(L // CHUNK)
    row += first_row
    d = tl.arange(0, BLOCK_D)
    place = row * (L // CHUNK) + chunk
    x = tl.load(carry + place * D + d, d < D, 0.0)
    xz = tl.load(carry_z + place + tl.arange(0, 1))
    for p in range(chunk * CHUNK, (chunk + 1) * CHUNK, 1 << LOG_ROWS):
        i = p + tl.arange(0, 1 << LOG_ROWS)
        token, code, weight, a = _load(tokens, codes, weights, row * L + i, gamma, GAMMA, WIDE)
        _, states, states_z = _states(
            v, S, z, keys, token, code, weight, a, x, xz, row, i, number, M, one, LOG_ROWS, GIVEN, D, BLOCK_D
        )
        to = (token - first_token) * R + (code & _PLACE)
        weighted = (weight / (states_z + eps))[:, None] * states
        store_rows(reads, to, weighted, (code & _READ) != 0, one, D, BLOCK_D)
        if KEEP:
            slot = _slots(keys, row, i, number)
            last = (code & _LAST) != 0
            store_rows(S_out, slot, states, last, one, D, BLOCK_D)
            tl.store(z_out + slot, states_z, last)
        x = row_of(states, (1 << LOG_ROWS) - 1)
        xz = row_of(states_z[:, None], (1 << LOG_ROWS) - 1)


@triton.jit(do_not_specialize=["N", "K"])
def sum_slots_kernel(parts, out, N, K, BLOCK: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """out ``[N, D]`` = the sums over the K parts ``[N, K, D]``."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask = (n < N)[:, None] & (d < D)[None, :]
    total = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for k in range(K):
        total += tl.load(parts + (n * K + k)[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
    tl.store(out + n[:, None] * D + d[None, :], total.to(out.dtype.element_ty), mask)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def read_gradients_kernel(
    keys, tokens, codes, weights, v, S, z, carry, carry_z, do, dS_out, dz_out,
    dr, dz_reads, tile_x, tile_z, effect, effect_z, passed, gamma, eps, L, number, M, R, one,
    GAMMA: tl.constexpr, GIVEN: tl.constexpr, CHAINED: tl.constexpr,
    LOG_ROWS: tl.constexpr, CHUNK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """dr, what each read adds to the gradient of z, the states before each tile, and each chunk's effect leftwards.

    CHAINED: the final state has a gradient too, which enters at the last access to each slot.
    """
    row, chunk = _program(L // CHUNK)
    d = tl.arange(0, BLOCK_D)
    place = row * (L // CHUNK) + chunk
    x = tl.load(carry + place * D + d, d < D, 0.0)
    xz = tl.load(carry_z + place + tl.arange(0, 1))
    left = tl.zeros((BLOCK_D,), tl.float32)
    left_z = tl.sum(xz) * 0.0
    passed_on = left_z + 1.0
    for p in range(chunk * CHUNK, (chunk + 1) * CHUNK, 1 << LOG_ROWS):
        tile = (row * L + p) // (1 << LOG_ROWS)
        tl.store(tile_x + tile * D + d, x, d < D)
        tl.store(tile_z + tile + tl.arange(0, 1), xz)
        i = p + tl.arange(0, 1 << LOG_ROWS)
        token, code, weight, a = _load(tokens, codes, weights, row * L + i, gamma, GAMMA, WIDE)
        products, states, states_z = _states(
            v, S, z, keys, token, code, weight, a, x, xz, row, i, number, M, one, LOG_ROWS, GIVEN, D, BLOCK_D
        )
        read = (code & _READ) != 0
        g = load_rows(do, token, read, one, D, BLOCK_D)
        inverse = 1.0 / (states_z + eps)
        dr_here = tl.sum(g * states, 1) * inverse
        tl.store(dr + token * R + (code & _PLACE), dr_here, read)
        c = tl.where(read, weight * inverse, 0.0)
        g_z = -c * dr_here
        tl.store(dz_reads + row * L + i, g_z)
        g = c[:, None] * g
        if CHAINED:
            end, end_z = _given(dS_out, dz_out, _slots(keys, row, i, number), (code & _LAST) != 0, one, D, BLOCK_D)
            g += end
            g_z += end_z
        products *= passed_on
        left += tl.sum(products[:, None] * g, 0)
        left_z += tl.sum(products * g_z, 0)
        passed_on = tl.sum(row_of(products[:, None], (1 << LOG_ROWS) - 1))
        x = row_of(states, (1 << LOG_ROWS) - 1)
        xz = row_of(states_z[:, None], (1 << LOG_ROWS) - 1)
    tl.store(effect + place * D + d, left, d < D)
    tl.store(effect_z + place, left_z)
    tl.store(passed + place, passed_on)


@triton.jit(do_not_specialize=[*_UNSPECIALISED, "first_row", "first_token"])
def write_gradients_kernel(
    keys, tokens, codes, weights, v, S, z, tile_x, tile_z, carry, carry_z, do, dS_out, dz_out, dz_reads,
    dw, writes, dS, dz, gamma, eps, slope_eps, L, number, M, K, first_row, first_token, one,
    GAMMA: tl.constexpr, GIVEN: tl.constexpr, CHAINED: tl.constexpr,
    LOG_ROWS: tl.constexpr, CHUNK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Right to left: dw, each write's part of dv (``[tokens from first_token, K, D]``), the initial state's gradient.

    With G_i the gradient of the state after access i, ``dw = <G, v + slope S before> + Gz (1 + slope z before)``.
    """
    ROWS: tl.constexpr = 1 << LOG_ROWS
    row, chunk = _program(L // CHUNK)
    row += first_row
    d = tl.arange(0, BLOCK_D)
    place = row * (L // CHUNK) + chunk
    right = tl.load(carry + place * D + d, d < D, 0.0)  # gradient of the state that leaves the tile at hand
    right_z = tl.load(carry_z + place + tl.arange(0, 1))
    top, bottom = tl.arange(0, ROWS) == 0, tl.arange(0, ROWS) == ROWS - 1
    for step in range(CHUNK // ROWS):
        p = (chunk + 1) * CHUNK - (step + 1) * ROWS
        i = p + tl.arange(0, ROWS)
        token, code, weight, a = _load(tokens, codes, weights, row * L + i, gamma, GAMMA, WIDE)
        first, write, read = (code & _FIRST) != 0, (code & _WRITE) != 0, (code & _READ) != 0
        # states before the accesses: a scan over their left neighbours, the tile's entering state at the top
        at = row * L + tl.where(top, i, i - 1)
        token_b, code_b, weight_b, a_b = _load(tokens, codes, weights, at, gamma, GAMMA, WIDE)
        inner = (top == 0) & (first == 0)
        write_b = inner & ((code_b & _WRITE) != 0)
        b = tl.where(write_b, weight_b, 0.0)
        enters = tl.where(top & (first == 0), 1.0, 0.0)
        tile = (row * L + p) // ROWS
        x, xz = tl.load(tile_x + tile * D + d, d < D, 0.0), tl.load(tile_z + tile)
        add = b[:, None] * load_rows(v, token_b, write_b, one, D, BLOCK_D) + enters[:, None] * x[None, :]
        add_z = b + enters * xz
        if GIVEN:
            slot = _slots(keys, row, i, number)
            start, start_z = _given(S, z, slot, first, one, D, BLOCK_D)
            add += start
            add_z += start_z
        else:
            add_z += tl.where(first, 1.0 / M, 0.0)
        on = tl.where(inner, a_b, 0.0)
        _, before = scan(on, add, LOG_ROWS)
        _, before_z = scan(on, add_z[:, None], LOG_ROWS)
        # gradients of the states after the accesses: a scan upwards, with the decay of the right neighbour
        c = tl.where(read, weight / (tl.sum(before_z, 1) + eps), 0.0)
        g = c[:, None] * load_rows(do, token, read, one, D, BLOCK_D)
        g_z = tl.load(dz_reads + row * L + i)
        if CHAINED:
            end, end_z = _given(dS_out, dz_out, _slots(keys, row, i, number), (code & _LAST) != 0, one, D, BLOCK_D)
            g += end
            g_z += end_z
        _, _, _, a_after = _load(tokens, codes, weights, row * L + tl.where(bottom, i, i + 1), gamma, GAMMA, WIDE)
        back = tl.where(bottom | ((code & _LAST) != 0), 0.0, a_after)
        _, G = scan(back, add_to_row(g, ROWS - 1, right), LOG_ROWS, True)
        _, G_z = scan(back, add_to_row(g_z[:, None], ROWS - 1, right_z), LOG_ROWS, True)
        slope = _decay_slope(weight, gamma, slope_eps, GAMMA)
        along = load_rows(v, token, write, one, D, BLOCK_D) + slope[:, None] * before  # the state's derivative by w
        gradient = tl.sum(G * along, 1) + tl.sum(G_z, 1) * (1.0 + slope * tl.sum(before_z, 1))
        tl.store(dw + token * K + (code & _PLACE), gradient, write)
        to = (token - first_token) * K + (code & _PLACE)
        store_rows(writes, to, weight[:, None] * G, write, one, D, BLOCK_D)
        if GIVEN:
            store_rows(dS, slot, a[:, None] * G, first, one, D, BLOCK_D)
            tl.store(dz + slot, a * tl.sum(G_z, 1), first)
        leaves = tl.where(top & (first == 0), a, 0.0)
        right = tl.sum(leaves[:, None] * G, 0)
        right_z = tl.sum(leaves[:, None] * G_z, 0)
