"""Tiles of rows in Triton kernels: loading, storing, and the memory's linear recurrence down the rows.

The scan is written with reshapes rather than ``tl.associative_scan``: the decay is one number per row and needs no
copy per column, the columns stay on the lanes (no shuffles), and the interpreter runs it as array operations.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _only(x, mask, AXIS: tl.constexpr):
    """The one element of float32 x that the mask leaves along an axis, which is kept. In integers, so that adding 0 is
    free: adding 0.0 is not, as it changes -0.0."""
    bits = tl.where(mask, x.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, AXIS, keep_dims=True).to(tl.float32, bitcast=True)


@triton.jit
def _join(a, x, HALF: tl.constexpr, UP: tl.constexpr):
    """In each block of ``2 * HALF`` rows, carry the scanned first half's end into the second (or, up, reversed)."""
    ROWS: tl.constexpr = x.shape[0]
    D: tl.constexpr = x.shape[1]
    a3 = tl.reshape(a, (ROWS // (2 * HALF), 2, HALF))
    x4 = tl.reshape(x, (ROWS // (2 * HALF), 2, HALF, D))
    half = tl.arange(0, 2)[None, :, None]
    row = tl.arange(0, HALF)[None, None, :]
    if UP:
        end, later = (half == 1) & (row == 0), half == 0
    else:
        end, later = (half == 0) & (row == HALF - 1), half == 1
    a_end = _only(_only(a3, end, 2), row < HALF, 1)
    x_end = _only(_only(x4, end[:, :, :, None], 2), (row < HALF)[:, :, :, None], 1)
    x4 = tl.where(later[:, :, :, None], x4 + a3[:, :, :, None] * x_end, x4)
    return tl.reshape(tl.where(later, a3 * a_end, a3), (ROWS,)), tl.reshape(x4, (ROWS, D))


@triton.jit
def scan(a, x, LOG_ROWS: tl.constexpr, UP: tl.constexpr = False):
    """``x_i <- x_i + a_i x_{i-1}`` down the rows of x ``[2 ** LOG_ROWS, D]``; with UP ``x_i + a_i x_{i+1}``, upwards.

    Returns (the products of a ``[rows]`` so far, the states ``[rows, D]``). A row with a = 0 cuts off what came before.
    """
    for i in tl.static_range(LOG_ROWS):
        a, x = _join(a, x, 1 << i, UP)
    return a, x


@triton.jit
def row_of(x, index):
    """Row ``index`` of x ``[rows, D]``: ``[D]``."""
    row = _only(x, tl.arange(0, x.shape[0])[:, None] == index, 0)
    return tl.reshape(row, (x.shape[1],))


@triton.jit
def add_to_row(x, index, row):
    """x ``[rows, D]`` with ``row`` ``[D]`` added to row ``index``."""
    return tl.where(tl.arange(0, x.shape[0])[:, None] == index, x + row[None, :], x)


@triton.jit
def _columns(one, BLOCK_D: tl.constexpr):
    """0 ... BLOCK_D - 1 ``[1, BLOCK_D]``, of which the compiler knows only that they come in pairs.

    ``one`` is 1, but the compiler does not know: it would otherwise give a thread 8 columns of a row and spread the
    rows over the lanes, and every step of a scan would be a shuffle.
    """
    d = tl.arange(0, BLOCK_D)[None, :]
    return (d // 2 * 2) * one + d % 2


@triton.jit
def load_rows(x, place, mask, one, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows ``place`` ``[ROWS]`` of x ``[.., D]`` as float32 ``[ROWS, BLOCK_D]``, 0 outside ``mask`` ``[ROWS]``."""
    d = _columns(one, BLOCK_D)
    return tl.load(x + (place[:, None] * D + d), mask[:, None] & (d < D), 0.0).to(tl.float32)


@triton.jit
def store_rows(x, place, value, mask, one, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Store value ``[ROWS, BLOCK_D]`` to the rows ``place`` of x ``[.., D]``."""
    d = _columns(one, BLOCK_D)
    tl.store(x + (place[:, None] * D + d), value.to(x.dtype.element_ty), mask[:, None] & (d < D))
