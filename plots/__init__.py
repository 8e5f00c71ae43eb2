"""Figures: one module each, a pure function from a tidy table (``mqar_bench.records.table``) to a matplotlib Figure.

Those without ``SWEEPS`` are drawn from traces (``mqar_bench.analysis.trace``) instead, or with ``STREAMED`` from
streaming evaluations (``mqar_bench.analysis.stream_record``). Wherever a figure's name is
taken it may be one of the user's own, by its file or a dotted name (``plots.own``).
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.analysis.stream_record import StreamEvaluation
    from mqar_bench.analysis.trace import Trace
    from mqar_bench.basics.modules import Place
    from plots.drawing import Drawing
    from plots.own import OwnFigure

    #: What figures are drawn from.
    Data = pd.DataFrame | list[Trace] | list[StreamEvaluation]

__all__ = [
    "describe",
    "draw",
    "draw_numbers",
    "make_figure",
    "names",
    "save",
    "shows_screening",
    "streamed",
    "sweep_files",
    "sweeps",
    "table",
]

_PLOTS = {
    name: f"plots.{name}"
    for name in (
        "fig3",
        "fig3_active",
        "capacity",
        "relatives",
        "forgetting_curve",
        "fig4",
        "ablations",
        "trainability",
        "token_wise",
        "per_setting",
        "lr",
        "curves",
        "cost",
        "published",
        "traces",
        "cache",
        "long_context",
        "overwritten",
        "language",
        "language_capacity",
    )
}


def names() -> tuple[str, ...]:
    """The figures there are."""
    return tuple(_PLOTS)


def sweeps(name: str) -> tuple[str, ...]:
    """The sweeps whose records a figure shows, as records name them; none of one that is drawn from something else,
    or of the user's own that shows whatever there is.

    Raises:
        ValueError: no such figure.
    """
    return getattr(_module(name), "SWEEPS", ())


def sweep_files(name: str) -> dict[str, str]:
    """Of the sweeps of a figure those of the user's own: what names each in a command, by what records name it.

    Raises:
        ValueError: no such figure.
    """
    return getattr(_module(name), "files", {})


def shows_screening(name: str) -> bool:
    """Whether a figure is of the short runs of a screening, where there was one.

    Raises:
        ValueError: no such figure.
    """
    return getattr(_module(name), "SCREENING", False)


def streamed(name: str) -> tuple[str, ...]:
    """The sweeps whose streaming evaluations a figure shows; none of one that is drawn from something else.

    Raises:
        ValueError: no such figure.
    """
    return getattr(_module(name), "STREAMED", ())


def describe(name: str) -> str:
    """What a figure shows, in one line.

    Raises:
        ValueError: no such figure.
    """
    return (_module(name).__doc__ or "").strip().splitlines()[0]


def table(name: str, data: Data) -> pd.DataFrame:
    """The numbers in a figure, as ``draw`` writes them.

    Raises:
        ValueError: no such figure, or nothing in ``data`` to draw.
    """
    return _module(name).table(data)


def draw(name: str, data: Data, out: Path, columns: int = 1, ours: Collection[str] = ()) -> list[Path]:
    """Draw a figure from records into ``out``: NAME.pdf, NAME.png, and NAME.csv with the numbers in it.

    Args:
        name: the figure; files of one of the user's own are named after its file.
        data: tidy rows, one a run; traces or streaming evaluations for a figure that is drawn from these.
        out: folder, made if missing.
        columns: of a page, that the figure takes: 1 or 2, where it can be had in either.
        ours: mixers that stand out, in a figure that can have some do so.

    Returns:
        the files written.

    Raises:
        ValueError: no such figure, nothing in ``data`` to draw, or it comes in one width only.
    """
    return make_figure(name, data, columns, ours).save(out)


def save(name: str, numbers: pd.DataFrame, out: Path, columns: int = 1, ours: Collection[str] = ()) -> list[Path]:
    """``draw`` from what ``table`` has given.

    Raises:
        ValueError: no such figure, or it comes in one width only.
    """
    return draw_numbers(name, numbers, columns, ours).save(out)


def make_figure(name: str, data: Data, columns: int = 1, ours: Collection[str] = ()) -> Drawing:
    """A figure from records, with the numbers in it: nothing is written before its ``save(folder)``.

    Args:
        name: the figure, such as ``capacity``, or one of the user's own by file or dotted name.
        data: tidy rows, one a run, as ``to_frame(records, curves=True)`` gives them; traces or streaming
            evaluations for a figure that is drawn from these.
        columns: of a page, that the figure takes: 1 or 2, where it can be had in either.
        ours: mixers that stand out, in a figure that can have some (``fig3``, ``capacity``).

    Raises:
        ValueError: no such figure, nothing in ``data`` to draw, or it comes in one width only.
    """
    return draw_numbers(name, table(name, data), columns, ours)


def draw_numbers(name: str, numbers: pd.DataFrame, columns: int = 1, ours: Collection[str] = ()) -> Drawing:
    """The figure of what ``table`` has given.

    Raises:
        ValueError: no such figure, or it comes in one width only.
    """
    from plots.drawing import make_drawing

    module = _module(name)
    return make_drawing(module, name if name in _PLOTS else module.name, numbers, columns, ours)


def _module(name: str) -> ModuleType | OwnFigure:
    from mqar_bench.basics.modules import is_own, locate

    if name not in _PLOTS and not is_own(name):
        raise ValueError(f"no figure named {name!r}: there is {', '.join(_PLOTS)}")
    if name in _PLOTS:
        return importlib.import_module(_PLOTS[name])
    place = locate(name)
    return _execute(place, place.path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _execute(place: Place, written: int) -> OwnFigure:
    """Once a command, though it is asked several things."""
    from plots.own import OwnFigure

    return OwnFigure(place)
