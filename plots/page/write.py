"""The page put together: text, figures and tables as HTML, with its style, its scripts and their data inside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import plots
from mqar_bench.analysis.report.section import Section
from mqar_bench.records.store import Entry
from mqar_bench.records.table import to_frame
from plots.page.drawings import DRAWINGS
from plots.page.html import data, escape, script
from plots.page.libraries import read_libraries
from plots.page.runs import tell_runs
from plots.page.sections import all_runs, claims, figure, summary
from plots.page.spec import to_plain

#: In this order: each uses those before it.
SCRIPTS = ("theme.js", "hover.js", "plotting.js", "draw.js", "run.js", "tables.js", "start.js")
#: Dots an inch of figures that are shown as they are printed.
DPI = 110


def write_page(sections: Sequence[Section], entries: Iterable[Entry], scale: str, root: Path) -> bytes:
    """The page; the same records give the same bytes.

    Args:
        sections: the figures, as the report has them.
        entries: the records that it can show, with where they lie.
        scale: which they are of.
        root: the folder of records.

    Raises:
        UsageError: a package that it needs is missing.
    """
    libraries = read_libraries()
    entries = list(entries)
    drawings = {section.name: DRAWINGS[section.name](section.table) for section in sections if section.name in DRAWINGS}
    scripts = [script(code) for code in (libraries.plotly, libraries.tables, _own_code())]
    parts = [figure(section, _place(section, section.name in drawings)) for section in sections]
    names = ["summary", *(["claims"] if claims(sections) else []), *(section.name for section in sections), "runs"]
    links = "".join(f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in names)
    policy = (
        f"default-src 'none'; script-src {' '.join(allowed for _, allowed in scripts)}; style-src 'unsafe-inline';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = f"MQAR at scale {escape(scale)}"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
        f"<title>{title}</title>",
        f"<style>{libraries.tables_style}</style><style>{_read('page.css')}</style></head><body>",
        f'<header><h1>{title}</h1><nav aria-label="Contents"><ul>{links}</ul></nav></header><main>',
        summary(sections),
        claims(sections),
        *parts,
        all_runs(to_frame([entry.result for entry in entries])),
        "</main>",
        '<dialog id="record" aria-labelledby="record-title"></dialog><div id="tip" role="status" hidden></div>',
        data("drawings", to_plain(drawings)),
        data("records", tell_runs(entries, root)),
        *(text for text, _ in scripts),
        "</body></html>\n",
    ]
    return "\n".join(lines).encode()


def _place(section: Section, drawn: bool) -> str:
    """Where a figure is drawn; one that is not has its picture there."""
    if drawn:
        return f'<div class="figure" data-figure="{escape(section.name)}"></div>'
    picture = base64.b64encode(plots.draw_numbers(section.name, section.table).to_png(DPI)).decode()
    return f'<img class="printed" alt="{escape(section.title)}" src="data:image/png;base64,{picture}">'


def _own_code() -> str:
    """Ours, in a scope of its own."""
    return '(() => {"use strict";\n' + "\n".join(map(_read, SCRIPTS)) + "})();"


def _read(name: str) -> str:
    return (files("plots.page") / "assets" / name).read_text(encoding="utf-8")
