"""On the page, the figures with a line for each architecture: ``fig3``, ``fig3_active``, ``capacity``, ``relatives``,
``forgetting_curve`` and ``cost``."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mqar_bench.records.capacity import UNBOUNDED
from plots import capacity, cost, fig3
from plots.axes import count
from plots.lines import Line, series
from plots.page.axes import accuracy_axis, capacity_axis, decade_axis, size_axis, value_axis
from plots.page.spec import Drawing, Key, Look, Panel, Rule, Series, line_of_points

#: Pixels of a panel that is alone.
TALL = 440

#: What markers say besides which line they are on.
BOUND = ("open", "a bound: a seed is at an end of what was tested")
RISING = ("cross", "not converged")
BARS = ("bar", "bootstrap interval of the mean, dots: seeds")


def against_size(points: pd.DataFrame, size: str = "state_size") -> Drawing:
    """Accuracy against state, and where several are close to 1 that part enlarged."""
    lines, common = series(points)
    rows = [(line, line.of(points).sort_values(size)) for line in lines]
    drawn = [
        line_of_points(line.label, Look.of(line.look), those[size], those, name=line.label) for line, those in rows
    ]
    across = size_axis(fig3.LABELS[size], points[size])
    panels = [Panel(across, accuracy_axis(), series=drawn, height=TALL)]
    if points.loc[points["accuracy"] > fig3.NEAR_ONE, "mixer"].nunique() > fig3.CROWD:
        panels.append(Panel(across, accuracy_axis(fig3.NEAR_ONE), series=drawn, title="The top, enlarged", height=240))
    return Drawing(panels, legend(lines), common, marks(drawn))


def pairs_recalled(points: pd.DataFrame, sizes: Sequence[str] = ("state_size",)) -> Drawing:
    """Capacity against state, a panel for each kind of size; what has no bounded state is a line across."""
    lines, common = series(points)
    panels = [_capacities(lines, points, size) for size in capacity.known(sizes, points)]
    return Drawing(panels, legend(lines), common, marks(panels[0].series))


def _capacities(lines: Sequence[Line], points: pd.DataFrame, size: str) -> Panel:
    points = points.dropna(subset=size)
    sized = points[~points["mixer"].isin(UNBOUNDED)]
    drawn, rules = [], []
    for line in lines:
        those = line.of(points).sort_values(size)
        if line.mixer in UNBOUNDED:
            best = those.sort_values("capacity").iloc[-1]
            least = "at least " if best["censored"] else ""
            rules.append(
                Rule(
                    (None, None), (best["capacity"], best["capacity"]), f"{line.label}, state grows",
                    "dash" if best["censored"] else "solid", line.look["color"], line.label, best["run_ids"].split(),
                    f"{line.label}, whose state grows with the sequence: {least}{best['capacity']:.3g} pairs",
                )
            )  # fmt: skip
        else:
            bounds = list(those["censored"] != "")
            drawn.append(
                line_of_points(
                    line.label, Look.of(line.along(size)), those[size], those, "capacity", "low", "high",
                    line.label, "{:.3g} pairs", bounds=bounds if any(bounds) else (),
                )
            )  # fmt: skip
    across = size_axis(fig3.LABELS[size], (sized if len(sized) else points)[size])
    up = capacity_axis(points)
    if size == "state_size":
        rules += _rates(across.span, up.span)
    return Panel(across, up, series=drawn, rules=rules, height=TALL)


def _rates(across: tuple[float, float] | None, up: tuple[float, float] | None) -> list[Rule]:
    """As many elements of state for each pair."""
    assert across and up
    rules = []
    for rate in capacity.RATES:
        start, end = max(across[0], up[0] * rate), min(across[1], up[1] * rate)
        if start < end:
            rules.append(Rule((start, end), (start / rate, end / rate), f"{rate} a pair"))
    return rules


def forgetting(points: pd.DataFrame) -> Drawing:
    """Accuracy against pairs, each architecture at one state size."""
    lines, common = series(points)
    drawn = []
    for line in lines:
        those = line.of(points)
        at = [f"{row.state_size:,} elements, {row.pairs} pairs in {row.length} tokens" for row in those.itertuples()]
        drawn.append(
            line_of_points(line.label, Look.of(line.look), those["pairs"], those, name=line.label, at=at)
        )  # fmt: skip
    near = count(points["common_size"].iloc[0])
    panel = Panel(
        value_axis("Pairs in the sequence", points["pairs"], log=True), accuracy_axis(), series=drawn, height=TALL
    )
    return Drawing([panel], legend(lines), f"{common}; state near {near}", marks(drawn))


def costs(points: pd.DataFrame) -> Drawing:
    """Speed and memory against state, a pair of panels for each machine."""
    lines, common = series(points)
    machines = points[["device", "threads"]].drop_duplicates().sort_values(["device", "threads"])
    panels = []
    for device, threads in machines.itertuples(index=False):
        there = points[(points["device"] == device) & (points["threads"] == threads)]
        for column, (unit, label, _) in cost.COSTS.items():
            names = [column, f"{column}_low", f"{column}_high"]
            values = there.assign(**{name: there[name] / unit for name in names})
            drawn = []
            for line in lines:
                those = line.of(values).sort_values("state_size")
                if len(those):
                    drawn.append(
                        line_of_points(
                            line.label, Look.of(line.look), those["state_size"], those, column, name=line.label,
                            what="{:.3g}",
                        )
                    )  # fmt: skip
            across = size_axis("Total state size (elements)", there["state_size"])
            up = decade_axis(label, [*values[names[1]], *values[names[2]]], (1, 1.5, 2, 3, 5, 7))
            title = f"{device}, {threads} thread{'' if threads == 1 else 's'}"
            panels.append(Panel(across, up, title, drawn))
    return Drawing(panels, legend(lines), common, [("bar", "from the lowest to the highest run")])


def legend(lines: Sequence[Line]) -> list[Key]:
    return [Key(line.label, line.label, Look.of(line.look)) for line in lines]


def marks(drawn: Sequence[Series]) -> list[tuple[str, str]]:
    """What is to be said of the markers that there are."""
    found = []
    if any(len(line.low) for line in drawn):
        found.append(BARS)
    if any(any(line.bounds) for line in drawn):
        found.append(BOUND)
    if any(any(line.rising) for line in drawn):
        found.append(RISING)
    return found
