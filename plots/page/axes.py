"""Axes on the page, with the ticks that printed figures have."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from plots.axes import count
from plots.page.spec import Axis
from plots.select import parse_seeds


def size_axis(title: str, sizes: Iterable[float]) -> Axis:
    """Log2, with a tick every one or two octaves."""
    sizes = [max(1.0, float(size)) for size in sizes]
    low, high = math.log2(min(sizes)), math.log2(max(sizes))
    step = 2 if high - low > 4 else 1
    ticks = [2.0**n for n in range(math.floor(low), math.ceil(high) + 1) if n % step == 0]
    room = max(0.15, (high - low) * 0.05)
    return Axis(title, "log", [(tick, count(tick)) for tick in ticks], (2 ** (low - room), 2 ** (high + room)))


def value_axis(title: str, values: Iterable[float], log: bool) -> Axis:
    """With a tick at each value, unless they are too close to be read."""
    found = sorted({float(value) for value in values})
    low, high = found[0], found[-1]
    if log:
        room = (high / low) ** 0.06 if high > low else 2**0.5
        return Axis(title, "log", [(value, f"{value:g}") for value in found], (low / room, high * room))
    room = (high - low) * 0.06 or 0.5
    ticks = list[float]()
    for value in found:
        if not ticks or value - ticks[-1] >= (high - low) * 0.09:
            ticks.append(value)
    return Axis(title, "linear", [(value, f"{value:g}") for value in ticks], (low - room, high + room))


def accuracy_axis(low: float = 0, title: str = "MQAR accuracy") -> Axis:
    """From ``low`` to 1, with room for the markers at both ends."""
    room = (1 - low) * 0.05
    return Axis(title, "linear", (), (low if low else -room, 1 + room))


def capacity_axis(points: pd.DataFrame, title: str = "Capacity (pairs at 0.9 accuracy)") -> Axis:
    """Log2, a tick an octave or, of few, a quarter of one, with room for the markers of all seeds."""
    pairs = [pairs for text in points["capacity_seeds"] for pairs in parse_seeds(text)]
    low, high = min(pairs) / 1.25, max(pairs) * 1.25
    parts = (1.0,) if high > 8 * low else (1.0, 1.25, 1.5, 1.75)
    octaves = range(math.floor(math.log2(low)), math.floor(math.log2(high)) + 1)
    ticks = [part * 2.0**n for n in octaves for part in parts if low <= part * 2.0**n <= high]
    return Axis(title, "log", [(tick, f"{tick:g}") for tick in ticks], (low, high))


def decade_axis(title: str, values: Iterable[float], subs: Iterable[float] = (1, 2, 5)) -> Axis:
    """Log10, with ticks at these parts of each decade."""
    found = [float(value) for value in values if value > 0]
    low, high = min(found) / 1.25, max(found) * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [sub * 10.0**n for n in decades for sub in subs if low <= sub * 10.0**n <= high]
    return Axis(title, "log", [(tick, f"{tick:g}") for tick in ticks], (low, high))


def places_axis(title: str, labels: Iterable[str], last_first: bool = False) -> Axis:
    """A place for each label, from 0; with ``last_first`` from the top down, and names are broken into lines."""
    names = list(labels)
    span = (-0.5, len(names) - 0.5)
    return Axis(title, "linear", list(enumerate(names)), span[::-1] if last_first else span, names=last_first)
