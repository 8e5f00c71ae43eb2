"""The address decoder: every engine against scoring all M slots, in float64, at awkward sizes."""

import itertools

import numba
import numpy as np
import pytest
import torch

from mixers.ops.lanes import LANES, exponential, load, store
from mixers.ramnet import decode_address
from mixers.ramnet.address import cyclic_shift, product_log_softmax
from mixers.ramnet.network import merge

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
    (4, 4, 64),
    (5, 4, 128),
    (3, 3, 27),
    (3, 5, 100),
    (2, 17, 5),
    (2, 32, 33),
    (3, 4, 1),
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
    assert weights.diff(dim=-1).le(0).all()
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


@pytest.mark.parametrize("flat", [(0,), (2,), (0, 1), (1, 3), (0, 2, 3)], ids=str)
@pytest.mark.parametrize("top_k", [1, 7, 64, 256])
def test_equal_weights_of_some_digits_are_in_the_references_order(flat, top_k):
    x = logits(4, 4)
    x[..., list(flat), :] = 0.5
    _, expected = decode_address(x, top_k, "reference")
    assert torch.equal(decode_address(x, top_k, "cpu")[1], expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_bad_row_leaves_the_others_alone(bad, dtype):
    x = logits(3, 4, lead=(40,)).to(dtype)
    spoilt = x.clone()
    spoilt[17] = bad
    others = torch.arange(40) != 17
    for got, expected in zip(decode_address(spoilt, 9, "cpu"), decode_address(x, 9, "cpu"), strict=True):
        assert torch.equal(got[others], expected[others])
    weights, slots = decode_address(spoilt, 9, "cpu")
    assert weights[17].isnan().all() and slots[17].ge(0).all() and slots[17].lt(64).all()


def test_a_digit_of_no_weight_has_none():
    x = logits(3, 4, lead=(40,)).float()
    x[:, 1, 2] = -float("inf")
    weights, slots = decode_address(x, 64, "cpu")
    assert weights[:, 48:].eq(0).all() and (slots[:, 48:] // 4 % 4).eq(2).all()
    torch.testing.assert_close(weights, decode_address(x, 64, "reference")[0])


def test_networks_merge_runs_of_any_lengths():
    """By the 0-1 principle: what orders all runs of zeros and ones orders all runs."""
    for m, n in itertools.product(range(1, 10), repeat=2):
        pairs = []
        places = merge(list(range(m)), list(range(m, m + n)), pairs)
        assert sorted(places) == list(range(m + n))
        for i, j in itertools.product(range(m + 1), range(n + 1)):
            values = [1] * i + [0] * (m - i) + [1] * j + [0] * (n - j)
            for a, b in pairs:
                values[a], values[b] = max(values[a], values[b]), min(values[a], values[b])
            assert [values[place] for place in places] == [1] * (i + j) + [0] * (m + n - i - j)


@pytest.mark.parametrize("dtype, ulps", [(np.float32, 2), (np.float64, 2)], ids=["float32", "float64"])
def test_exponential(dtype, ulps):
    @numba.njit
    def run(x, y):
        for i in range(0, x.size, LANES):
            store(y, i, exponential(load(x, i)))

    x = np.linspace(-87, 80, LANES * 10_000).astype(dtype)
    y = np.empty_like(x)
    run(x, y)
    exact = np.exp(x.astype(np.longdouble))
    assert np.all(np.abs(y - exact) <= ulps * np.spacing(exact.astype(dtype)))
    x = np.resize(np.array([-np.inf, -1e30, -1000, -100, 0, np.nan], dtype), LANES)
    y = np.empty_like(x)
    run(x, y)
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6, atol=1e-45)
    assert y[4] == 1


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
    x = logits(4, 4, lead=(33, 3)).requires_grad_()
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            weights, slots = decode_address(x, 8, "cpu")
            results.append((weights, slots, *torch.autograd.grad(weights.square().sum(), x)))
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
