"""The libraries that the page is made with, as they lie in installed packages: their text goes into the page.

Plotly (MIT, 4.8 MB) draws SVG and has intervals, log axes, hollow and hatched marks and hovering of its own; Vega would
be a quarter of it in a package of 100 MB, Bokeh draws on a canvas, and no package has a smaller part of Plotly.
DataTables (MIT, 0.7 MB with jQuery) sorts and filters tables that are there without it; itables brings it in one file.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from mqar_bench.basics.errors import UsageError

#: Package, and the file in it.
_PLOTLY = ("plotly", "plotly/package_data/plotly.min.js")
_TABLES = ("itables", "itables/html/dt_bundle.js")
_TABLES_STYLE = ("itables", "itables/html/dt_bundle.css")

#: How to have them.
INSTALL = "pip install 'mqar-bench[page]'"


class Libraries(NamedTuple):
    """Scripts that define ``Plotly`` and ``DataTable``, and the style of tables."""

    plotly: str
    tables: str
    tables_style: str


def find_missing() -> str:
    """The first package that is not installed; empty where none is missing."""
    for name in (_PLOTLY[0], _TABLES[0]):
        try:
            distribution(name)
        except PackageNotFoundError:
            return name
    return ""


def read_libraries() -> Libraries:
    """Their text.

    Raises:
        UsageError: a package is missing (``find_missing``), or of a version without these files.
    """
    return Libraries(_read(*_PLOTLY), _as_script(_read(*_TABLES)), _read(*_TABLES_STYLE))


def _read(package: str, name: str) -> str:
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise UsageError(f"the page needs {package}, which is not installed: {INSTALL}") from None
    try:
        return Path(str(found.locate_file(name))).read_text(encoding="utf-8")
    except OSError:
        raise UsageError(f"{package} {found.version} has no file {name}: {INSTALL} brings one that has") from None


def _as_script(module: str) -> str:
    """A module's text as a script of its own scope that leaves ``DataTable`` to the others."""
    start = module.rfind("export{")
    end = module.find("}", start)
    names = dict(each.split(" as ")[::-1] for each in module[start + len("export{") : end].split(",") if " as " in each)
    if start < 0 or "jQuery" not in names:
        raise UsageError(f"{_TABLES[0]} has another form than is known: {INSTALL} brings one that is")
    body = module[:start] + module[end + 1 :].lstrip(";")
    return f'(() => {{"use strict";\n{body}\nglobalThis.DataTable = {names["jQuery"]}.fn.dataTable;\n}})();'
