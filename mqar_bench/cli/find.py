"""The record of a run, by what people call the run."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from mqar_bench.cli.configs import run_of_sweep
from mqar_bench.cli.results import read_entries

if TYPE_CHECKING:
    from mqar_bench.records.store import Entry

#: Runs that a mistake's line names, at most.
NAMED = 4


def find_entry(run: str, root: Path) -> tuple[Entry, list[str]]:
    """The record of a run, and the other sweeps and scales that list the same run, as ``SWEEP at SCALE``.

    Of several records of it a done one comes first, then the one under the sweep and scale that ``run`` names.

    Args:
        run: its id, the start of one that no other run shares, or SWEEP/SCALE/I.
        root: the folder of records.

    Raises:
        UsageError: there is none, or several runs have such an id; names the nearest, or those.
    """
    from mqar_bench.basics.errors import UsageError

    config = run_of_sweep(run) if "/" in run else None
    start = run if config is None else config.run_id
    entries = read_entries(root)
    those = [entry for entry in entries if entry.result.run_id.startswith(start)]
    if len({entry.result.run_id for entry in those}) > 1:
        raise UsageError(f"several runs have an id that starts with {run!r}: {_name(those)}")
    if not those and config is not None:
        kin = [entry for entry in entries if entry.result.config.variant == config.variant]
        others = f": with another learning rate or seed there is {_name(kin)}" if kin else ""
        raise UsageError(f"{run} is run {start}, which has no record in {root}{others}")
    if not those:
        raise UsageError(f"no run has an id that starts with {run!r} in {root}: {_nearest(run, entries, root)}")
    named = None if config is None else (config.sweep, config.scale)
    best = max(those, key=lambda entry: (entry.result.status == "done", entry.key[:2] == named))
    return best, sorted({_listed(entry) for entry in those} - {_listed(best)})


def _listed(entry: Entry) -> str:
    return f"{entry.result.config.sweep} at {entry.result.config.scale}"


def _name(entries: list[Entry]) -> str:
    """The first few of these runs, with what tells them apart."""
    found = {entry.result.run_id: entry for entry in entries}
    shown = [
        f"{run_id} ({_listed(entry)}: {config.mixer} lr={config.train.learning_rate:g} seed={config.train.seed})"
        for run_id, entry in found.items()
        if (config := entry.result.config)
    ]
    more = [f"and {len(shown) - NAMED} more"] if len(shown) > NAMED else []
    return ", ".join(shown[:NAMED] + more)


def _nearest(run: str, entries: list[Entry], root: Path) -> str:
    """The runs whose ids begin most like this, in words."""
    if not entries:
        return "there is no record" if root.is_dir() else "there is no such folder"
    starts = {entry.result.run_id[: len(run)]: entry for entry in entries}
    close = difflib.get_close_matches(run.lower(), starts, 3, cutoff=0.5)
    if not close:
        return "`mqar-bench results` lists them"
    return f"did you mean {_name([starts[start] for start in close])}?"
