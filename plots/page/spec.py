"""What a figure on the page is made of, in plain values: a browser draws it, ``draw.js``, from their JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import pandas as pd

from plots.axes import is_rising
from plots.select import parse_seeds

#: Matplotlib's markers, as plotly names them.
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "<": "triangle-left",
    "P": "cross", ">": "triangle-right", "X": "x", "d": "diamond-tall", "h": "hexagon", "*": "star", "p": "pentagon",
    "x": "x-thin", "8": "octagon", "H": "hexagon2", "$\\bullet$": "circle", "1": "y-down", "2": "y-up", "_": "line-ew",
    "+": "cross-thin", "$\\heartsuit$": "hourglass", "$\\diamondsuit$": "diamond-tall",
    "$\\spadesuit$": "star-diamond", "$\\clubsuit$": "bowtie",
    "3": "y-left", "4": "y-right",
}  # fmt: skip
DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot", "none": "none"}


@dataclass(frozen=True)
class Look:
    """How a line is drawn: matplotlib's colour, a symbol and a dash of plotly's, hollow markers, and their size."""

    color: str
    symbol: str = "circle"
    dash: str = "solid"
    hollow: bool = False
    size: float = 8

    @classmethod
    def of(cls, look: Mapping[str, Any], size: float = 8) -> Look:
        """From arguments for matplotlib."""
        return cls(
            color=look["color"],
            symbol=SYMBOLS.get(look.get("marker", "o"), "circle"),
            dash=DASHES[look.get("linestyle", "-")],
            hollow=look.get("markerfacecolor") in ("white", "none"),
            size=size,
        )


@dataclass(frozen=True)
class Axis:
    """Of a panel: its title, whether it is ``linear`` or ``log``, its ticks where they are chosen, and its ends; with
    ``names`` the ticks are names, which may be broken into lines."""

    title: str
    kind: Literal["linear", "log"] = "linear"
    ticks: Sequence[tuple[float, str]] = ()
    span: tuple[float, float] | None = None
    names: bool = False


@dataclass(frozen=True)
class Series:
    """A line or a cloud of points. Lists have an entry a point.

    Args:
        key: of the legend's entry that switches it.
        look: how it is drawn.
        x, y: where the points are.
        low, high: ends of their intervals, along ``y`` or, with ``sideways``, along ``x``.
        seeds: a value for each seed.
        runs: ids of the runs behind each.
        says: what is to be said of each.
        bounds: which are bounds, with open markers.
        rising: which have not converged, with a cross.
        rings: around which there is a ring, ``best`` or ``edge``.
    """

    key: str
    look: Look
    x: Sequence[float]
    y: Sequence[float]
    runs: Sequence[Sequence[str]] = ()
    says: Sequence[str] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    seeds: Sequence[Sequence[float]] = ()
    bounds: Sequence[bool] = ()
    rising: Sequence[bool] = ()
    rings: Sequence[str] = ()
    sideways: bool = False


@dataclass(frozen=True)
class Cell:
    """Of a heat map: its place, its text, its colour and that of the text, whether it is hatched, runs and words."""

    x: int
    y: int
    text: str
    color: str
    ink: str
    runs: Sequence[str]
    says: str
    hatched: bool = False


@dataclass(frozen=True)
class Curve:
    """How a run learnt: drawn from its record on the page."""

    key: str
    run: str
    color: str
    dash: str
    says: str


@dataclass(frozen=True)
class Rule:
    """A line to read the others against, with a word beside its end; switched by ``key``, where it has one."""

    x: tuple[float | None, float | None]
    y: tuple[float | None, float | None]
    text: str = ""
    dash: str = "dot"
    color: str = ""
    key: str = ""
    runs: Sequence[str] = ()
    says: str = ""


@dataclass(frozen=True)
class Panel:
    """Axes with what is in them, and a legend of their own where they have one; ``height`` in pixels."""

    x: Axis
    y: Axis
    title: str = ""
    series: Sequence[Series] = ()
    cells: Sequence[Cell] = ()
    curves: Sequence[Curve] = ()
    rules: Sequence[Rule] = ()
    legend: Sequence[Key] = ()
    height: int = 360


@dataclass(frozen=True)
class Key:
    """An entry of the legend, which switches what has the same ``key``."""

    key: str
    label: str
    look: Look


@dataclass(frozen=True)
class Drawing:
    """A figure: panels, that are ``small`` or not, under one legend or with one each.

    ``marks`` say what a marker means besides its line: pairs of a symbol and words.
    """

    panels: Sequence[Panel]
    legend: Sequence[Key] = ()
    title: str = ""
    marks: Sequence[tuple[str, str]] = ()
    small: bool = False


def to_plain(value: Any) -> Any:
    """For JSON: without what is empty or as by default, numbers in six digits, and what is no number null."""
    if is_dataclass(value):
        return {
            f.name: to_plain(v)
            for f in fields(value)
            if (v := getattr(value, f.name)) != f.default or f.name in ("x", "y")
        }
    if isinstance(value, Mapping):
        return {name: to_plain(each) for name, each in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Iterable):
        return [to_plain(each) for each in value]
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else float(f"{number:.6g}")


def words(text: str) -> str:
    """A label of matplotlib's as plain text.

    >>> words(r"$M$ = 64, initial $\\alpha$ ($e^\\alpha$), $K^2 / M$")
    'M = 64, initial α (e^α), K² / M'
    """
    text = text.replace(r"\alpha", "α").replace(r"\gamma", "γ").replace("^2", "²")
    return re.sub(r"(?<!\\)\$", "", text).replace(r"\$", "$")


def split_ids(column: Iterable[str]) -> list[list[str]]:
    """Of a table's run_ids."""
    return [text.split() for text in column]


