"""A depthwise causal convolution with a filter as long as the sequence, in which later tokens leave no trace at all.

One FFT over a sequence mixes its positions within rounding, so that a later token changes earlier outputs a little.
Here a block of tokens is multiplied by the taps as a matrix, in which the future is exactly 0, and what the first half
of two blocks, of four and so on adds to the second goes by FFT: all of those outputs come after all of those inputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Tokens in a block, a power of 2.
BLOCK = 256


def long_convolution(u: Tensor, taps: Tensor, before: Tensor | None = None) -> Tensor:
    """``y_t = sum_j taps[c, j] u_{t-j}``, differentiable in everything.

    Args:
        u: ``[B, T, C]``, T at least 1.
        taps: ``[C, N]``, N at least 1; inputs N tokens ago and older count for nothing.
        before: the inputs before u, ``[B, S, C]``; default none.

    Returns:
        ``[B, T, C]`` in u's dtype; 16 bits are computed in float32.
    """
    wide = torch.promote_types(torch.promote_types(u.dtype, taps.dtype), torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        taps, inputs = taps.to(wide), u.to(wide).permute(2, 0, 1)  # [C, B, T]
        y = _within(inputs, taps)
        if before is not None:
            y = y + _after(before.to(wide).permute(2, 0, 1), taps, u.shape[1])
    return y.permute(1, 2, 0).to(u.dtype)


def _within(u: Tensor, taps: Tensor) -> Tensor:
    """Outputs ``[C, B, T]`` from the inputs at the same tokens."""
    T, reach = u.shape[-1], taps.shape[-1] - 1
    size = min(T, BLOCK)
    blocks = -(-T // size)
    if blocks > 1:
        blocks = 1 << (blocks - 1).bit_length()
        u = F.pad(u, (0, blocks * size - T))
    u = u.unflatten(-1, (blocks, size))
    y = _product(u, taps, size, 0)
    while blocks > 1:
        if size >= reach:  # a block is reached by the one before it alone
            added = F.pad(_after(u[..., :-1, :], taps, size), (0, 0, 1, 0))
            return (y + added).flatten(-2)[..., :T]
        added = _after(u[..., ::2, :], taps, size)
        y = torch.stack([y[..., ::2, :], y[..., 1::2, :] + added], -2).flatten(-3, -2)
        blocks, size = blocks // 2, 2 * size
        u, y = u.reshape(*u.shape[:2], blocks, size), y.reshape(*y.shape[:2], blocks, size)
    return y.flatten(-2)[..., :T]


def _after(u: Tensor, taps: Tensor, T: int) -> Tensor:
    """What inputs ``[C, .., S]`` add to the T outputs after them."""
    u = u[..., max(0, u.shape[-1] - taps.shape[-1] + 1) :]
    S = u.shape[-1]
    if S == 0:
        return u.new_zeros(*u.shape[:-1], T)
    if S * T <= BLOCK * BLOCK:
        return _product(u, taps, T, S)
    n = 1 << (S + T - 1).bit_length()  # what wraps around falls on the first S outputs, which are not wanted
    spectrum = torch.fft.rfft(taps[:, : S + T], n).view(len(taps), *[1] * (u.dim() - 2), -1)
    return torch.fft.irfft(torch.fft.rfft(u, n) * spectrum, n)[..., S : S + T]


def _product(u: Tensor, taps: Tensor, T: int, distance: int) -> Tensor:
    """What inputs ``[C, .., S]`` add to T outputs of which the first is ``distance`` after the first input."""
    S, N = u.shape[-1], taps.shape[-1]
    row = F.pad(taps, (S - 1 - distance, distance + T - N))  # taps from distance - S + 1 to distance + T - 1
    matrix = row.unfold(-1, T, 1)  # [C, S, T]: the inputs from the last to the first
    return (u.flip(-1).flatten(1, -2) @ matrix).view(*u.shape[:-1], T)
