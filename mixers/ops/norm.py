"""Norms over the last dimension, and which code computes them.

Compiled with numba for float32 on the CPU, where PyTorch makes a dozen passes of them; else PyTorch.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mixers.ops.rows import can_compile


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """``weight x / sqrt(mean x^2 + eps)`` over the last dimension; weight ``[x.shape[-1]]`` or none."""
    if can_compile(x, weight):
        from mixers.ops.norm_cpu import norm_cpu  # numba is slow to import

        return norm_cpu(x, weight, 1 / x.shape[-1], eps)
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def l2_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """``x / sqrt(sum x^2 + eps)`` over the last dimension, as fla's kernels do."""
    if can_compile(x):
        from mixers.ops.norm_cpu import norm_cpu  # numba is slow to import

        return norm_cpu(x, None, 1.0, eps)
    return x * (x.square().sum(-1, keepdim=True) + eps).rsqrt()
