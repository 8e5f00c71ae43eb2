"""What makes RAM-Net learn with K well below sqrt(M): its defaults against the same model without them."""

import pytest

from mqar_bench.config import MixerSpec
from mqar_bench.training.loop import run
from sweeps import fig3


def accuracy(**options):
    """The demo's task and training, with 8 of 1024 slots."""
    spec = MixerSpec(name="ramnet", options={"order": 5, "sub_dim": 4, "head_v_dim": 32, "top_k": 8, **options})
    base = fig3.demo()[0]
    return run(fig3.run("demo", spec, 64, base.data, fig3.demo_training(1e-2))).accuracy


@pytest.mark.slow
def test_eight_of_1024_slots_are_learnt():
    assert accuracy() > 0.98


@pytest.mark.slow
def test_without_more_slots_at_the_start_nothing_is_learnt():
    assert accuracy(train_top_k=8) < 0.1
