"""``norm`` on the CPU, compiled, parallel over blocks of rows: what autograd does in a dozen passes, in one."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixers.ops.lanes import COMPILED, INLINED, LANES, START, lay_out, lines, load, madd, put_back, spread, store, total
from mixers.ops.rows import flat, over_rows

inlined = numba.njit(**INLINED)
compiled = numba.njit(**COMPILED)

#: Rows of a block: what is summed over rows is summed over a block first, whatever the threads.
BLOCK = 64


@inlined
def _gains(weight, size, width, like):
    """A line of the weights, or of ones if there are none."""
    w = lines(np.intp(1), width, like)
    for c in range(size):
        w[c] = 1
    if weight.size > 0:
        lay_out(weight, START, size, width, w, START)
    return w


@compiled
def _forward_rows(lo, hi, rows, size, share, eps, x, weight, y, scales):
    """x and y ``[rows, size]``, weight ``[size]`` or empty, scales ``[rows]``; blocks lo to hi."""
    width = (size + LANES - 1) // LANES * LANES
    share, eps, one = x.dtype.type(share), x.dtype.type(eps), x.dtype.type(1)
    values, w = lines(np.intp(BLOCK), width, x), _gains(weight, size, width, x)
    for block in range(lo, hi):
        first, count = block * BLOCK, min(BLOCK, rows - block * BLOCK)
        for i in range(count):
            lay_out(x, first + i, size, width, values, i)
        for i in range(count):
            squares = spread(x.dtype.type(0))
            for c in range(i * width, (i + 1) * width, LANES):
                squares = madd(load(values, c), load(values, c), squares)
            scales[first + i] = total(squares) * share + eps
        for i in range(count):
            scales[first + i] = one / np.sqrt(scales[first + i])
        for i in range(count):
            scale = spread(scales[first + i])
            for c in range(0, width, LANES):
                store(values, i * width + c, load(values, i * width + c) * scale * load(w, c))
            put_back(values, i, size, width, y, first + i)


@compiled
def _backward_rows(lo, hi, rows, size, share, x, weight, scales, dy, dx, dweight):
    """dweight ``[blocks, size]``."""
    width = (size + LANES - 1) // LANES * LANES
    share = x.dtype.type(share)
    values, gradients = lines(np.intp(BLOCK), width, x), lines(np.intp(BLOCK), width, x)
    w, dw = _gains(weight, size, width, x), lines(np.intp(1), width, x)
    for block in range(lo, hi):
        first, count = block * BLOCK, min(BLOCK, rows - block * BLOCK)
        for i in range(count):
            lay_out(x, first + i, size, width, values, i)
            lay_out(dy, first + i, size, width, gradients, i)
        for c in range(width):
            dw[c] = 0
        for i in range(count):
            scale, products = spread(scales[first + i]), spread(x.dtype.type(0))
            for c in range(0, width, LANES):
                normed = load(values, i * width + c) * scale
                products_c = load(gradients, i * width + c) * normed
                store(dw, c, load(dw, c) + products_c)
                products = madd(products_c, load(w, c), products)
            mean = spread(-share * total(products))
            for c in range(0, width, LANES):
                normed = load(values, i * width + c) * scale
                g = load(gradients, i * width + c) * load(w, c)
                store(gradients, i * width + c, madd(normed, mean, g) * scale)
            put_back(gradients, i, size, width, dx, first + i)
        if dweight.size > 0:
            put_back(dw, START, size, width, dweight, block)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, share: float, eps: float) -> Tensor:
        size = x.shape[-1]
        rows = x.numel() // size
        blocks = -(-rows // BLOCK)
        y, scales = torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(rows)
        arrays = (flat(t, x) for t in (x, weight, y, scales))
        over_rows(_forward_rows, blocks, rows, size, share, eps, *arrays)
        ctx.save_for_backward(x, weight, scales)
        ctx.sizes = blocks, rows, size, share
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scales = ctx.saved_tensors
        blocks, rows, size, share = ctx.sizes
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        dweight = None if weight is None else x.new_empty(blocks, size)
        arrays = (flat(t, x) for t in (x, weight, scales, dy, dx, dweight))
        over_rows(_backward_rows, blocks, rows, size, share, *arrays)
        return dx, None if dweight is None else dweight.sum(0), None, None


def norm_cpu(x: Tensor, weight: Tensor | None, share: float, eps: float) -> Tensor:
    """``weight x / sqrt(share sum x^2 + eps)`` over the last dimension; float32 on the CPU."""
    return _Norm.apply(x, weight, share, eps)
