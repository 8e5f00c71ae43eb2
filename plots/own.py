"""Figures of the user's own: a module with ``table(frame)`` and ``figure(points)``, as those here have.

Besides, all optional: ``SWEEPS``, a tuple of the sweeps whose records it shows, of which those of the user's own are
named by a file beside the figure's or by a dotted name (by default every sweep with records); ``SCREENING = True``
where it shows the short runs of a screening if there are some; and ``columns`` as an argument of ``figure``, where it
can be had two columns of a page wide.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mixers.checks import brief
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.modules import Place, execute, explain, is_ours, is_own, line_of, locate


class OwnFigure:
    """A module of the user's own, with the attributes of a module here; what goes wrong in it is one line.

    Raises:
        UsageError: it cannot be executed, or has not what a figure has.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        try:
            module = execute(place)
        except (Exception, SystemExit) as error:
            raise UsageError(explain(place, error)) from error
        for name in ("table", "figure"):
            if not callable(getattr(module, name, None)):
                raise UsageError(f"{place.shown} has no function {name}: a figure has table(frame) and figure(points)")
        self.__doc__ = module.__doc__
        self.files = _sweeps(place, module)
        self.SWEEPS = tuple(self.files)
        self.SCREENING = bool(getattr(module, "SCREENING", False))
        self.table = self._guard(module.table, pd.DataFrame, "a pandas DataFrame")
        self.figure = self._guard(module.figure, Figure, "a matplotlib Figure")

    @property
    def name(self) -> str:
        """What its files are called."""
        return self._place.path.stem

    def _guard(self, function: Callable[..., Any], kind: type, what: str) -> Callable[..., Any]:
        """A function of the module, checked for what it returns."""

        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> Any:
            try:
                result = function(*arguments, **options)
            except (Exception, SystemExit) as error:
                if isinstance(error, ValueError) and is_ours(error):  # such as that there is nothing to draw
                    raise
                raise UsageError(explain(self._place, error)) from error
            if not isinstance(result, kind):
                name = getattr(function, "__name__", "the function")
                got = "None" if result is None else f"{type(result).__name__} {brief(result)}"
                raise UsageError(f"{line_of(self._place, function)}: {name} must return {what}, got {got}")
            return result

        return guarded


def _sweeps(place: Place, module: ModuleType) -> dict[str, str]:
    """The sweeps whose records are shown, by what records name them; each as a command would be told it."""
    given = getattr(module, "SWEEPS", ())
    if isinstance(given, str) or not isinstance(given, list | tuple) or not all(isinstance(s, str) for s in given):
        raise UsageError(f"{place.shown}: SWEEPS must be a tuple of names, such as ('fig3',), got {brief(given)}")
    found = {}
    for name in given:
        if is_own(name):
            try:
                sweep = locate(name, beside=place.path.parent)
            except UsageError as error:
                raise UsageError(f"{place.shown}: SWEEPS has {name!r}: {error}") from None
            found[sweep.folder_name] = sweep.given
        else:
            found[name] = name
    return found
