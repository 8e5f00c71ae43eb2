"""Finite groups by name: how many elements they have, and products of many at once.

``Zn`` is the cyclic group of n elements, the residues added modulo n. ``Sn`` has the permutations of n things and
``An`` the even ones among them, numbered in the lexicographic order of ``(p(0), .., p(n - 1))``; 0 is the identity. A
product does first what stands first: ``(p q)(i) = q(p(i))``. ``G_x_H`` is the direct product, its elements numbered
``g * |H| + h``.
"""

# G - elements of a group, R - rows, L - elements of a row

from __future__ import annotations

import functools
import itertools
import math
import re

import numpy as np

from mixers.checks import brief
from mqar_bench.tasks.sampling import Array

#: Least and largest n. Tables of products grow with the square of the elements: those of S6 are 720.
DEGREES = {"Z": (2, 2**24), "S": (2, 6), "A": (3, 6)}
FORM = "Z, S or A and a number, such as Z2, S3, S5 or A5, or two of these, such as A4_x_Z5"


def order(group: str) -> int:
    """How many elements there are.

    Raises:
        ValueError: there is no group of this name.
    """
    return math.prod(_order(kind, degree) for kind, degree in _factors(group))


def running_products(group: str, elements: Array) -> Array:
    """``[R, L]``: at each place of a row the product of all elements ``[R, L]`` up to it, in the order of the row.

    Raises:
        ValueError: there is no group of this name.
    """
    products = np.zeros(elements.shape, dtype=np.int64)
    rest = order(group)
    for kind, degree in _factors(group):
        size = _order(kind, degree)
        rest //= size
        products += rest * _scan(kind, degree, elements // rest % size)
    return products


def _factors(group: str) -> list[tuple[str, int]]:
    factors = list[tuple[str, int]]()
    for name in group.split("_x_", 2):
        if not re.fullmatch(r"[ZSA][1-9][0-9]{0,7}", name) or len(factors) == 2:
            raise ValueError(f"group must be {FORM}, got {brief(group)}")
        kind, degree = name[0], int(name[1:])
        least, most = DEGREES[kind]
        if not least <= degree <= most:
            raise ValueError(f"group {name}: the number after {kind} must be from {least} to {most}")
        factors.append((kind, degree))
    return factors


def _order(kind: str, degree: int) -> int:
    return degree if kind == "Z" else math.factorial(degree) // (1 if kind == "S" else 2)


def _scan(kind: str, degree: int, elements: Array) -> Array:
    if kind == "Z":
        return np.cumsum(elements, axis=1, dtype=np.int64) % degree
    table, step = _table(kind, degree), 1
    # After each round a place holds the product of the last 2 * step elements up to it, or of all there are.
    while step < elements.shape[1]:
        later = table[elements[:, :-step], elements[:, step:]]
        elements = np.concatenate([elements[:, :step], later], axis=1)
        step *= 2
    return elements


@functools.cache
def _table(kind: str, degree: int) -> Array:
    """``[G, G]``: the product of each element with each."""
    permutations = np.array([p for p in itertools.permutations(range(degree)) if kind == "S" or _is_even(p)])
    digits = degree ** np.arange(degree)[::-1]
    both = permutations[:, permutations].swapaxes(0, 1)  # [p, q, i] = q(p(i))
    return np.searchsorted(permutations @ digits, both @ digits)


def _is_even(permutation: tuple[int, ...]) -> bool:
    return sum(a > b for a, b in itertools.combinations(permutation, 2)) % 2 == 0
