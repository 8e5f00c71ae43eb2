import json

import numpy as np
import pytest

from tests.zoology.live import HOW, checkout
from tests.zoology.parity import GOLDEN, MODELS, NEEDS, STEPS, our_losses, their_losses

#: What one sum may lose: its rounding is at most its length (512 supervised tokens are the longest) times this.
ROUNDING = 512 * np.finfo(np.float64).eps
#: Of losses after STEPS steps, each of which adds the rounding of its sums to weights that training carries on;
#: ``test_rounding_cannot_reach_the_tolerance`` says that this is room enough.
TOLERANCE = 1e-7


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_that_zoology_gave(name):
    golden = json.loads(GOLDEN.read_text())[name]
    assert len(golden) == STEPS and golden[-1] < golden[0]
    assert our_losses(name) == pytest.approx(golden, abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("name", MODELS)
def test_rounding_cannot_reach_the_tolerance(name):
    """All of the rounding of all steps put into the weights at the start, where training amplifies it most."""
    shaken = our_losses(name, shaken=STEPS * ROUNDING)
    assert shaken == pytest.approx(our_losses(name), abs=TOLERANCE / 10, rel=0)


@pytest.mark.skipif(checkout() is None, reason=HOW)
@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_that_zoology_gives(name):
    if "Based" in name:
        pytest.importorskip("opt_einsum", reason="Zoology's Based takes opt_einsum")
    for module in NEEDS.get(name, []):
        pytest.importorskip(module, reason=f"{module} is not installed")
    assert our_losses(name) == pytest.approx(their_losses(name, checkout()), abs=TOLERANCE, rel=0)
