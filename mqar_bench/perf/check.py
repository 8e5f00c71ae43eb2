"""Is the engine right? Its error against float64, beside that of plain PyTorch in the same precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mqar_bench.config import Frozen
from mqar_bench.perf import PerfError

#: Relative error that is always allowed.
FLOOR = 1e-6

#: Times the error of plain PyTorch.
FACTOR = 2.0


class Check(Frozen):
    """One tensor compared: relative L2 errors against float64, ours and plain PyTorch's, and what was allowed."""

    case: str
    engine: str
    tensor: str
    error: float
    plain_error: float
    bound: float


def relative_error(got: Tensor, exact: Tensor) -> float:
    """``|got - exact| / |exact|`` in the L2 norm, computed in float64; NaN if anything in ``got`` is."""
    got, exact = got.detach().double(), exact.detach().double()
    return float((got - exact).norm() / exact.norm().clamp_min(torch.finfo(torch.float64).tiny))


def compare(
    case: str, engine: str, got: Mapping[str, Tensor], plain: Mapping[str, Tensor], exact: Mapping[str, Tensor]
) -> list[Check]:
    """Check every tensor of ``exact``.

    Args:
        got: the engine's, in the precision that is measured.
        plain: the dense PyTorch reference's in the same precision.
        exact: the reference's in float64.

    Raises:
        PerfError: an error above twice that of ``plain`` and above 1e-6, or NaN; the message names the tensor.
    """
    checks = []
    for name, tensor in exact.items():
        error, plain_error = relative_error(got[name], tensor), relative_error(plain[name], tensor)
        bound = max(FACTOR * plain_error, FLOOR)
        if not error <= bound:  # a NaN is no less wrong
            raise PerfError(
                f"{case}: the {engine} engine is wrong: {name} has a relative error of {error:.2e} against float64,"
                f" above {bound:.2e}"
            )
        checks.append(Check(case=case, engine=engine, tensor=name, error=error, plain_error=plain_error, bound=bound))
    return checks
