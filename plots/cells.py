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


def ink(shade: float) -> str:
    """Of the text in a cell: white on dark ones and black elsewhere, also where ``shade`` is NaN."""
    dark = not np.isnan(shade) and float(np.mean(matplotlib.colormaps[HEAT](shade)[:3])) < 0.45
    return "white" if dark else "black"


def write_cells(ax: Axes, shade: NDArray[np.float64], texts: Sequence[Sequence[str]]) -> None:
    """Print a text in each cell of an ``imshow`` of ``shade`` (0 to 1), and white lines between the cells."""
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            ax.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=ink(float(shade[i, j])))
    ax.set_xticks(np.arange(shade.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(shade.shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
