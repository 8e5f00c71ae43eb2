import pytest
import torch

from mqar_bench.perf import PerfError
from mqar_bench.perf.bench import FLOOR, compare, relative_error

EXACT = torch.tensor([3.0, 4.0], dtype=torch.float64)


def off(by):
    """``EXACT`` with a relative error."""
    return EXACT + torch.tensor([0.0, 5.0 * by], dtype=torch.float64)


def test_relative_error():
    assert relative_error(off(0.01), EXACT) == pytest.approx(0.01)
    assert relative_error(EXACT.float(), EXACT) == 0


@pytest.mark.parametrize(
    "ours, plain, bound", [(1.9e-3, 1e-3, 2e-3), (0.9 * FLOOR, 0.0, FLOOR)], ids=["twice-plain", "floor"]
)
def test_within_the_bound(ours, plain, bound):
    (check,) = compare("memory", "cpu", {"o": off(ours)}, {"o": off(plain)}, {"o": EXACT})
    assert (check.case, check.engine, check.tensor) == ("memory", "cpu", "o")
    assert check.error == pytest.approx(ours) and check.bound == pytest.approx(bound)


@pytest.mark.parametrize("wrong", [off(2.1e-3), EXACT * float("nan"), EXACT * float("inf")], ids=["off", "nan", "inf"])
def test_what_is_wrong_is_named(wrong):
    with pytest.raises(
        PerfError, match=r"^memory: the cpu engine is wrong: dv has a relative error of .*above 2\.00e-03"
    ):
        compare(
            "memory", "cpu", {"o": EXACT, "dv": wrong}, {"o": EXACT, "dv": off(1e-3)}, {"o": EXACT, "dv": EXACT}
        )  # fmt: skip
