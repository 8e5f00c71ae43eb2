"""What the shell completes, at once: names are read off the files that have them, and none of these is executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[2]
#: Where a class says as what mixer or task it is known.
_MIXER = re.compile(r'^@register\("(\w+)"\)', re.MULTILINE)
_TASK = re.compile(r'^    name: Literal\["(\w+)"\]', re.MULTILINE)
_RUN_ID = re.compile(rb'"run_id": ?"([0-9a-f]{12})"')


def complete_sweep(context: typer.Context, incomplete: str) -> list[str]:
    import sweeps

    return _begin(sweeps.names(), incomplete)


def complete_recorded(context: typer.Context, incomplete: str) -> list[str]:
    """The sweeps that there may be records of."""
    import sweeps

    return _begin(sweeps.recorded(), incomplete)


def complete_recorded_or_command(context: typer.Context, incomplete: str) -> list[str]:
    """Of ``results``, whose first word may also be one of its commands."""
    commands = getattr(context.parent and context.parent.command, "commands", ()) if context.meta.get(IMPLIED) else ()
    return [*_begin(commands, incomplete), *complete_recorded(context, incomplete)]


#: Marks, in a context, that a command was not named but is meant.
IMPLIED = "mqar_bench.implied"


def complete_scale(context: typer.Context, incomplete: str) -> list[str]:
    """The scales of the sweep that is named; all there are where none is, or one whose module does not list them."""
    import sweeps

    # what is parsed ends where the line does, at an option without a value: the rest is left over
    name = str(context.params.get("name") or next(iter(context.args), None))
    own = name.endswith(".py")
    path = Path(name) if own else ROOT / "sweeps" / f"{name if name in sweeps.names() else 'protocols'}.py"
    return _begin(_scales(path) or (() if own else _scales(ROOT / "sweeps" / "protocols.py")), incomplete)


def complete_figure(context: typer.Context, incomplete: str) -> list[str]:
    import plots

    return _begin(plots.names(), incomplete)


def complete_mixer(context: typer.Context, incomplete: str) -> list[str]:
    return _begin(sorted(_found(_MIXER, ROOT / "mixers")), incomplete)


def complete_task(context: typer.Context, incomplete: str) -> list[str]:
    return _begin(_found(_TASK, ROOT / "mqar_bench" / "tasks"), incomplete)


def complete_case(context: typer.Context, incomplete: str) -> list[str]:
    from mqar_bench.perf import CASES

    return _begin(CASES, incomplete)


def complete_run(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The ids of the runs in the folder of records, each with the file's or folder's name; and places of runs."""
    root = context.params.get("results") or "results"
    ids = {} if "/" in incomplete else dict(_run_ids(Path(root)))
    places = [] if ids and not incomplete else complete_place(context, incomplete)
    return [(run, where) for run, where in sorted(ids.items()) if run.startswith(incomplete)] + [
        (place, "the first run of a sweep") for place in places
    ]


def complete_place(context: typer.Context, incomplete: str) -> list[str]:
    """SWEEP/SCALE/I, with the first run of each."""
    import sweeps

    places = [f"{name}/{scale}/0" for name in sweeps.names() for scale in _scales(ROOT / "sweeps" / f"{name}.py")]
    return _begin(places, incomplete)


def _begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _found(pattern: re.Pattern[str], folder: Path) -> list[str]:
    return [name for path in sorted(folder.rglob("*.py")) for name in pattern.findall(path.read_text())]


def _scales(path: Path) -> tuple[str, ...]:
    """What a module assigns to SCALES, or imports under that name from one of ours; none where it cannot be told."""
    try:
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "SCALES" for alias in node.names):
                return _scales(ROOT.joinpath(*(node.module or "").split(".")).with_suffix(".py"))
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "SCALES" for t in node.targets):
                return tuple(map(str, ast.literal_eval(node.value)))
    except (OSError, SyntaxError, TypeError, ValueError):
        pass
    return ()


def _run_ids(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.glob("*.jsonl")):
        try:
            yield from ((found.decode(), path.stem) for found in _RUN_ID.findall(path.read_bytes()))
        except OSError:
            continue
    yield from (
        (path.stem, path.parent.name) for path in root.glob("*/*.json") if re.fullmatch("[0-9a-f]{12}", path.stem)
    )
