"""Feature maps of kernel attention, for queries and keys ``[..., T, H, D]``: what Zoology's Based can be given."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The smallest feature of a ReLU.
RELU_FLOOR = 1e-12


class FeatureMap(nn.Module):
    """``phi``, from D numbers to ``size`` features; here the identity.

    ``positional``: whether ``forward`` is told the position of every token, ``[T]`` or ``[B, T]``.
    """

    positional = False

    def __init__(self, width: int, size: int | None = None) -> None:
        super().__init__()
        self.width, self.size = width, width if size is None else size

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        return x


class TaylorExp(FeatureMap):
    """``phi(q) . phi(k) = 1 + s + s^2 / 2``, ``s = q . k / sqrt(D)``: exp of it to second order, at least 1/2.

    Every product of two numbers once: 1, ``x_i / D^(1/4)``, ``x_i^2 / sqrt(2 D)`` and ``x_i x_j / sqrt(D)`` for i < j.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 1 + width + width * (width + 1) // 2)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        x = x * self.width**-0.25
        halved = x * 2**-0.5
        parts = [torch.ones_like(x[..., :1]), x, halved * x]
        parts += [x[..., i : i + 1] * x[..., i + 1 :] for i in range(self.width - 1)]
        return torch.cat(parts, -1)


class PosELU(FeatureMap):
    """``elu(x) + 1``."""

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        return F.elu(x) + 1


class ReLU(FeatureMap):
    """``max(x, 1e-12)``."""

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        return F.relu(x).clamp(min=RELU_FLOOR)


class Square(FeatureMap):
    """``x^2``."""

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        return x.square()


class AllPoly(FeatureMap):
    """``((W_1 x)^2 + W_2 x^2) / sqrt(2)``: ``size`` (default D) polynomials of second degree.

    Args:
        width: D.
        size: of the features.
        init: of both matrices: ``randn`` with variance 1 / D, ``kaiming`` as PyTorch starts a linear layer, or
            ``plusminus`` 1.
        learn: whether they are trained.
    """

    def __init__(
        self,
        width: int,
        size: int | None = None,
        init: Literal["randn", "kaiming", "plusminus"] = "randn",
        learn: bool = True,
    ) -> None:
        super().__init__(width, size)
        self.proj_1 = nn.Linear(width, self.size, bias=False)
        self.proj_2 = nn.Linear(width, self.size, bias=False)
        for layer in (self.proj_1, self.proj_2):
            if init == "randn":
                nn.init.normal_(layer.weight, std=width**-0.5)
            elif init == "plusminus":
                with torch.no_grad():
                    layer.weight.copy_(2.0 * torch.randint_like(layer.weight, 2) - 1)
            layer.weight.requires_grad_(learn)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        return (self.proj_1(x).square() + self.proj_2(x.square())) * 2**-0.5


class CosFormer(FeatureMap):
    """``relu(x) sin(a_t)`` beside ``relu(x) cos(a_t)``, ``a_t = pi t / (2 M)`` (Qin et al. 2022, arXiv 2202.08791).

    A weight so falls with the distance, to 0 at M tokens; beyond, it is negative.
    """

    positional = True

    def __init__(self, width: int, length: int) -> None:
        super().__init__(width, 2 * width)
        self.length = length

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        assert positions is not None
        angle = (math.pi / 2 / self.length) * (positions + 1).to(torch.float64)[..., None, None]
        x = F.relu(x)
        return torch.cat([x * angle.sin().to(x.dtype), x * angle.cos().to(x.dtype)], -1)


class Performer(FeatureMap):
    """FAVOR+: ``exp(w_i . y - |y|^2 / 2) / sqrt(m)``, ``y = x / D^(1/4)`` (Choromanski et al. 2021, arXiv 2009.14794).

    m random directions w_i are drawn at the start and never trained, orthogonal in blocks of D. Their length is that of
    Zoology's, ``sqrt(D / m)``, where the paper's is as of normal vectors, ``sqrt(D)``.
    """

    random_feats: Tensor

    def __init__(self, width: int, size: int | None = None) -> None:
        super().__init__(width, 256 if size is None else size)
        blocks = [nn.init.orthogonal_(torch.empty(width, width)) for _ in range(-(-self.size // width))]
        self.register_buffer("random_feats", torch.cat(blocks)[: self.size] * (width / self.size) ** 0.5)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        x = x * self.width**-0.25
        return torch.exp(x @ self.random_feats.T - x.square().sum(-1, keepdim=True) / 2) * self.size**-0.5
