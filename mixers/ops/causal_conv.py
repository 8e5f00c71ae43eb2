"""A depthwise causal convolution of few taps, and which code computes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mixers.ops.rows import can_compile


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, before: Tensor | None = None) -> Tensor:
    """``y_t = sum_j weight[c, j] x_{t - taps + 1 + j} + bias``, differentiable in everything.

    Compiled with numba for float32 on the CPU, else PyTorch tap by tap, which is cheaper than conv1d there.

    Args:
        x: ``[B, T, C]``.
        weight: ``[C, taps]``, the current token's last.
        bias: ``[C]``.
        before: the inputs before x, ``[B, taps - 1, C]``; default zeros.

    Returns:
        y ``[B, T, C]``.
    """
    if can_compile(x, weight, bias, before):
        from mixers.ops.causal_conv_cpu import causal_conv_cpu  # numba is slow to import

        return causal_conv_cpu(x, weight, bias, before)
    return causal_conv_torch(x, weight, bias, before)


def last_inputs(x: Tensor, before: Tensor | None, count: int) -> Tensor:
    """What a convolution that goes on after x needs of it: its last ``count`` inputs, ``[B, count, C]``, with those of
    ``before`` (default zeros; as many) where x is shorter."""
    if count > x.shape[1]:
        x = prepend(x, before, count)
    return x[:, x.shape[1] - count :]


def prepend(x: Tensor, before: Tensor | None, count: int) -> Tensor:
    """``[B, T, C]`` with the ``count`` inputs before it, ``[B, count, C]`` (default zeros): ``[B, count + T, C]``."""
    return F.pad(x, (0, 0, count, 0)) if before is None else torch.cat([before, x], 1)


def causal_conv_torch(x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None) -> Tensor:
    """See ``causal_conv``, in PyTorch."""
    T, taps = x.shape[1], weight.shape[1]
    padded = prepend(x, before, taps - 1)
    y = bias
    for tap in range(taps):
        window = padded[:, tap : tap + T]
        y = window * weight[:, tap] if y is None else torch.addcmul(y, window, weight[:, tap])
    assert y is not None
    return y
