"""A small model per head that learns a sequence by gradient descent while it answers: the arithmetic of test-time
training (Sun et al. 2024), for the part of a mini-batch that is at hand.

The inner model is layers ``z = h W + b`` with a GELU (tanh) between them, given as the list [W_1, b_1, W_2, ..] of
``[B, H, in, out]`` and ``[B, H, 1, out]``; a head's input and output are D wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


def learn_and_answer(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    share: Tensor,
    model: Sequence[Tensor],
    pending: Sequence[Tensor],
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Take n tokens of one mini-batch, which all find the model as it was when that began.

    Token i adds ``rate_i`` times the gradient of ``|LN(f(k_i)) + k_i - v_i|^2 / 2`` to those that are pending, and is
    answered with ``q_i + LN(f'(q_i))``, where the weights of f' are those of f less ``share_i`` times what is pending.
    No weights are made for each token: what they do to a query is computed as attention.

    Args:
        q, k, v: ``[B, H, n, D]``.
        rate: ``[B, H, n]``.
        share: ``[n, 1]``.
        model: f, as it was before the mini-batch.
        pending: gradients of the tokens before, shaped as the model's tensors; nothing if these are the first.
        norm_weight, norm_bias: ``[H, 1, D]``, of LN.

    Returns:
        The answers, ``[B, H, n, D]``, and what is pending after them.
    """
    inputs, gradients = _gradients(k, v - k, model, norm_weight, norm_bias)
    after, h = [], q
    for layer, (x, g) in enumerate(zip(inputs, gradients, strict=True)):
        W, b = model[2 * layer : 2 * layer + 2]
        moved = (((h @ x.mT + 1) * rate.unsqueeze(-2)).tril()) @ g  # the 1 is what the bias moves by
        sums = [(rate.unsqueeze(-1) * x).mT @ g, (rate.unsqueeze(-1) * g).sum(-2, keepdim=True)]
        if pending:
            G_W, G_b = pending[2 * layer : 2 * layer + 2]
            moved = moved + (h @ G_W + G_b)
            sums = [G_W + sums[0], G_b + sums[1]]
        after += sums
        h = h @ W + b - share * moved
        if layer + 1 < len(inputs):
            h = F.gelu(h, approximate="tanh")
    normal = F.layer_norm(h, h.shape[-1:], eps=EPS)
    return q + norm_weight * normal + norm_bias, after


def _gradients(
    k: Tensor, target: Tensor, model: Sequence[Tensor], weight: Tensor, bias: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each layer its inputs and the gradient of the loss in its outputs, ``[B, H, n, in]`` and ``[B, H, n, out]``.

    Written out, since training goes through them once more.
    """
    inputs, outputs = [k], list[Tensor]()
    for layer in range(len(model) // 2):
        if layer:
            inputs.append(F.gelu(outputs[-1], approximate="tanh"))
        outputs.append(inputs[-1] @ model[2 * layer] + model[2 * layer + 1])
    gradients = [_norm_gradient(outputs[-1], target, weight, bias)]
    for layer in range(len(inputs) - 1, 0, -1):
        gradients.append((gradients[-1] @ model[2 * layer].mT) * _gelu_slope(outputs[layer - 1]))
    return inputs, gradients[::-1]


def _norm_gradient(z: Tensor, target: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The gradient of ``|LN(z) - target|^2 / 2`` in z."""
    centred = z - z.mean(-1, keepdim=True)
    inverse = (centred.square().mean(-1, keepdim=True) + EPS).rsqrt()
    normal = centred * inverse
    g = (weight * normal + bias - target) * weight
    return (g - g.mean(-1, keepdim=True) - normal * (g * normal).mean(-1, keepdim=True)) * inverse


def _gelu_slope(x: Tensor) -> Tensor:
    """The derivative of ``F.gelu(x, approximate="tanh")``."""
    a, c = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(a * (x + c * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t.square()) * a * (1 + 3 * c * x.square())
