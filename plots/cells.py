"""Heat maps with numbers in their cells."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from plots.style import SMALL

#: Even in lightness, and the same with any colour vision; dark is low.
HEAT = "cividis"


def write_cells(ax: Axes, shade: NDArray[np.float64], texts: Sequence[Sequence[str]]) -> None:
    """Print a text in each cell of an ``imshow`` of ``shade`` (0 to 1), and white lines between the cells.

    Text is white on dark cells and black elsewhere, also where ``shade`` is NaN and the cell has no colour.
    """
    colors = matplotlib.colormaps[HEAT]
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            dark = not np.isnan(shade[i, j]) and float(np.mean(colors(float(shade[i, j]))[:3])) < 0.45
            ax.text(j, i, text, ha="center", va="center", fontsize=SMALL, color="white" if dark else "black")
    ax.set_xticks(np.arange(shade.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(shade.shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
