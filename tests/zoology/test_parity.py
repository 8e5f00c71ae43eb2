import json

import pytest

from tests.zoology.live import HOW, checkout
from tests.zoology.parity import GOLDEN, MODELS, STEPS, our_losses, their_losses

#: Both compute in float32, with other kernels and another order of sums.
TOLERANCE = 2e-5


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_that_zoology_gave(name):
    golden = json.loads(GOLDEN.read_text())[name]
    assert len(golden) == STEPS and golden[-1] < golden[0]
    assert our_losses(name) == pytest.approx(golden, abs=TOLERANCE, rel=0)


@pytest.mark.skipif(checkout() is None, reason=HOW)
@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_that_zoology_gives(name):
    assert our_losses(name) == pytest.approx(their_losses(name, checkout()), abs=TOLERANCE, rel=0)
