"""On the page, the small panels of an architecture each: ``lr`` and ``curves``."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from plots import curves, lr
from plots.axes import count
from plots.lines import series
from plots.page.axes import accuracy_axis, decade_axis
from plots.page.compare import legend, marks
from plots.page.spec import Axis, Curve, Drawing, Key, Look, Panel, Rule, line_of_points
from plots.select import SOLVED

HEIGHT = 260


def by_rate(points: pd.DataFrame) -> Drawing:
    """Accuracy against learning rate, a line for each state size; a ring is the best rate."""
    lines, common = series(points)
    wide = points["learning_rate"].max() / points["learning_rate"].min() > 50
    across = decade_axis("Learning rate", points["learning_rate"], (1,) if wide else (1, 3))
    panels = []
    for line in lines:
        those = line.of(points)
        sizes = sorted(set(those["state_size"]))
        shades = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.0, max(2, len(sizes))))
        drawn, keys = [], []
        for i, size in enumerate(sizes):
            row = those[those["state_size"] == size].sort_values("learning_rate")
            label = f"{line.label}, {count(size)}"
            look = Look.of({"color": to_hex(shades[i]), "marker": lr.MARKERS[i % len(lr.MARKERS)]}, size=8 - min(i, 4))
            keys.append(Key(label, count(size), look))
            rings = [
                "edge" if edge else "best" if best else "" for best, edge in zip(row["best"], row["edge"], strict=True)
            ]
            at = [f"rate {rate:g}" for rate in row["learning_rate"]]
            drawn.append(
                line_of_points(label, look, row["learning_rate"], row, name=f"{line.label}, {size:,} elements", at=at,
                               rings=rings)
            )  # fmt: skip
        panels.append(Panel(across, accuracy_axis(), line.label, drawn, legend=keys, height=HEIGHT))
    meanings = [("ring", "best rate"), ("disc", "best rate, on the edge of those tried")]
    found = marks([line for panel in panels for line in panel.series])
    return Drawing(panels, title=f"{common}; lines: state sizes", marks=found + meanings, small=True)


def by_tokens(points: pd.DataFrame) -> Drawing:
    """Accuracy against tokens seen, two lines a run; paler ones have the smaller states."""
    lines, common = series(points)
    most = float(points["tokens"].max())
    (guide,) = set(points["part"]) - {"training"}
    panels = []
    for line in lines:
        those = line.of(points)
        sizes = sorted(set(those["state_size"].dropna()))
        found = []
        for run in those.drop_duplicates("run_id").to_dict("records"):
            place = sizes.index(run["state_size"]) / (len(sizes) - 1) if len(sizes) > 1 else 1.0
            reached = run["tokens_to_90"]
            says = (
                f"{line.label}, {count(run['state_size'])}, rate {run['learning_rate']:g}, seed {run['seed']}: "
                + ("never at 0.9" if pd.isna(reached) else f"0.9 after {reached:,} tokens")
            )  # fmt: skip
            color = to_hex(curves.shade(line.look["color"], place))
            found.append(Curve(line.label, run["run_id"], color, Look.of(line.look).dash, says))
        ends = f", state {count(sizes[0])}" + (f" to {count(sizes[-1])}" if len(sizes) > 1 else "") if sizes else ""
        rule = Rule((0, most), (SOLVED, SOLVED))
        across = Axis("Tokens seen", "linear", (), (0, most * 1.02))
        panels.append(
            Panel(across, accuracy_axis(), f"{line.label}{ends}", curves=found, rules=[rule], height=HEIGHT)
        )  # fmt: skip
    kinds = [("line", f"{guide}, after each epoch"), ("thin", "training, mean over an epoch"), ("dot", "first at 0.9")]
    return Drawing(panels, legend(lines), f"{common}; paler: smaller state", kinds, small=True)
