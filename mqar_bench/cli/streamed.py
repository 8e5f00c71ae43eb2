"""What the command ``stream`` shows: progress, and a table at the end."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mqar_bench.analysis.stream_record import StreamedContext, StreamEvaluation
from mqar_bench.analysis.streaming import Watcher
from mqar_bench.basics.console import make_console, print_table
from mqar_bench.basics.machine.hardware import show_bytes
from mqar_bench.launching.budget import Budget


class StreamLines(Watcher):
    """A line on standard error for every context that ends; on a terminal a bar below for the one under way.

    Args:
        quiet: neither.
        budget: when to stop; None for never.
    """

    def __init__(self, quiet: bool, budget: Budget | None) -> None:
        self.quiet, self.budget = quiet, budget
        self.console = make_console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.context = 0

    def start(self, evaluation: StreamEvaluation, contexts: list[int]) -> None:
        there = sum(evaluation.at(context).status != "partial" for context in contexts)
        if there and not self.quiet:
            self._print(f"{there} of {len(contexts)} contexts are there already")
        self.bar.start()

    def progress(self, context: int, share: float) -> None:
        if self.task is None or context != self.context:
            self._close_task()
            self.context, self.task = context, self.bar.add_task(f"{show_context(context)} tokens", total=1.0)
        self.bar.update(self.task, completed=share)

    def finish(self, entry: StreamedContext) -> None:
        self._close_task()
        if self.quiet:
            return
        said = f"accuracy {entry.accuracy:.3f}" if entry.status == "done" else f"ended: {entry.reason}"
        if entry.status == "done" and entry.tokens_per_second is not None:
            said += f", {entry.tokens_per_second:,.0f} tokens/s"
        self._print(f"{show_context(entry.context)} tokens: {said}")

    def is_over(self) -> bool:
        return self.budget is not None and self.budget.left <= 0

    def close(self) -> None:
        """Takes the bar away."""
        self.bar.stop()

    def _close_task(self) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False)


def print_stream(evaluation: StreamEvaluation, path: Path) -> None:
    """The table, on standard output."""
    header = ["context", "examples", "accuracy", "interval", "tokens/s", "state", "peak memory", ""]
    rows = []
    for entry in evaluation.contexts:
        sized = [entry.state_bytes, entry.peak_bytes]
        rows.append(
            [
                show_context(entry.context),
                str(len(entry.correct)),
                "-" if entry.accuracy is None else f"{entry.accuracy:.4f}",
                "-" if entry.low is None else f"{entry.low:.3f} to {entry.high:.3f}",
                "-" if entry.tokens_per_second is None else f"{entry.tokens_per_second:,.0f}",
                *("-" if size is None else show_size(size) for size in sized),
                entry.status + (f": {entry.reason}" if entry.reason else ""),
            ]
        )
    print_table(header, rows, header[:-1])
    trained = f"trained on {evaluation.trained_length} tokens at most"
    print(f"{evaluation.task.name}, {trained}; a guess is worth {evaluation.chance:.4f}")
    print(f"weights: {evaluation.weights} of run {evaluation.run_id}, {evaluation.mixer}")
    print(f"kept: {path}")


def show_context(tokens: int) -> str:
    """A length as it is given: 1k, 64k, 1M."""
    for unit, letter in ((2**20, "M"), (2**10, "k")):
        if tokens % unit == 0:
            return f"{tokens // unit}{letter}"
    return str(tokens)


def show_size(count: int) -> str:
    """Bytes, of a state of any size."""
    return show_bytes(count) if count >= 2**20 else f"{count / 2**10:.1f} KiB"
