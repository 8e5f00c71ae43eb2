"""A figure that is drawn, and the numbers in it."""

from __future__ import annotations

import inspect
import io
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from plots.own import OwnFigure

#: Dots an inch: of a file, and in a notebook.
DPI, SHOWN_DPI = 300, 150


@dataclass(frozen=True)
class Drawing:
    """A figure with its numbers; a notebook shows the picture.

    Args:
        name: what its files are called.
        figure: matplotlib's.
        table: the numbers in it, a row each.
    """

    name: str
    figure: Figure
    table: pd.DataFrame

    def save(self, folder: Path | str) -> list[Path]:
        """Write NAME.pdf, NAME.png, and NAME.csv with the numbers into a folder, which is made if missing.

        The same records give the same bytes.

        Returns:
            the files written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{kind}" for kind in ("pdf", "png", "csv")]
        pdf, png, csv = paths  # without a date in any
        self.figure.savefig(png, dpi=DPI, metadata={"Software": None})
        layout = self.figure.get_layout_engine()
        self.figure.set_layout_engine("none")  # as it is now: laying it out takes longer than drawing it
        self.figure.savefig(pdf, dpi=DPI, metadata={"CreationDate": None})
        self.figure.set_layout_engine(layout)
        self.table.to_csv(csv, index=False)
        return paths

    def __repr__(self) -> str:
        return f"<Drawing {self.name}: {len(self.table)} rows>"

    def to_png(self, dpi: int) -> bytes:
        """The picture, at so many dots an inch."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.to_png(SHOWN_DPI)


def make_drawing(
    module: ModuleType | OwnFigure, name: str, numbers: pd.DataFrame, columns: int, ours: Collection[str] = ()
) -> Drawing:
    """The figure of a module from its numbers, in which some mixers may stand out.

    Raises:
        ValueError: it comes in one width only.
    """
    draw = partial(module.figure, ours=ours) if ours else module.figure
    if columns == 1:
        figure = draw(numbers)
    elif "columns" in inspect.signature(draw).parameters:
        figure = draw(numbers, columns=columns)
    else:
        raise ValueError(f"the figure {name} comes in one width only: leave out --columns {columns}")
    plt.close(figure)  # of pyplot's list, which a notebook would show again, and which would keep it for ever
    return Drawing(name, figure, numbers)
