import pytest
import torch

from mixers.ramnet.address import product_log_softmax
from mqar_bench.perf.inputs import NEAR_TIE, draw_clear_logits, draw_memory, draw_slots, make_generator
from mqar_bench.perf.shape import Shape

CPU = torch.device("cpu")


@pytest.mark.parametrize("top_k, slots", [(1, 1), (3, 3), (8, 1000)])
def test_slots_are_distinct_and_in_range(top_k, slots):
    drawn = draw_slots(make_generator(CPU, 0), 50, 4, top_k, num_slots=slots)
    assert drawn.shape == (50, 4, top_k) and drawn.dtype == torch.int32
    assert drawn.min() >= 0 and drawn.max() < slots
    ordered = drawn.sort(-1).values
    assert (ordered[..., 1:] > ordered[..., :-1]).all()


def test_slots_are_spread_over_the_memory_in_no_order():
    drawn = draw_slots(make_generator(CPU, 0), 4000, 8, num_slots=64)
    counts = torch.bincount(drawn.flatten().long(), minlength=64)
    assert counts.min() > 350 and counts.max() < 650  # 500 each on average
    assert abs(float((drawn[:, 0] < drawn[:, 1]).float().mean()) - 0.5) < 0.05


def draw(seed, **hot):
    shape = Shape(batch=2, length=5, heads=3, width=4, top_k=3, dtype="float32")
    return draw_memory(make_generator(CPU, seed), shape, 20, **hot)


def test_memory_inputs_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    first, again, other = draw(0), draw(0), draw(1)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    for name in ("w", "w_idx", "r", "r_idx", "v"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert all(leaf.requires_grad and leaf.is_leaf and leaf.is_contiguous() for leaf in first.leaves)
    assert (first.w > 0).all() and (first.w.sum(-1) <= 1).all()


def test_hot_slots_are_the_same_for_every_token():
    inputs = draw(0, hot_writes=True)
    assert (inputs.w_idx == inputs.w_idx[0, 0, 0]).all()
    assert not (inputs.r_idx == inputs.r_idx[0, 0, 0]).all()
    assert torch.equal(draw(0, hot_writes=True, hot_reads=True).r_idx, inputs.w_idx)


def test_clear_logits_have_no_near_ties():
    logits = draw_clear_logits(make_generator(CPU, 0), 5000, shape=Shape(order=3, sub_dim=4, top_k=8))
    best = product_log_softmax(logits.double()).sort(-1, descending=True).values
    assert (best[:, 7] - best[:, 8]).min() >= NEAR_TIE
    assert draw_clear_logits(make_generator(CPU, 0), 2, shape=Shape(order=1, sub_dim=4, top_k=4)).shape == (2, 1, 4)
