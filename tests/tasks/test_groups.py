"""Groups by name: their axioms, and products of many elements against products of two."""

import numpy as np
import pytest

from mqar_bench.tasks.groups import order, running_products

ORDERS = {
    "Z2": 2, "Z7": 7, "Z60": 60, "S2": 2, "S3": 6, "S4": 24, "S5": 120, "A3": 3, "A4": 12, "A5": 60,
    "Z2_x_Z3": 6, "A4_x_Z5": 60, "Z2_x_S3": 12, "S3_x_S3": 36,
}  # fmt: skip
COMMUTATIVE = {"Z2", "Z7", "Z60", "S2", "A3", "Z2_x_Z3"}
every_group = pytest.mark.parametrize("group", ORDERS)


def table(group):
    """[G, G]: of each with each."""
    n = order(group)
    pairs = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), axis=-1).reshape(-1, 2)
    return running_products(group, pairs)[:, 1].reshape(n, n)


@every_group
def test_a_group_is_one(group):
    times, n = table(group), order(group)
    assert n == ORDERS[group]
    everything = np.arange(n)
    assert (times[0] == everything).all() and (times[:, 0] == everything).all()  # 0 is the identity
    assert (np.sort(times, axis=0) == everything[:, None]).all() and (np.sort(times, axis=1) == everything).all()
    few = np.random.default_rng(0).integers(0, n, (3, 500))
    assert (times[times[few[0], few[1]], few[2]] == times[few[0], times[few[1], few[2]]]).all()
    assert (times == times.T).all() == (group in COMMUTATIVE)


@every_group
@pytest.mark.parametrize("length", [1, 2, 3, 31, 64, 65])
def test_running_products_are_those_of_one_after_another(group, length):
    elements = np.random.default_rng(1).integers(0, order(group), (5, length))
    times, state = table(group), np.zeros(5, dtype=int)
    products = running_products(group, elements)
    for t in range(length):
        state = times[state, elements[:, t]]
        assert (products[:, t] == state).all()


@pytest.mark.parametrize(
    "one, other, same", [("Z6", "Z2_x_Z3", True), ("Z4", "Z2_x_Z2", False), ("A5", "A4_x_Z5", False)]
)
def test_groups_of_as_many_elements_are_told_apart_by_the_orders_of_these(one, other, same):
    def orders(group):
        powers = running_products(group, np.tile(np.arange(order(group))[:, None], (1, 61)))
        return sorted((powers == 0).argmax(axis=1))

    assert (orders(one) == orders(other)) is same


def test_no_element_of_a5_commutes_with_all_but_the_identity():
    times = table("A5")
    assert ((times == times.T).all(axis=1)).sum() == 1
    squares = np.diagonal(times)
    assert (squares == 0).sum() == 16  # the identity, and 15 pairs of swaps
