"""What a report has, from the records: a section for each figure, and the claims that it answers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.complete import complete_figure

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.analysis.report.claims import Claim
    from mqar_bench.analysis.report.section import Section
    from mqar_bench.analysis.stream_record import StreamEvaluation
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Entry, Store
    from plots import Data

Figures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FIGURE]...", help="Default: all there are.", show_default=False, autocompletion=complete_figure
    ),
]


def check_figures(names: Sequence[str]) -> None:
    """Whether a report can have these figures.

    Raises:
        UsageError: there is no such figure; names the nearest.
    """
    import plots
    from mqar_bench.basics.errors import UsageError, hint

    for name in names:
        if name not in plots.names():
            raise UsageError(f"no figure named {name!r} to report{hint(name, plots.names())}")


def of_scale(entries: Iterable[Entry], scale: str) -> list[Entry]:
    """The records at a scale, with the short runs of its screenings."""
    from mqar_bench.launching.screen import SUFFIX

    return [entry for entry in entries if entry.result.config.scale in (scale, scale + SUFFIX)]


def find_sections(store: Store, entries: Iterable[Entry], wanted: Sequence[str], scale: str) -> list[Section]:
    """The sections of figures that have something to draw; the others are named on standard error.

    Args:
        store: where traces and checkpoints lie.
        entries: all of its records at that scale (``of_scale``).
        wanted: figures.
        scale: of the runs.

    Raises:
        UsageError: none of them has.
    """
    from mqar_bench.basics.errors import UsageError

    records = [entry.result for entry in entries]
    named: dict[str, str] = {}
    sections = [section for name in wanted if (section := _section(store, records, name, scale, named)) is not None]
    if not sections:
        raise UsageError(f"nothing to report: no run of {', '.join(wanted)} at scale {scale} is done in {store.root}")
    return sections


def _section(
    store: Store, all_records: Sequence[RunResult], name: str, scale: str, named: dict[str, str]
) -> Section | None:
    """A figure's part of the report; none if there is nothing to draw. ``named`` says of a sweep which figure has named
    the runs that it lacks."""
    import plots
    from mqar_bench.analysis.report.section import Section
    from mqar_bench.records.table import to_frame

    if plots.streamed(name):
        return _streamed_section(store, name, scale)
    if not plots.sweeps(name):
        return _traced_section(store, name, scale)
    records = [r for r in all_records if r.config.sweep in plots.sweeps(name)]
    short = [r for r in records if r.config.scale != scale]
    note = ""
    if plots.shows_screening(name) and any(r.status == "done" for r in short):
        records, note = short, "The short runs by which rates were chosen."
    else:
        records = [r for r in records if r.config.scale == scale]
    done = [r for r in records if r.status == "done"]
    if not done:
        print(f"{name}: no run is done", file=sys.stderr)
        return None
    frame = to_frame(records, curves=True)
    table = _table(name, frame)
    if table is None:
        return None
    return Section(
        name=name,
        title=plots.describe(name),
        picture=_picture(name, scale),
        table=table,
        runs=frame,
        configs=[result.config for result in done],
        claims=_claims(name, table),
        note=note,
        left_out=_left_out(store, all_records, name, scale, named),
    )


def _left_out(
    store: Store, all_records: Sequence[RunResult], name: str, scale: str, named: dict[str, str]
) -> list[str]:
    """The runs that a figure lacks, by name where no figure before it has named them."""
    import plots
    from mqar_bench.cli.left_out import left_out

    lines: list[str] = []
    for sweep in plots.sweeps(name):
        missing = left_out(store, all_records, sweep, scale)
        if missing and (before := named.setdefault(sweep, name)) != name:
            missing = [f"{missing[0]}: {before} names them"]
        lines += missing
    return lines


def _traced_section(store: Store, name: str, scale: str) -> Section | None:
    """Like ``_section``, of the traces below RESULTS/traces."""
    import plots
    from mqar_bench.analysis.report.claims import locality
    from mqar_bench.analysis.report.section import Section
    from mqar_bench.analysis.trace import load_trace

    files = sorted((store.root / "traces").rglob("*.npz"))
    if not files:
        print(f"{name}: no trace, see `mqar-bench trace --out {store.root / 'traces'}`", file=sys.stderr)
        return None
    traces = [load_trace(file) for file in files]
    if name == "traces":
        traces = traces[:1]
    table = plots.table(name, traces)
    runs = ", ".join(f"{trace.config.run_id} ({trace.setting}: {trace.accuracy:.3f} right)" for trace in traces)
    return Section(
        name=name,
        title=plots.describe(name),
        picture=_picture(name, scale),
        table=table,
        runs=None,
        configs=[trace.config for trace in traces],
        claims=locality(table) if name == "cache" else (),
        note=f"Traced: {runs}; mixers {' '.join(spec.name for spec in traces[0].config.model.mixers)}.",
    )


def _streamed_section(store: Store, name: str, scale: str) -> Section | None:
    """Like ``_section``, of what `mqar-bench stream` has kept beside the records of the scale."""
    import plots
    from mqar_bench.analysis.report.reaches import spares
    from mqar_bench.analysis.report.section import Section
    from mqar_bench.analysis.stream_record import find_streams

    found = find_streams(store.root, plots.streamed(name), scale)
    if not found:
        print(f"{name}: nothing is streamed, see `mqar-bench stream`", file=sys.stderr)
        return None
    table = _table(name, found)
    if table is None:
        return None
    task = found[0].task
    read = f"{found[0].examples} examples of {task.name} at each context, read {found[0].rows} at a time"
    return Section(
        name=name,
        title=plots.describe(name),
        picture=_picture(name, scale),
        table=table,
        runs=None,
        configs=[],
        claims=_reaches(table, found) if name == "long_context" else spares(table),
        note=f"{read}; {len(found)} run{'s' if len(found) > 1 else ''}.",
    )


def _reaches(table: pd.DataFrame, found: Sequence[StreamEvaluation]) -> list[Claim]:
    """How far the models of the figure ``long_context`` extrapolate: a model goes by its mixer, where that has several
    by its variant, too."""
    from mqar_bench.analysis.report.reaches import extrapolates

    by_id = {each.run_id: each for each in found}
    models = {}
    for (mixer, variant), rows in table.groupby(["mixer", "variant"], sort=False):
        several = table.loc[table["mixer"] == mixer, "variant"].nunique() > 1
        ids = dict.fromkeys(one for text in rows["run_ids"] for one in text.split())
        models[f"{mixer} {str(variant)[:6]}" if several else str(mixer)] = [by_id[one] for one in ids]
    return extrapolates(models)


def _table(name: str, data: Data) -> pd.DataFrame | None:
    """The numbers in a figure; None where there is nothing to draw, after a word on why."""
    import plots

    try:
        return plots.table(name, data)
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None


def _picture(name: str, scale: str) -> str:
    """The path of the picture, from the report."""
    return f"figures/{scale}/{name}.png"


def _claims(name: str, table: pd.DataFrame) -> list[Claim]:
    from mqar_bench.analysis.report.claims import (
        above_at_equal_state,
        helps,
        lasts,
        more_slots_help,
        overlap_decides,
        predicts,
        rises,
    )

    if name == "fig3":
        return above_at_equal_state(table)
    if name == "fig4":
        axes = (("fig4_order", "the order U"), ("fig4_slots", "the slots M"), ("top_k", "K"))
        return [claim for sweep, what in axes for claim in rises(table, sweep, what)]
    if name == "ablations":
        from plots.ablations import GRADIENTS, TEMPERATURES
        from plots.ramnet import NEVER, SHRUNK

        claims = rises(table, "gamma", "the decay exponent gamma", falls=True)
        claims += rises(table, "cape", "CAPE in more heads of the last layer", falls=True)
        claims += helps(table, "temperature", "learning the temperature, by where it starts,", *TEMPERATURES)
        claims += helps(table, "proxy_gradient", "the proxy gradient, by gamma,", *GRADIENTS)
        what = "of 64 slots, training with more than K to the end, by K,"
        return claims + helps(table, "anneal", what, *(f"{how}, $M$ = 64" for how in (NEVER, SHRUNK)))
    if name == "trainability":
        from plots.trainability import RECIPES

        return overlap_decides(table) + more_slots_help(table, *RECIPES) + lasts(table)
    if name == "language_capacity":
        return predicts(table)
    return []
