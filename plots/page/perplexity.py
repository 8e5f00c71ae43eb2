"""On the page, the figures of language models: ``language`` and ``language_capacity``."""

from __future__ import annotations

import pandas as pd

from mqar_bench.records.capacity import UNBOUNDED
from plots import fig3, language, language_capacity
from plots.lines import Line, series
from plots.page.axes import capacity_axis, size_axis
from plots.page.compare import TALL, legend, marks
from plots.page.spec import Axis, Drawing, Look, Panel, Rule, line_of_points


def perplexities(points: pd.DataFrame) -> Drawing:
    """Perplexity of the hits and of the rest against state; what has no bounded state is a line across."""
    lines, common = series(points)
    sized = points[~points["mixer"].isin(UNBOUNDED)]
    across = size_axis(fig3.LABELS["state_size"], (sized if len(sized) else points)["state_size"])
    panels = []
    for kind, title in language.PANELS.items():
        column = f"perplexity_{kind}"
        drawn, rules = [], []
        for line in lines:
            those = line.of(points).sort_values("state_size")
            if line.mixer in UNBOUNDED:
                rules.append(_across(line, those.sort_values(column).iloc[0], column))
                continue
            drawn.append(
                line_of_points(
                    line.label, Look.of(line.look), those["state_size"], those, column, name=line.label, what="{:.4g}"
                )
            )
        panels.append(Panel(across, _axis(points, column), title, drawn, rules=rules, height=TALL))
    return Drawing(panels, legend(lines), common, marks(panels[0].series))


def against_capacity(points: pd.DataFrame) -> Drawing:
    """The same perplexities against MQAR capacity, with their rank correlations."""
    lines, common = series(points)
    across = capacity_axis(points, "MQAR capacity (pairs at 0.9 accuracy)")
    panels = []
    for kind, title in language.PANELS.items():
        column, drawn = f"perplexity_{kind}", []
        for line in lines:
            those = line.of(points)
            bound = {"above": "at least ", "below": "at most "}.get(those["censored"].iloc[0], "")
            at = [f"{bound}{those['capacity'].iloc[0]:.3g} pairs of MQAR"]
            bounds = list(those["censored"] != "")
            drawn.append(
                line_of_points(
                    line.label, Look.of(line.look), those["capacity"], those, column, name=line.label, what="{:.4g}",
                    at=at, bounds=bounds if any(bounds) else (),
                )
            )  # fmt: skip
        said = f"{title}: {language_capacity.say(points, kind)}"
        panels.append(Panel(across, _axis(points, column), said, drawn, height=TALL))
    return Drawing(panels, legend(lines), common, marks(panels[0].series))


def _across(line: Line, row: pd.Series, column: str) -> Rule:
    says = f"{line.label}, whose state grows with the sequence: {row[column]:.4g}"
    return Rule(
        (None, None), (row[column], row[column]), f"{line.label}, state grows", "solid", line.look["color"],
        line.label, row["run_ids"].split(), says,
    )  # fmt: skip


def _axis(points: pd.DataFrame, column: str) -> Axis:
    low, high = language.span(points, column)
    return Axis("Perplexity", "log", [(tick, f"{tick:g}") for tick in language.ticks(low, high)], (low, high))
