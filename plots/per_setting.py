"""Accuracy of each architecture on each test setting, at the state size that is nearest to a common one."""

from __future__ import annotations

import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plots import fig3
from plots.axes import count
from plots.cells import HEAT, write_cells
from plots.lines import series
from plots.select import SETTING
from plots.style import COLUMN, RC

SWEEPS = fig3.SWEEPS

#: Inches: a row of cells, and what is around them.
ROW, AROUND = 0.165, 0.75


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells of the figure: the best model and learning rate of each architecture on each setting.

    An architecture is shown at one state size, that nearest to the common one (in octaves), which is the size of a
    model in the frame from which all are least far away together. So a row can be read against the next; the state
    sizes are beside the names, since some architectures have none that is near.

    Args:
        frame: tidy rows, one a run; runs that are not done are left out.

    Returns:
        columns mixer, stack, state_size, common_size, setting, pairs and length (missing where the setting's name does
        not say), accuracy (mean over seeds), seeds, learning_rate, learning_rates, runs, selected_on,
        run_ids.

    Raises:
        ValueError: there is no finished run, or they are of different data.
    """
    points = fig3.table(frame)
    settings = [str(column) for column in points.filter(regex=SETTING)]
    architectures = [those for _, those in points.groupby(["mixer", "stack"])]
    common = common_size([those["state_size"].tolist() for those in architectures])
    rows = []
    for those in architectures:
        nearest = min(those.to_dict("records"), key=lambda p: (octaves(p["state_size"], common), p["state_size"]))
        for column in settings:
            setting = column.removeprefix("accuracy/")
            pairs, length = parse_setting(setting)
            rows.append(
                {name: nearest[name] for name in ("mixer", "stack", "state_size")}
                | {"common_size": common, "setting": setting, "pairs": pairs}
                | {"length": length, "accuracy": nearest[column]}
                | {
                    c: nearest[c]
                    for c in ("seeds", "learning_rate", "learning_rates", "runs", "selected_on", "run_ids")
                }
            )
    cells = pd.DataFrame(rows).astype({"pairs": "Int64", "length": "Int64"})
    return cells.sort_values(["mixer", "stack", "pairs", "length", "setting"], ignore_index=True)


def figure(cells: pd.DataFrame) -> Figure:
    """Draw the cells of ``table``: a row for each architecture, a column for each setting, easier ones first."""
    with plt.rc_context(RC):
        lines, common = series(cells)
        settings = cells[["setting", "pairs", "length"]].drop_duplicates().sort_values(["pairs", "length", "setting"])
        grid = np.full((len(lines), len(settings)), np.nan)
        names = []
        for i, line in enumerate(lines):
            those = line.of(cells).set_index("setting")
            grid[i] = those["accuracy"].reindex(settings["setting"])
            names.append(f"{line.label}, {count(those['state_size'].iloc[0])}")
        fig, ax = plt.subplots(figsize=(COLUMN[0], AROUND + ROW * len(lines)), layout="constrained")
        ax.imshow(grid, aspect="auto", vmin=0, vmax=1, cmap=HEAT)
        write_cells(ax, grid, [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in grid])
        ax.set_yticks(range(len(lines)), names)
        ax.set_xticks(range(len(settings)), [setting_label(*row) for row in settings.itertuples(index=False)])
        ax.set_xlabel("Pairs" if settings["length"].isna().all() else "Pairs, tokens")
        fig.suptitle(f"{common}; state near {count(cells['common_size'].iloc[0])}", fontsize=7)
    plt.close(fig)
    return fig


def common_size(sizes: list[list[int]]) -> int:
    candidates = sorted({size for each in sizes for size in each})
    return min(candidates, key=lambda c: sum(min(octaves(size, c) for size in each) for each in sizes))


def octaves(a: float, b: float) -> float:
    return abs(math.log2(max(1, a)) - math.log2(max(1, b)))


def parse_setting(setting: str) -> tuple[int | None, int | None]:
    """Pairs and length, of MQAR; of associative retrieval the pairs."""
    if found := re.fullmatch(r"L(\d+)-kv(\d+)", setting):
        return int(found[2]), int(found[1])
    found = re.match(r"re(?:member|write)-kv(\d+)-", setting)
    return (int(found[1]) if found else None), None


def setting_label(setting: str, pairs: int, length: int) -> str:
    """Of a column: its pairs over its length, as far as it has such."""
    return setting if pd.isna(pairs) else f"{pairs}" if pd.isna(length) else f"{pairs}\n{length}"
