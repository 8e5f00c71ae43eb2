"""Accuracy against the number of pairs, a line per architecture at the state size nearest to a common one."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from plots import fig3
from plots.axes import accuracy_axis, count, draw_line, value_axis
from plots.lines import legend_beside, series
from plots.per_setting import common_size, octaves, parse_setting
from plots.select import SETTING, join_ids, over_seeds, select_points, tabulate
from plots.style import COLUMN, RC, WIDTHS

SWEEPS = fig3.SWEEPS


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: the best model of each architecture at one state size, on each setting.

    The size is chosen as in ``per_setting``. Settings whose name does not say their pairs are left out; of several with
    as many pairs the shortest counts.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.

    Returns:
        columns mixer, stack, state_size, common_size, setting, pairs, length, accuracy with _low, _high and _seeds,
        seeds, learning_rate, selected_on, run_ids.

    Raises:
        ValueError: there is no finished run, they are of different data, or no setting says its pairs.
    """
    found: dict[tuple, list] = {}
    for point in select_points(frame, ["mixer", "stack", "state_size"]):
        found.setdefault((point.at["mixer"], point.at["stack"]), []).append(point)
    common = common_size([[point.at["state_size"] for point in points] for points in found.values()]) if found else 0
    rows = []
    for points in found.values():
        nearest = min(points, key=lambda p: (octaves(p.at["state_size"], common), p.at["state_size"]))
        chosen = nearest.chosen
        for column in chosen.filter(regex=SETTING).dropna(axis="columns", how="all"):
            setting = str(column).removeprefix("accuracy/")
            pairs, length = parse_setting(setting)
            if pairs is not None:
                rows.append(
                    nearest.at
                    | {"common_size": common, "setting": setting, "pairs": pairs, "length": length}
                    | over_seeds("accuracy", chosen[column].dropna())
                    | {"seeds": chosen["seed"].nunique(), "learning_rate": chosen["learning_rate"].iloc[0]}
                    | {"selected_on": chosen["guided_by"].iloc[0], "run_ids": join_ids(chosen)}
                )
    curves = tabulate(rows, frame, SWEEPS[0]).sort_values(["mixer", "stack", "pairs", "length"], kind="stable")
    return curves.drop_duplicates(["mixer", "stack", "pairs"]).reset_index(drop=True)


def figure(points: pd.DataFrame, columns: int = 1) -> Figure:
    """Draw the points of ``table``, over one or two columns of a page."""
    with plt.rc_context(RC):
        lines, common = series(points)
        fig, ax = plt.subplots(figsize=(WIDTHS[columns], COLUMN[1]), layout="constrained")
        for place, line in enumerate(lines):
            those = line.of(points)
            draw_line(ax, those["pairs"], those, label=line.label, **line.look, zorder=3 - place / len(lines))
        value_axis(ax, points["pairs"], log=True)
        accuracy_axis(ax)
        ax.set_xlabel("Pairs in the sequence")
        ax.set_ylabel("MQAR accuracy" if points["length"].notna().all() else "Accuracy")
        legend_beside(fig, lines, f"{common}; state near {count(points['common_size'].iloc[0])}")
    plt.close(fig)
    return fig
