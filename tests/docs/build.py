"""Makes the pages of the reference from the docstrings, into build/docs: `make docs`. A warning is an error.

pdoc reads what is there at run time: names that are imported when they are asked for are, before it looks.
"""

import importlib
import inspect
import shutil
import sys
import typing
import warnings
from pathlib import Path

import pdoc

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "docs"
#: What users import from.
MODULES = (
    "mqar_bench", "mqar_bench.config", "mqar_bench.tasks", "mqar_bench.language", "mixers", "mixers.ramnet", "sweeps",
    "plots",
)  # fmt: skip


def resolve(name: str) -> None:
    """Import a module, and have all that it offers among its attributes."""
    module = importlib.import_module(name)
    for each in module.__all__:
        found = getattr(module, each)
        setattr(module, each, found)
        if inspect.isclass(found) and hasattr(found, "_fields"):  # a named tuple does not know where its types are
            found.__new__.__annotations__ = typing.get_type_hints(found)


def plain(annotation: str) -> str:
    """An annotation without what pydantic is told besides the type."""
    while (start := annotation.find("typing.Annotated[")) >= 0:
        inner = start + len("typing.Annotated[")
        depth, comma, end = 0, None, inner
        while depth >= 0:
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(annotation[end], 0)
            comma = end if comma is None and depth == 0 and annotation[end] == "," else comma
            end += 1
        annotation = annotation[:start] + annotation[inner:comma] + annotation[end:]
    return annotation.replace("typing.", "")


def build(out: Path) -> list[str]:
    """Write the pages into a folder, anew; what there was to warn of, a line each."""
    shutil.rmtree(out, ignore_errors=True)
    pdoc.render.configure(docformat="google", show_source=False, template_directory=Path(__file__).parent)
    pdoc.render.env.filters["plain"] = plain
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in MODULES:
            resolve(name)
        pdoc.pdoc(*MODULES, output_directory=out)
    return [str(warning.message) for warning in caught]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    problems = build(OUT)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(OUT.relative_to(ROOT) / "index.html")
    sys.exit(1 if problems else 0)
