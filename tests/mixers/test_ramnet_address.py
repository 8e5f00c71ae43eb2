"""The address decoder: every engine against scoring all M slots, in float64, at awkward sizes."""

import itertools

import pytest
import torch

from mixers.ramnet import decode_address
from mixers.ramnet.address import cyclic_shift, product_log_softmax

# U, d_p, K
SIZES = [
    (1, 5, 3),
    (1, 64, 64),
    (2, 7, 9),
    (2, 3, 9),
    (3, 4, 8),
    (4, 2, 16),
    (5, 4, 16),
    (6, 2, 64),
    (10, 2, 5),
    (2, 64, 8),
]
SIZE_IDS = [f"{p}^{u}-top{k}" for u, p, k in SIZES]


def logits(order, sub_dim, lead=(3, 4, 2), seed=0):
    return 2 * torch.randn(*lead, order, sub_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_oracle_is_the_kronecker_product_of_softmaxes():
    x = logits(3, 4, lead=())
    p = x.softmax(-1)
    expected = torch.kron(torch.kron(p[0], p[1]), p[2])
    torch.testing.assert_close(product_log_softmax(x).exp(), expected)
    for digits in itertools.product(range(4), repeat=3):  # the first sub-vector is the most significant digit
        slot = digits[0] * 16 + digits[1] * 4 + digits[2]
        assert product_log_softmax(x)[slot].exp().item() == pytest.approx(
            float(p[0, digits[0]] * p[1, digits[1]] * p[2, digits[2]])
        )


@pytest.mark.parametrize("order, sub_dim, top_k", SIZES, ids=SIZE_IDS)
def test_merging_equals_brute_force_over_all_slots(order, sub_dim, top_k):
    x = logits(order, sub_dim)
    weights, slots = decode_address(x, top_k, backend="cpu")
    everything = product_log_softmax(x).exp()
    best = everything.topk(top_k, -1)
    torch.testing.assert_close(weights, best.values)
    assert torch.equal(slots.sort(-1).values, best.indices.sort(-1).values)
    torch.testing.assert_close(everything.gather(-1, slots), weights)


@pytest.mark.parametrize("order, sub_dim, top_k", SIZES, ids=SIZE_IDS)
def test_closed_form_gradient_equals_autograd(order, sub_dim, top_k):
    x = logits(order, sub_dim).requires_grad_()
    upstream = torch.randn(3, 4, 2, top_k, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for backend in ("reference", "cpu"):
        weights, _ = decode_address(x, top_k, backend)
        gradients.append(torch.autograd.grad((weights * upstream).sum(), x)[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equal_weights_go_to_the_lower_slot(backend):
    _, slots = decode_address(torch.zeros(2, 5, 4), 16, backend)
    assert torch.equal(slots, torch.arange(16).expand(2, 16))


def test_float32_error_is_at_most_twice_pytorchs():
    x = logits(5, 4, lead=(500, 4))
    exact, slots = decode_address(x, 8, "reference")
    errors = {}
    for backend in ("reference", "cpu"):
        weights, got = decode_address(x.float(), 8, backend)
        assert torch.equal(got, slots)
        errors[backend] = (weights.double() - exact).square().mean().sqrt()
    assert errors["cpu"] <= 2 * errors["reference"]


def test_a_slice_of_a_larger_tensor_is_taken_as_it_is():
    x = logits(3, 4)
    strided = torch.stack([x, x], -1)[..., 0]
    assert not strided.is_contiguous()
    assert torch.equal(decode_address(strided, 5, "cpu")[0], decode_address(x, 5, "cpu")[0])


def test_results_do_not_depend_on_the_number_of_threads():
    x = logits(4, 4, lead=(33, 3))
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(decode_address(x, 8, "cpu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_cape_moves_slot_j_to_j_minus_t():
    slots = torch.tensor([0, 1, 5, 7]).expand(1, 10, 2, 4)  # [B, T, H, K]
    moved = cyclic_shift(slots, torch.arange(10), torch.tensor([True, False]), 8)
    for t in range(10):
        assert moved[0, t, 0].tolist() == [(j - t) % 8 for j in (0, 1, 5, 7)]
        assert torch.equal(moved[0, t, 1], slots[0, t, 1])


@pytest.mark.parametrize("top_k", [0, -1, 65])
def test_impossible_top_k(top_k):
    with pytest.raises(ValueError, match=f"between 1 and the 64 slots of 4\\^3, got {top_k}"):
        decode_address(torch.zeros(2, 3, 4), top_k)
