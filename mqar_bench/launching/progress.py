"""Watchers for people: a live display on a terminal, plain lines elsewhere, failures only when quiet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mqar_bench.basics.console import make_console
from mqar_bench.config import RunConfig
from mqar_bench.launching.watcher import Watcher
from mqar_bench.records.result import RunResult
from mqar_bench.training.session import Progress

#: Lines of a terminal that are left to what is not a run under way.
MARGIN_LINES = 6


def make_watcher(console: Console | None = None, quiet: bool = False) -> Watcher:
    """Shows how a launch goes, as suits the console: live on a terminal, else in lines.

    Args:
        console: rich's; by default one on standard error.
        quiet: only what goes wrong.
    """
    console = make_console(stderr=True) if console is None else console
    if quiet:
        return Lines(console, only_failures=True)
    return Display(console) if console.is_terminal else Lines(console)


class Lines:
    """A line for every run that ends, ``[3/12] ramnet lr=0.01 seed=123 accuracy 0.993 41s``, and for any trouble."""

    def __init__(self, console: Console, only_failures: bool = False) -> None:
        self.console = console
        self.only_failures = only_failures
        self.labels: dict[str, str] = {}
        self.ended = self.skipped = self.failed = self.retried = 0

    @property
    def total(self) -> int:
        return len(self.labels)

    def start(self, configs: Sequence[RunConfig], skipped: int) -> None:
        self.labels, self.skipped = label_runs(configs), skipped
        self.ended = self.failed = self.retried = 0  # of this launch, where there was one before
        if skipped and not self.only_failures:
            self._print(f"{skipped} of {self.total} runs are done already")

    def progress(self, run_id: str, progress: Progress) -> None:
        pass

    def note(self, run_id: str, text: str) -> None:
        self._print(f"{self._count()} {self.labels.get(run_id, '')} {text}".replace("  ", " "), "yellow")

    def retry(self, run_id: str, reason: str, attempt: int) -> None:
        self.retried += 1
        self._print(f"{self._count()} {self.labels[run_id]} RETRY, attempt {attempt}: {reason}", "yellow")

    def drop(self, run_id: str) -> None:
        pass

    def pause(self, run_id: str, fraction: float) -> None:
        if not self.only_failures:
            self._print(f"{self._count()} {self.labels[run_id]} stopped at {fraction:.0%}, to go on from there")

    def finish(self, result: RunResult) -> None:
        self.ended += 1
        failed = result.status == "failed"
        self.failed += failed
        if failed or not self.only_failures:
            count = self._count()
            outcome = f"FAILED {result.error}" if failed else f"accuracy {result.accuracy:.3f}"
            line = f"{count} {self.labels[result.run_id]} {outcome} {result.seconds:.0f}s"
            self._print(line, "red" if failed else "")

    def close(self) -> None:
        pass

    def _count(self) -> str:
        return f"[{self.skipped + self.ended}/{self.total}]"

    def _print(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)


class Display(Lines):
    """Those lines, and below them a bar over all runs and a line for each that is under way."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.configs: dict[str, RunConfig] = {}
        self.running: dict[str, Progress] = {}
        self.eta = Eta()
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def start(self, configs: Sequence[RunConfig], skipped: int) -> None:
        super().start(configs, skipped)
        self.configs, self.eta = {config.run_id: config for config in configs}, Eta()
        self.live.start()

    def progress(self, run_id: str, progress: Progress) -> None:
        self.running[run_id] = progress
        self.eta.update(self.work)

    def retry(self, run_id: str, reason: str, attempt: int) -> None:
        self.drop(run_id)
        super().retry(run_id, reason, attempt)

    def drop(self, run_id: str) -> None:
        self.running.pop(run_id, None)

    def pause(self, run_id: str, fraction: float) -> None:
        self.drop(run_id)
        super().pause(run_id, fraction)

    def finish(self, result: RunResult) -> None:
        self.drop(result.run_id)
        super().finish(result)
        self.eta.update(self.work)

    def close(self) -> None:
        self.live.stop()

    @property
    def work(self) -> float:
        """Runs' worth of work done in this launch."""
        return self.ended + sum(progress.fraction for progress in self.running.values())

    def render(self) -> RenderableType:
        left = self.eta.left(self.total - self.skipped)
        counts = f"{self.skipped + self.ended}/{self.total} runs"
        failed = Text(f"{self.failed} failed" if self.failed else "", "red")
        retried = Text(f"{self.retried} retried" if self.retried else "", "yellow")
        state = "starting" if left is None else f"about {_clock(left)} left"
        total = Table.grid(padding=(0, 2))
        total.add_row(_bar((self.skipped + self.work) / max(1, self.total), 30), counts, state, failed, retried)
        lines = Table.grid(padding=(0, 2))
        lines.add_column(style="dim", no_wrap=True)
        lines.add_column()  # the one that gives way on a narrow terminal
        for _ in range(3):
            lines.add_column(no_wrap=True)
        running = list(self.running.items())
        shown = running[: max(1, self.console.height - MARGIN_LINES)]
        for run_id, progress in shown:
            epochs = self.configs[run_id].train.max_epochs
            accuracy = "" if progress.accuracy is None else f"accuracy {progress.accuracy:.3f}"
            lines.add_row(
                run_id[:8],
                Text(self.labels[run_id], no_wrap=True, overflow="ellipsis"),
                f"epoch {progress.epoch + 1}/{epochs}",
                f"loss {progress.loss:.3f}",
                accuracy,
            )
        more = f"and {len(running) - len(shown)} more" if len(shown) < len(running) else ""
        return Group(total, lines, Text(more, "dim"))  # the cursor rests on this line, where a typed ^C does no harm