def line_of_points(
    key: str,
    look: Look,
    x: pd.Series,
    points: pd.DataFrame,
    y: str = "accuracy",
    low: str = "",
    high: str = "",
    name: str = "",
    what: str = "{:.3f}",
    at: Sequence[str] = (),
    **more: Any,
) -> Series:
    """A line through the means of a table, with intervals where there are several seeds, and a dot for each.

    Args:
        key: of the legend.
        look: how it is drawn.
        x: positions.
        points: rows of a figure's table with run_ids.
        y: the column drawn; ``low`` and ``high`` by default end in ``_low`` and ``_high``.
        low: the column with the lower ends.
        high: that with the upper ones.
        name: of the line, as hovering says it.
        what: format of the value.
        at: where each point is, in words; by default ``x`` as a number of elements.
        more: of ``Series``.
    """
    lows, highs = (points[column] for column in (low or f"{y}_low", high or f"{y}_high"))
    places = at or [f"{value:,} elements" for value in x]
    says = []
    for place, row, least, most in zip(places, points.to_dict("records"), lows, highs, strict=True):
        reach = f" ({what.format(least)} to {what.format(most)})" if least < most else ""
        sign = {"above": "at least ", "below": "at most ", "both": "about "}.get(row.get("censored") or "", "")
        sign = sign if y == "capacity" else ""
        says.append(f"{name}, {place}: {sign}{what.format(row[y])}{reach}")
    seeds = [parse_seeds(text) for text in points[f"{y}_seeds"]] if f"{y}_seeds" in points else []
    marks = {}
    if "converged" in points and is_rising(points["converged"]).any():
        marks["rising"] = list(is_rising(points["converged"]))
    return Series(
        key=key,
        look=look,
        x=list(x),
        y=list(points[y]),
        low=list(lows) if (lows < highs).any() else (),
        high=list(highs) if (lows < highs).any() else (),
        seeds=seeds if any(len(each) > 1 for each in seeds) else (),
        runs=split_ids(points["run_ids"]),
        says=says,
        **(marks | more),
    )
