"""Figures: one module each, a pure function from a tidy DataFrame (``mqar_bench.table``) to a matplotlib Figure."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd

_PLOTS = {"fig3": "plots.fig3"}


def names() -> tuple[str, ...]:
    """The figures there are."""
    return tuple(_PLOTS)


def draw(name: str, frame: pd.DataFrame, out: Path) -> list[Path]:
    """Draw a figure from records into ``out``: NAME.pdf, NAME.png, and NAME.csv with the numbers in it.

    Args:
        name: the figure.
        frame: tidy rows, one a run.
        out: folder, made if missing.

    Returns:
        the files written.

    Raises:
        ValueError: no such figure, or nothing in ``frame`` to draw.
    """
    if name not in _PLOTS:
        raise ValueError(f"no figure named {name!r}: there is {', '.join(_PLOTS)}")
    import matplotlib

    matplotlib.use("Agg")
    module = importlib.import_module(_PLOTS[name])
    table = module.table(frame)
    figure = module.figure(table)
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.{kind}" for kind in ("pdf", "png", "csv")]
    for path in paths[:2]:
        # no date in the file: the same records give the same bytes
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        figure.savefig(path, dpi=300, metadata=metadata)
    table.to_csv(paths[2], index=False)
    return paths
