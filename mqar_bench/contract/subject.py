"""The mixer under check: how it is made, what is put in, and when two results count as equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import mixers
from mixers.checks import brief
from mqar_bench.basics.errors import describe
from mqar_bench.training.contract import aside, tell_progress

#: Lengths of sequences: one token, odd ones, and both sides of what is usual for a chunk.
LENGTHS = (1, 2, 3, 17, 64, 65)
#: The longest sequence that is decoded token by token: longer than chunks usually are.
LONGEST = 300
#: Parameters are moved by so much times a normal number, away from special values such as zero biases, behind which
#: whatever is wrong would be hidden.
SPREAD = 0.2
#: What is left where a number cancels, as in an FFT, relative to the largest one and to the dtype's epsilon.
CANCELLED = 64
#: Relative difference of results that are computed in another order.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}


class Broken(Exception):
    """A property that a mixer does not have; one line that says what and where."""


class NotApplicable(Exception):
    """A property that there is nothing to check of; one line that says why."""


class Note(str):
    """What is found of a property that the mixer has but that is worth knowing."""


@dataclass(frozen=True)
class Subject:
    """A mixer by name, and how it is looked at.

    Args:
        name: registered, or a dotted path.
        d_model: its width.
        options: its own.
        dtype: in which results are compared: float64, or float32 for a mixer that cannot.
        spread: how far parameters are moved from where they begin, see ``SPREAD``.
        longest: tokens that are decoded one by one.
        kept: what several properties look at and is computed once.
    """

    name: str
    d_model: int = 16
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    spread: float = SPREAD
    longest: int = LONGEST
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def build(self, layer_idx: int | None = 1, seed: int = 0) -> nn.Module:
        """As a run makes it, with torch's generator at ``seed``; in training mode, float32."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mixer: nn.Module = mixers.build(self.name, self.d_model, layer_idx, **self.options)
        return mixer

    def make(self, train: bool = False, dtype: torch.dtype | None = None) -> nn.Module:
        """With parameters moved, in ``dtype`` (default: that of the comparisons); the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            mixer: nn.Module = mixers.build(self.name, self.d_model, 1, **self.options).to(dtype or self.dtype)
            for p in mixer.parameters():
                if p.requires_grad:
                    p.data.add_(self.spread * torch.randn_like(p))
        if train:
            tell_progress(mixer, self.name, 0.0)
        return mixer.train(train)

    def input(self, batch: int, length: int, seed: int = 1, dtype: torch.dtype | None = None) -> Tensor:
        """Normal numbers, ``[batch, length, d_model]``."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, length, self.d_model, dtype=dtype or self.dtype, generator=generator)

    @property
    def dtype_name(self) -> str:
        """Such as ``float64``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def tolerance(self) -> float:
        """The relative difference of results that count as equal."""
        return TOLERANCE[self.dtype]

    @property
    def rounding(self) -> float:
        """What counts as zero, relative to the largest number beside it."""
        return CANCELLED * torch.finfo(self.dtype).eps


def call(mixer: nn.Module, x: Tensor) -> Any:
    """What ``forward`` returns for ``x``, which stays as it is whatever the mixer does to its input; torch's generator
    is at a seed, so that dropout is the same each time.

    Raises:
        Broken: it raises.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return mixer(x.clone())
        except Exception as error:
            raise Broken(f"forward raised {describe(error)} ({mode(mixer.training)}, {list(x.shape)})") from error


def forward(mixer: nn.Module, x: Tensor) -> Tensor:
    """``call``, where it returns a tensor of the same shape; else ``Broken``."""
    y = call(mixer, x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        got = list(y.shape) if isinstance(y, Tensor) else brief(y)
        raise Broken(f"forward must return {list(x.shape)}, got {got}")
    return y


def pull_back(y: Tensor, cotangent: Tensor, x: Tensor) -> Tensor:
    """How ``(y * cotangent).sum()`` changes with ``x``; zeros where it does not."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(y, x, cotangent, retain_graph=True, materialize_grads=True)
    return gradient


def mode(train: bool) -> str:
    return "in training" if train else "in eval mode"


def prepare(name: str, d_model: int, options: Mapping[str, Any], longest: int = LONGEST) -> Subject:
    """A mixer as it can be looked at: in float64 if it can, and with its parameters moved if its numbers then stay
    finite. What it raises meanwhile is for the properties to tell; no generator of random numbers notices."""
    with aside(torch.device("cpu")):
        for dtype in (torch.float64, torch.float32):
            for spread in (SPREAD, 0.0):
                subject = Subject(name, d_model, options, dtype, spread, longest)
                try:
                    y = forward(subject.make(), subject.input(2, 17))
                except Exception:
                    break
                if y.dtype == dtype and bool(y.isfinite().all()):
                    return subject
    return Subject(name, d_model, options, torch.float32, longest=longest)
