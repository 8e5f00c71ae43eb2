"""Where decays ``exp(-A softplus(x + b))`` start: A, a rate per head, and dt = softplus(b), random as in Mamba-2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: What dt starts between, as with Mamba and all that follow it.
DT_MIN, DT_MAX = 0.001, 0.1
#: Neither starts below this, whatever its range: the logarithm of 0 would never move again.
LEAST = 1e-4
#: No rate or step starts above this: one token then leaves nothing of the state.
MOST = 1e4


def check_start(*, dt_min: float, dt_max: float, A_min: float = 1.0, A_max: float = 1.0) -> None:
    """Whether both ranges are in order and within (0, ``MOST``]; A_min may be 0.

    Raises:
        ValueError: one is not; the message names it.
    """
    if not 0 < dt_min <= dt_max <= MOST:
        raise ValueError(
            f"dt_min and dt_max must be positive and in order, got {dt_min} and {dt_max}"
            + (f"; they end at {MOST:g}" if dt_max > MOST else "")
        )
    if not 0 <= A_min <= A_max <= MOST or A_max == 0:
        raise ValueError(
            f"A_min must be at least 0 and A_max not below it, nor 0, got {A_min} and {A_max}"
            + (f"; they end at {MOST:g}" if A_max > MOST else "")
        )


def start_rate(heads: int, A_min: float, A_max: float) -> nn.Parameter:
    """``A_log`` ``[heads]`` of A uniform in (A_min, A_max); weight decay leaves it alone."""
    return _undecayed(torch.empty(heads).uniform_(A_min, A_max).clamp(min=LEAST).log())


def start_step(size: int, dt_min: float = DT_MIN, dt_max: float = DT_MAX) -> nn.Parameter:
    """``dt_bias`` ``[size]`` whose softplus, dt, is log-uniform in (dt_min, dt_max); weight decay leaves it alone."""
    dt = torch.empty(size).uniform_(math.log(dt_min), math.log(dt_max)).exp().clamp(min=LEAST)
    return _undecayed(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus


def _undecayed(value: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(value)
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