class Eta:
    """Time left, by the rate since the first report: what came before it is start-up, not work."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None
        self.last = (0.0, 0.0)

    def update(self, work: float) -> None:
        """So much work is done by now."""
        self.last = (time.monotonic(), work)
        if self.first is None:
            self.first = self.last

    def left(self, total: float) -> float | None:
        """Seconds until ``total`` is done; ``None`` while nothing can be said."""
        if self.first is None or self.last[1] <= self.first[1]:
            return None
        rate = (self.last[1] - self.first[1]) / max(1e-9, self.last[0] - self.first[0])
        return max(0.0, (total - self.last[1]) / rate - (time.monotonic() - self.last[0]))


def label_runs(configs: Sequence[RunConfig]) -> dict[str, str]:
    """A short name for each run: mixer, what varies among the runs of that mixer, learning rate and seed."""
    return {run_id: " ".join(parts) for run_id, parts in _label(configs).items()}


def list_runs(configs: Sequence[RunConfig], remarks: Mapping[str, str]) -> list[str]:
    """Those runs that there is a remark on, by run id, if an empty one: a line for each model of ``configs``."""
    lines: dict[str, list[str]] = {}
    for run_id, (model, rest) in _label(configs).items():
        if run_id in remarks:
            lines.setdefault(model, []).append(f"{rest} ({remarks[run_id]})" if remarks[run_id] else rest)
    return [f"{model}: {', '.join(runs)}" for model, runs in lines.items()]


def _label(configs: Sequence[RunConfig]) -> dict[str, tuple[str, str]]:
    """By run id the model, and the learning rate and seed."""
    described = {config.run_id: (config.mixer, _describe(config)) for config in configs}
    values: dict[tuple[str, str], set[str]] = {}
    for mixer, name in {(mixer, name) for mixer, each in described.values() for name in each}:
        values[mixer, name] = {repr(each.get(name)) for other, each in described.values() if other == mixer}
    labels = {}
    for config in configs:
        varying = [f"{k}={v}" for k, v in described[config.run_id][1].items() if len(values[config.mixer, k]) > 1]
        rate, seed = f"lr={config.train.learning_rate:g}", f"seed={config.train.seed}"
        labels[config.run_id] = " ".join([config.mixer, *varying]), f"{rate} {seed}"
    return labels


def _describe(config: RunConfig) -> dict[str, Any]:
    *below, last = config.model.mixers
    stack = {f"layer {i}": spec.name for i, spec in enumerate(below)}
    options = {f"{i}.{name}": value for i, spec in enumerate(below) for name, value in spec.options.items()}
    return {"data": config.data_name, "d_model": config.model.d_model, **stack, **options, **last.options}


def _bar(fraction: float, width: int) -> ProgressBar:
    return ProgressBar(total=1.0, completed=fraction, width=width)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
