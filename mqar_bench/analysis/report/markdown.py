"""The report in Markdown: a section for each figure, with its protocol, its table and the claims it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from mqar_bench.analysis.report.section import DEVIATIONS, LEFT_OUT, Section, cost, in_short, protocols

#: Rows of a table; a longer one is left to the CSV beside the picture.
MOST_ROWS = 150


def write_report(sections: Iterable[Section], scale: str) -> str:
    """The report in Markdown; the same records give the same text."""
    sections = list(sections)
    parts = [
        f"# MQAR at scale `{scale}`\n",
        "".join(f"- {line}\n" for line in in_short(sections)),
        DEVIATIONS,
        _claims(sections),
    ]
    parts += [_section(section) for section in sections]
    return "\n".join(parts)


def _claims(sections: Sequence[Section]) -> str:
    claims = [claim for section in sections for claim in section.claims]
    if not claims:
        return ""
    rows = [[claim.text, f"**{claim.answer}**", claim.evidence] for claim in claims]
    return "## Claims\n\n" + _table(["claim", "answer", "numbers"], rows)


def _section(section: Section) -> str:
    shown = section.table.drop(columns=[c for c in LEFT_OUT if c in section.table])
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    header = [str(name).removeprefix("accuracy/").replace("_", " ") for name in shown.columns]
    title = section.title.rstrip(".")
    return "\n".join(
        (
            f"## {section.name}: {title}\n",
            f"![{title}]({section.picture})\n",
            f"{' '.join(filter(None, (protocols(section.configs), cost(section.runs), section.note)))}\n",
            *(["Left out:\n", *(f"- {line}" for line in section.left_out), ""] if section.left_out else []),
            _numbers(section, header, rows),
        )
    )


def _numbers(section: Section, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if len(rows) > MOST_ROWS:
        return f"The numbers, {len(rows)} rows: [{section.name}.csv]({section.picture.removesuffix('.png')}.csv)\n"
    return f"<details><summary>The numbers: {len(rows)} rows</summary>\n\n{_table(header, rows)}\n</details>\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
