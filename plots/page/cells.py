"""Cells of heat maps on the page, in the colours of the printed ones; and ``per_setting``, which has nothing else."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from plots.axes import count
from plots.cells import HEAT, ink
from plots.lines import series
from plots.page.axes import places_axis
from plots.page.spec import Cell, Drawing, Panel
from plots.per_setting import setting_label

#: Of a cell without a value.
GREY = "#EEEEEE"


def cell(x: int, y: int, shade: float, text: str, run_ids: str, says: str, hatched: bool = False) -> Cell:
    """A cell at its place, coloured by ``shade`` from 0 to 1; grey where that is NaN."""
    color = GREY if np.isnan(shade) else to_hex(matplotlib.colormaps[HEAT](float(shade)))
    return Cell(x, y, text, color, ink(shade), run_ids.split(), says, hatched)


def by_setting(points: pd.DataFrame) -> Drawing:
    """A row for each architecture, a column for each setting, easier ones first."""
    lines, common = series(points)
    settings = points[["setting", "pairs", "length"]].drop_duplicates().sort_values(["pairs", "length", "setting"])
    names, found = [], []
    places = {setting: i for i, setting in enumerate(settings["setting"])}
    for i, line in enumerate(lines):
        those = line.of(points)
        names.append(f"{line.label}, {count(those['state_size'].iloc[0])}")
        for row in those.dropna(subset="accuracy").to_dict("records"):
            says = f"{line.label}, {row['state_size']:,} elements, {row['setting']}: {row['accuracy']:.3f}"
            found.append(
                cell(places[row["setting"]], i, row["accuracy"], f"{row['accuracy']:.2f}", row["run_ids"], says)
            )
    across = [setting_label(*row) for row in settings.itertuples(index=False)]
    panel = Panel(
        places_axis("Pairs, tokens", across), places_axis("", names, last_first=True), cells=found,
        height=110 + 28 * len(lines),
    )  # fmt: skip
    return Drawing([panel], title=f"{common}; state near {count(points['common_size'].iloc[0])}")
