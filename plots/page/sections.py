"""The text of the page and its tables: what REPORT.md says, from the same sections, and a table of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mqar_bench.analysis.report.section import DEVIATIONS, LEFT_OUT, Section, cost, in_short, protocols
from plots.page.html import escape, inline, link_run, paragraph, table

#: Rows of a figure's table; a longer one is left to its CSV.
MOST_ROWS = 1000

#: Of the table of runs: columns of ``to_frame``.
RUN_COLUMNS = (
    "run_id", "sweep", "scale", "mixer", "state_size", "learning_rate", "seed", "accuracy", "capacity", "steps_to_90",
    "seconds", "status",
)  # fmt: skip


def summary(sections: Sequence[Section]) -> str:
    """The lines to quote, and what is to be known of the numbers."""
    lines = "".join(f"<li>{inline(line)}</li>" for line in in_short(sections))
    prose = "".join(paragraph(" ".join(part.split())) for part in DEVIATIONS.strip().split("\n\n"))
    return f'<section id="summary"><h2>In short</h2><ul class="short">{lines}</ul>{prose}</section>'


def claims(sections: Sequence[Section]) -> str:
    """The paper's claims with their answers; nothing where there are none."""
    found = [claim for section in sections for claim in section.claims]
    if not found:
        return ""
    rows = [[escape(claim.text), f"<b>{escape(claim.answer)}</b>", escape(claim.evidence)] for claim in found]
    return (
        '<section id="claims"><h2>Claims</h2>'
        + table("Claims", ["claim", "answer", "numbers"], rows, "words")
        + "</section>"
    )


def figure(section: Section, drawn: str) -> str:
    """A figure, how its runs were made, what it lacks, and its numbers; ``drawn`` is HTML."""
    name = escape(section.name)
    told = " ".join(filter(None, (protocols(section.configs), cost(section.runs), section.note)))
    more = ", and more" if any(line.endswith(" are not done") for line in section.left_out[1:]) else ""
    lacks = "".join(f"<li>{escape(line)}</li>" for line in section.left_out)
    return "".join(
        (
            f'<section id="{name}"><h2>{name}</h2>{paragraph(section.title)}{drawn}',
            f"<details><summary>Protocol</summary>{paragraph(told)}</details>",
            f"<details><summary>Left out: {escape(section.left_out[0])}{more}</summary><ul>{lacks}</ul></details>"
            if lacks
            else "",
            _numbers(section),
            "</section>",
        )
    )


def _numbers(section: Section) -> str:
    found = section.table
    if len(found) > MOST_ROWS:
        return paragraph(f"The numbers, {len(found):,} rows, are in {section.picture.removesuffix('.png')}.csv.")
    shown = found.drop(columns=[c for c in LEFT_OUT if c in found and c not in ("run_ids", "run_id")])
    ids = next((column for column in ("run_ids", "run_id") if column in shown), None)
    names = [column for column in shown if column != ids]
    rows = []
    for row in shown.to_dict("records"):
        links = [" ".join(map(link_run, row[ids].split()))] if ids else []
        rows.append([escape(cell(row[name])) for name in names] + links)
    header = [str(name).removeprefix("accuracy/").replace("_", " ") for name in names] + (["runs"] if ids else [])
    numbers = table(f"{section.name}: the numbers", header, rows)
    return f"<details><summary>The numbers: {len(rows)} rows</summary>{numbers}</details>"


def all_runs(frame: pd.DataFrame) -> str:
    """A row a run."""
    rows = [
        [link_run(row["run_id"]), *(escape(cell(row[name])) for name in RUN_COLUMNS[1:])]
        for row in frame.to_dict("records")
    ]
    header = [name.replace("_", " ") for name in RUN_COLUMNS]
    return (
        f'<section id="runs"><h2>Runs</h2><p>{len(rows)} runs, those of screenings and those that failed among them.'
        " A run's name opens its record.</p>" + table("Runs", header, rows, "by-column") + "</section>"
    )


def cell(value: Any) -> str:
    """As in REPORT.md."""
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
