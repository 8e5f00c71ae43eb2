"""A depthwise causal convolution on the CPU, compiled, parallel over sequences; PyTorch goes tap by tap.

A sequence is copied behind the inputs before it, or zeros, into lines that are multiples of ``LANES``: then no token
and no channel is special. The gradients of the weights are summed over the sequences by torch.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixers.ops.lanes import COMPILED, INLINED, LANES, START, lay_out, lines, load, madd, put_back, spread, store
from mixers.ops.rows import flat, over_rows

inlined = numba.njit(**INLINED)
compiled = numba.njit(**COMPILED)


@inlined
def _lay_out_sequence(row, T, earlier, channels, width, x, before, inputs):
    """Sequence ``row`` of x as lines, behind those of the inputs before it if there are any."""
    if before.size > 0:
        for t in range(earlier):
            lay_out(before, row * earlier + t, channels, width, inputs, t)
    for t in range(T):
        lay_out(x, row * T + t, channels, width, inputs, earlier + t)


@compiled
def _forward_rows(lo, hi, T, channels, taps, x, before, weight, bias, y):
    """x and y ``[B, T, C]``; before ``[B, taps - 1, C]`` or empty; weight ``[taps, C]``; bias ``[C]`` or empty."""
    width = (channels + LANES - 1) // LANES * LANES
    earlier = taps - 1
    inputs, outputs, w = lines(earlier + T, width, x), lines(T, width, x), lines(taps + 1, width, x)
    for tap in range(taps):
        lay_out(weight, tap, channels, width, w, tap)
    if bias.size > 0:
        lay_out(bias, START, channels, width, w, taps)
    for row in range(lo, hi):
        _lay_out_sequence(row, T, earlier, channels, width, x, before, inputs)
        for c in range(0, width, LANES):
            for t in range(T):
                sums = load(w, taps * width + c)
                for tap in range(taps):
                    sums = madd(load(inputs, (t + tap) * width + c), load(w, tap * width + c), sums)
                store(outputs, t * width + c, sums)
        for t in range(T):
            put_back(outputs, t, channels, width, y, row * T + t)


@compiled
def _backward_rows(lo, hi, T, channels, taps, x, before, weight, dy, dx, dbefore, dweight, dbias):
    """The gradients, those of the weights ``[B, taps, C]`` and of the bias ``[B, C]`` for each sequence."""
    width = (channels + LANES - 1) // LANES * LANES
    earlier = taps - 1
    inputs, to_inputs = lines(earlier + T, width, x), lines(earlier + T, width, x)
    # zeros around the gradient, which is then met by the same taps from the inputs' side
    gradient, w, dw = lines(T + 2 * earlier, width, x), lines(taps, width, x), lines(taps + 1, width, x)
    for tap in range(taps):
        lay_out(weight, tap, channels, width, w, tap)
    for row in range(lo, hi):
        _lay_out_sequence(row, T, earlier, channels, width, x, before, inputs)
        for t in range(T):
            lay_out(dy, row * T + t, channels, width, gradient, earlier + t)
        for c in range(0, width, LANES):
            for t in range(0 if before.size > 0 else earlier, earlier + T):
                sums = spread(x.dtype.type(0))
                for tap in range(taps):
                    sums = madd(load(gradient, (t + earlier - tap) * width + c), load(w, tap * width + c), sums)
                store(to_inputs, t * width + c, sums)
            for tap in range(taps):
                even, odd = spread(x.dtype.type(0)), spread(x.dtype.type(0))  # two sums: one would wait for itself
                for t in range(0, T - 1, 2):
                    at = (t + tap) * width + c
                    even = madd(load(inputs, at), load(gradient, (earlier + t) * width + c), even)
                    odd = madd(load(inputs, at + width), load(gradient, (earlier + t + 1) * width + c), odd)
                if T % 2 > 0:
                    last = load(gradient, (earlier + T - 1) * width + c)
                    even = madd(load(inputs, (T - 1 + tap) * width + c), last, even)
                store(dw, tap * width + c, even + odd)
            sums = spread(x.dtype.type(0))
            for t in range(T):
                sums = sums + load(gradient, (earlier + t) * width + c)
            store(dw, taps * width + c, sums)
        if before.size > 0:
            for t in range(earlier):
                put_back(to_inputs, t, channels, width, dbefore, row * earlier + t)
        for t in range(T):
            put_back(to_inputs, earlier + t, channels, width, dx, row * T + t)
        for tap in range(taps):
            put_back(dw, tap, channels, width, dweight, row * taps + tap)
        put_back(dw, taps, channels, width, dbias, row)


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None) -> Tensor:
        B, T, C = x.shape
        weight = weight.t().contiguous()
        y = x.new_empty(B, T, C)
        arrays = (flat(t, x) for t in (x, before, weight, bias, y))
        over_rows(_forward_rows, B, T, C, len(weight), *arrays)
        ctx.save_for_backward(x, weight, before)
        ctx.biased = bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, before = ctx.saved_tensors
        B, T, C = x.shape
        dx, dweight, dbias = x.new_empty(B, T, C), x.new_empty(B, len(weight), C), x.new_empty(B, C)
        dbefore = None if before is None else x.new_empty(before.shape)
        arrays = (flat(t, x) for t in (x, before, weight, dy, dx, dbefore, dweight, dbias))
        over_rows(_backward_rows, B, T, C, len(weight), *arrays)
        return dx, dweight.sum(0).t(), dbias.sum(0) if ctx.biased else None, dbefore


def causal_conv_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None) -> Tensor:
    """See ``causal_conv``; float32 on the CPU, all alike. Not differentiable twice."""
    return _CausalConv.apply(x, weight, bias, before)
