"""On the page, the figures that vary settings of RAM-Net: ``fig4`` and ``ablations``, a panel a sweep; ``trainability``
and ``token_wise``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd

from plots import token_wise, trainability
from plots.page.axes import accuracy_axis, capacity_axis, places_axis, size_axis, value_axis
from plots.page.cells import cell
from plots.page.compare import marks
from plots.page.spec import Axis, Cell, Drawing, Key, Look, Panel, Rule, Series, line_of_points, split_ids, words
from plots.panels import Panel as Printed
from plots.panels import by_capacity
from plots.style import SERIES


def by_sweep(points: pd.DataFrame, panels: Mapping[str, Printed]) -> Drawing:
    """A panel for each sweep that has points; each has its own lines."""
    drawn = []
    for sweep in [name for name in panels if name in set(points["sweep"])]:
        those = points[points["sweep"] == sweep]
        panel = panels[sweep]
        capacities = by_capacity(those)
        designs, names = (list(those[column].drop_duplicates()) for column in ("design", "line"))
        lines, keys = [], []
        for line, design in those[["line", "design"]].drop_duplicates().itertuples(index=False):
            color, marker = SERIES[names.index(line) % len(SERIES)]
            other = {"linestyle": "--", "markerfacecolor": "white"} if design != designs[0] else {}
            look = Look.of({"color": color, "marker": marker, **other})
            label = words(", ".join(filter(None, [line, design if len(designs) > 1 else ""])))
            row = those[(those["line"] == line) & (those["design"] == design)]
            key = f"{sweep}: {label}"
            keys.append(Key(key, label, look))
            at = [f"{words(panel.xlabel)} {value:g}" for value in row["value"]]
            if capacities:
                bounds = list(row["censored"] != "")
                lines.append(
                    line_of_points(
                        key, look, row["value"], row, "capacity", name=label, what="{:.3g} pairs", at=at,
                        bounds=bounds if any(bounds) else (),
                    )
                )  # fmt: skip
            else:
                lines.append(line_of_points(key, look, row["value"], row, name=label, at=at))
        title = f"{sweep}: RAM-Net {designs[0]}".rstrip() if len(designs) == 1 else f"{sweep}: RAM-Net"
        up = capacity_axis(those, "Capacity (pairs)") if capacities else accuracy_axis()
        drawn.append(Panel(_across(panel, those["value"]), up, title, lines, legend=keys, height=320))
    return Drawing(drawn, marks=marks([line for panel in drawn for line in panel.series]))


def _across(panel: Printed, values: pd.Series) -> Axis:
    title = words(panel.xlabel)
    return size_axis(title, values) if panel.axis == "octaves" else value_axis(title, values, panel.axis == "log")


def steps_until(cells: pd.DataFrame) -> Drawing:
    """Heat maps of the steps for each M and K, and the same against K * K / M: for each width of a slot and design."""
    panels = []
    slots_of_all = sorted(set(cells["slots"]))
    several = len(set(cells["design"])) > 1
    for (design, width), those in cells.groupby(["design", "head_v_dim"], sort=False):
        where = f"D = {width}" + (f", {design}" if several else "")
        for recipe in trainability.RECIPES:
            slots, top_k = (sorted(set(those[name])) for name in ("slots", "top_k"))
            part = those[those["recipe"] == recipe].to_dict("records")
            found = [_steps_cell(row, cells, slots, top_k) for row in part]
            panels.append(
                Panel(
                    places_axis("Slots per access K", map(str, top_k)), places_axis("Slots M", map(str, slots)),
                    f"{where}: {recipe}", cells=found, height=300,
                )
            )  # fmt: skip
        panels.append(_against_ratio(those, cells, f"{where}: against K² / M"))
    keys = [
        Key(f"M = {m}, {recipe}", f"M = {m}, {recipe}", _slots_look(m, recipe, slots_of_all))
        for m in slots_of_all
        for recipe in trainability.RECIPES
    ]
    title = "RAM-Net" + ("" if several else f" {cells['design'].iloc[0]}") + ": steps until 0.9 accuracy"
    return Drawing(panels, keys, title, [("hatch", "the median seed never gets there")])


def _steps_cell(row: Mapping, everything: pd.DataFrame, slots: list[int], top_k: list[int]) -> Cell:
    steps, reached, seeds = row["steps_to_90"], row["reached"], row["seeds"]
    share = f"{reached}/{seeds}"
    never = bool(np.isnan(steps))
    text = (share if reached else "never") if never else f"{steps:.0f}" + (f" ({share})" if reached < seeds else "")
    says = (
        f"M = {row['slots']}, K = {row['top_k']}, {row['recipe']}: "
        + ("never at 0.9" if never else f"0.9 after {steps:.0f} steps")
        + f"; {reached} of {seeds} seeds get there; final accuracy {row['accuracy']:.3f}"
    )
    shade = np.nan if never else trainability.speed(steps, everything)
    return cell(top_k.index(row["top_k"]), slots.index(row["slots"]), shade, text, row["run_ids"], says, hatched=never)


def _slots_look(slots: int, recipe: str, every: list[int]) -> Look:
    look = trainability.look(slots, recipe, every)
    return Look.of(look | {"linestyle": "none"}, size=2 * look["markersize"])


def _against_ratio(cells: pd.DataFrame, everything: pd.DataFrame, title: str) -> Panel:
    most = int(everything["steps"].max())
    slots = sorted(set(everything["slots"]))
    drawn = []
    for m, recipe in product(slots, trainability.RECIPES):
        part = cells[(cells["slots"] == m) & (cells["recipe"] == recipe)]
        if part.empty:
            continue
        above = trainability.height_of_never(m, recipe, slots, most)
        says = [_steps_cell(row, everything, [m], [row["top_k"]]).says for row in part.to_dict("records")]
        drawn.append(
            Series(
                f"M = {m}, {recipe}", _slots_look(m, recipe, slots), list(part["ratio"]),
                list(part["steps_to_90"].fillna(above)), split_ids(part["run_ids"]), says,
            )
        )  # fmt: skip
    low, high = everything["ratio"].min(), everything["ratio"].max()
    step = 4 if np.log2(high / low) > 6 else 2
    octaves = range(int(np.floor(np.log2(low) / step)) * step, int(np.ceil(np.log2(high))) + 1, step)
    ticks = [(2.0**n, f"{2**n}" if n >= 0 else f"1/{2**-n}") for n in octaves]
    top = trainability.height_of_never(slots[-1], trainability.RECIPES[-1], slots, most) + 0.07 * most
    up = [(0.0, "0"), (most / 2, f"{most / 2:g}"), (float(most), f"{most:g}"), ((most * 1.07 + top) / 2, "never")]
    line = Rule((None, None), (most * 1.04, most * 1.04), dash="solid")
    return Panel(Axis("K² / M", "log", ticks, (low / 1.5, high * 1.5)), Axis("Steps", "linear", up, (0, top)), title,
                 drawn, rules=[line], height=300)  # fmt: skip


def every_seed(points: pd.DataFrame) -> Drawing:
    """RAM-Net in every layer: a row for each M, K and recipe, a dot for each seed; hollow ones never got there."""
    columns = ["slots", "top_k", "recipe"]
    rows = points[columns].drop_duplicates().reset_index(drop=True)
    labels = [
        f"M = {m}, K = {k}" + ("" if recipe == token_wise.WHOLE else f", {recipe}")
        for m, k, recipe in rows.itertuples(index=False)
    ]
    most = int(points["steps"].max())
    never = most * token_wise.BEYOND
    place = {tuple(row): i for i, row in enumerate(rows.itertuples(index=False))}
    kinds = (("the whole recipe", token_wise.WHOLE, 0), ("without a part of it", "", 1))
    left, right, keys = list[Series](), list[Series](), []
    for name, recipe, number in kinds:
        those = points[(points["recipe"] == token_wise.WHOLE) == bool(recipe)]
        if those.empty:
            continue
        y, says = [], []
        for row in those.to_dict("records"):
            at = place[tuple(row[column] for column in columns)]
            peers = sorted(points.loc[(points[columns] == [row[c] for c in columns]).all(axis=1), "run_id"])
            y.append(at + 0.16 * (peers.index(row["run_id"]) - (len(peers) - 1) / 2))
            reached = "never at 0.9" if pd.isna(row["steps_to_90"]) else f"0.9 after {row['steps_to_90']} steps"
            says.append(f"{labels[at]}: {reached}; final accuracy {row['accuracy']:.3f}")
        look = Look(SERIES[number][0], dash="none")
        keys.append(Key(name, name, look))
        runs = [[run] for run in those["run_id"]]
        hollow = [bool(missing) for missing in those["steps_to_90"].isna()]
        steps = those["steps_to_90"].astype("float64").fillna(never)
        left.append(Series(name, look, list(steps), y, runs, says, bounds=hollow))
        right.append(Series(name, look, list(those["accuracy"]), y, runs, says, bounds=hollow))
    up = places_axis("", labels, last_first=True)
    across = Axis("Steps until 0.9 accuracy", "linear",
                  [(0.0, "0"), (most / 2, f"{most / 2:g}"), (float(most), f"{most:g}"), (never, "never")],
                  (0, never * 1.03))  # fmt: skip
    bar = (most + never) / 2
    height = 90 + 22 * len(labels)
    panels = [
        Panel(across, up, series=left, rules=[Rule((bar, bar), (None, None), dash="solid")], height=height),
        Panel(accuracy_axis(title="Final accuracy"), up, series=right, height=height),
    ]
    return Drawing(panels, keys, "", [("open", "never got to 0.9; a dot is a seed")])
