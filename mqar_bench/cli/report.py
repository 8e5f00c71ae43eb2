"""The command ``report``: the records as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_scale
from mqar_bench.cli.output import Json, print_json
from mqar_bench.cli.results import read_entries
from mqar_bench.cli.sections import Figures


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench report --scale laptop --out report.html\n\n"
    "mqar-bench report fig3 capacity curves --scale demo"
)
def report(
    figures: Figures = None,
    scale: Annotated[
        str, typer.Option(metavar="SCALE", help="Of the runs, such as laptop.", autocompletion=complete_scale)
    ] = "laptop",
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write the records of a scale as one page: figures to hover over, tables that sort, every run's record.

    It is a single file that opens from disk in a browser and asks for nothing else. A point names its runs, the legend
    switches lines, a click opens a run as `mqar-bench show` tells of it.
    `mqar-bench reproduce` writes it too, beside REPORT.md. It needs `pip install 'mqar-bench[page]'`.
    """
    import plots
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.sections import check_figures, find_sections, of_scale
    from mqar_bench.records.store import Store, write_file
    from plots.page import write_page
    from plots.page.libraries import read_libraries

    wanted = figures or list(plots.names())
    check_figures(wanted)
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: give a file, such as {out / 'report.html'}")
    read_libraries()  # before the work, if they are missing
    entries = of_scale(read_entries(results), scale)
    sections = find_sections(Store(results), entries, wanted, scale)
    write_file(out, write_page(sections, entries, scale, results))
    if as_json:
        print_json({"report": str(out), "figures": [section.name for section in sections], "runs": len(entries)})
    else:
        print(out)
