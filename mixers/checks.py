"""What the constructors of mixers check, each time in the same words, and how a refused value is shown."""

from __future__ import annotations

import reprlib
from typing import Any

#: Model widths end here; the widest language models are a third of it.
MAX_WIDTH = 2**16
#: All other sizes end here: a tensor of a width and two of them can be counted in 64 bits, so that the worst mistake
#: is a tensor that cannot be had, and none of them a number that means nothing.
MAX_SIZE = 2**20
#: Taps of a convolution that is computed tap by tap.
MAX_TAPS = 4096
#: Standard deviation of initial weights.
MAX_STD = 1e6

_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxlist, _SHOWN.maxdict, _SHOWN.maxtuple = 2, 4, 4, 4
_SHOWN.maxstring = _SHOWN.maxlong = _SHOWN.maxother = 60


def check_size(least: int = 1, most: int = MAX_SIZE, /, **sizes: int) -> None:
    """Whether each of the sizes given by name is between ``least`` and ``most``.

    Raises:
        ValueError: one is not; the message names it.
    """
    for name, size in sizes.items():
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")
        if size > most:
            raise ValueError(f"{name} must be at most {most}, got {size}")


def check_number(least: float, most: float, /, **numbers: float) -> None:
    """Whether each of the numbers given by name is between ``least`` and ``most``; NaN is not.

    Raises:
        ValueError: one is not; the message names it.
    """
    for name, number in numbers.items():
        if not least <= number <= most:
            raise ValueError(f"{name} must be between {least:g} and {most:g}, got {number}")


def scaled_size(name: str, width: int, factor: float) -> int:
    """``factor * width`` rounded down, where it is a size; ``name`` is what the message calls the factor.

    Raises:
        ValueError: the product is not between 0 and ``MAX_SIZE``.
    """
    product = width * factor
    if not 0 <= product <= MAX_SIZE:
        raise ValueError(f"{name} times {width} must be between 0 and {MAX_SIZE}, got {name} {factor}")
    return int(product + 1e-6)  # 0.29 * 100 is meant to be 29


def brief(value: Any, most: int = 80) -> str:
    """A value as Python writes it, on one line of at most ``most`` characters, for a message."""
    text = _SHOWN.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
