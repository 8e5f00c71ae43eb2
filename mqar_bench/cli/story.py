"""The command ``show``: one run's story."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_run
from mqar_bench.cli.find import find_entry
from mqar_bench.cli.output import Json

if TYPE_CHECKING:
    from mqar_bench.records.curves import Point
    from mqar_bench.records.result import RunResult

#: Characters of a line where output is no terminal, and at most; lines of a chart; characters left of one.
FILE_WIDTH, MOST_WIDTH, CHART_HEIGHT, MARGIN = 80, 120, 5, 6


@app.command(
    epilog="**Examples**\n\nmqar-bench show fig3/demo/22\n\nmqar-bench show 13382cc7\n\nmqar-bench show 13382cc7 --json"
)
def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Its id, the start of one, or SWEEP/SCALE/I.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ],
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Show one run: how it ended, how it learnt, what it cost, and what it was made with.

    `mqar-bench results` lists the ids, and `mqar-bench sweep NAME --scale SCALE --dry-run` what I counts.
    """
    from mqar_bench.analysis.story import head, made_with, outcome

    entry, also = find_entry(run, results)
    if as_json:
        print(entry.result.model_dump_json(indent=1))
        return
    place = f"{entry.path}, line {entry.line}" if entry.line else str(entry.path)
    _print_facts([*head(entry.result, place, also), *outcome(entry.result), *made_with(entry.result)])
    _print_screening(entry.result)
    _print_accuracies(entry.result)
    _print_curves(entry.result)
    _print_settings(entry.result)
    if entry.result.status == "failed" and entry.result.traceback:
        print(f"\n{entry.result.traceback.rstrip()}")


def _print_facts(facts: list[tuple[str, str]]) -> None:
    """A name and what is to be said of it, a line each; on a terminal what is long goes on below itself."""
    from mqar_bench.basics.console import fold, make_console

    console, indent = make_console(), max(len(name) for name, _ in facts) + 2
    for name, text in facts:
        print(fold(text, console, f"{name:{indent}}").rstrip())


def _print_settings(result: RunResult) -> None:
    """The command that makes such a run; its lines are not broken, so that they can be typed again."""
    from mqar_bench.config.differences import list_overrides

    words = [f"--{path} {shlex.quote(value)}" for path, value in list_overrides(result.config)]
    print("\nsettings that differ from the defaults:")
    print(" \\\n    ".join(["  mqar-bench run", *words]))


def _print_screening(result: RunResult) -> None:
    if result.screen is None:
        return
    from mqar_bench.analysis.story import rivals
    from mqar_bench.basics.console import print_table

    screen = result.screen
    seed = "" if screen.seed is None else f", seed {screen.seed}"
    kept = "the best" if screen.keep == 1 else f"the best {screen.keep}"
    print(f"\nscreening: learning rates after {screen.epochs} epochs{seed}, of which {kept} went on")
    rows = [
        [rate, "failed" if reached is None else f"{reached:.3f}", screen.runs.get(rate, "-"), mark]
        for rate, reached, mark in rivals(screen, result.config.train.learning_rate)
    ]
    print_table(["rate", screen.by, "run", ""], rows, ["rate", screen.by])


def _print_accuracies(result: RunResult) -> None:
    if not result.settings:
        return
    from mqar_bench.basics.console import print_table
    from mqar_bench.config import setting_names

    tasks = result.config.data.test
    pairs = {name: str(task.num_kv_pairs) for name, task in zip(setting_names(tasks), tasks, strict=True)}
    print()
    rows = [[name, pairs.get(name, "-"), f"{accuracy:.4f}"] for name, accuracy in result.settings.items()]
    print_table(["test setting", "pairs", "accuracy"], rows, ["pairs", "accuracy"])


def _print_curves(result: RunResult) -> None:
    """Charts over steps: loss and accuracy of training, and the accuracy that guides it."""
    from mqar_bench.records.curves import epoch_means, guide_points, training_points

    if not result.epochs:
        return
    trained, scored = training_points(result), guide_points(result)
    epoch = result.steps // len(result.epochs)
    for name in ("loss", "accuracy"):
        values = [value for point in trained if (value := getattr(point, name)) is not None]
        if values:  # a record of before has no accuracy
            means = epoch_means(trained, values, epoch)
            _print_chart(f"training {name}, mean over an epoch", trained, means, 1.0 if name == "accuracy" else None)
    _print_chart(f"{scored[0].part} accuracy, after each epoch", scored, [p.accuracy or 0.0 for p in scored], 1.0)


def _print_chart(title: str, points: list[Point], values: list[float], high: float | None = None) -> None:
    """A chart from 0 to ``high``, by default the largest value, as wide as the terminal."""
    from mqar_bench.basics.chart import ASCII, BARS, draw_bars
    from mqar_bench.basics.console import make_console

    console = make_console()
    width = min(console.width if console.is_terminal else FILE_WIDTH, MOST_WIDTH) - MARGIN
    top = high or max(values) or 1.0
    kind = BARS if console.encoding.startswith("utf") else ASCII
    bars = draw_bars([point.step for point in points], values, top, max(width, 1), CHART_HEIGHT, kind)
    print(f"\n{title}: {values[0]:.4g} first, {values[-1]:.4g} last")
    for i, line in enumerate(bars):
        label = f"{top:.3g}" if i == 0 else "0" if i == len(bars) - 1 else ""
        print(f"{label:>{MARGIN - 1}} {line}".rstrip())
    end = f"{points[-1].step:,} steps"
    print(" " * MARGIN + "1" + end.rjust(max(width - 1, len(end) + 1)))
