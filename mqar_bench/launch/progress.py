"""Watchers for people: a live display on a terminal, plain lines elsewhere, failures only when quiet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mqar_bench.config import RunConfig
from mqar_bench.launch.sweep import Watcher
from mqar_bench.result import RunResult
from mqar_bench.train import Progress


def make_watcher(console: Console, quiet: bool = False) -> Watcher:
    """What suits the console."""
    if quiet:
        return Lines(console, only_failures=True)
    return Display(console) if console.is_terminal else Lines(console)


class Lines:
    """A line for every run that ends: ``[3/12] ramnet lr=0.01 seed=123 accuracy 0.993 41s``."""

    def __init__(self, console: Console, only_failures: bool = False) -> None:
        self.console = console
        self.only_failures = only_failures
        self.labels: dict[str, str] = {}
        self.ended = self.skipped = self.failed = 0

    @property
    def total(self) -> int:
        return len(self.labels)

    def start(self, configs: Sequence[RunConfig], skipped: int) -> None:
        self.labels, self.skipped = label_runs(configs), skipped
        if skipped and not self.only_failures:
            self._print(f"{skipped} of {self.total} runs are done already")

    def progress(self, run_id: str, progress: Progress) -> None:
        pass

    def finish(self, result: RunResult) -> None:
        self.ended += 1
        failed = result.status == "failed"
        self.failed += failed
        if failed or not self.only_failures:
            count = f"[{self.skipped + self.ended}/{self.total}]"
            outcome = f"FAILED {result.error}" if failed else f"accuracy {result.accuracy:.3f}"
            line = f"{count} {self.labels[result.run_id]} {outcome} {result.seconds:.0f}s"
            self._print(line, "red" if failed else "")

    def close(self) -> None:
        pass

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
        self.configs = {config.run_id: config for config in configs}
        self.live.start()

    def progress(self, run_id: str, progress: Progress) -> None:
        self.running[run_id] = progress
        self.eta.update(self.work)

    def finish(self, result: RunResult) -> None:
        self.running.pop(result.run_id, None)
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
        failed = Text(f"{self.failed} failed", "red") if self.failed else Text("")
        state = "starting" if left is None else f"about {_clock(left)} left"
        total = Table.grid(padding=(0, 2))
        total.add_row(_bar((self.skipped + self.work) / max(1, self.total), 30), counts, state, failed)
        lines = Table.grid(padding=(0, 2))
        lines.add_column(style="dim", no_wrap=True)
        lines.add_column()  # the one that gives way on a narrow terminal
        for _ in range(3):
            lines.add_column(no_wrap=True)
        for run_id, progress in list(self.running.items()):
            epochs = self.configs[run_id].train.max_epochs
            accuracy = "" if progress.accuracy is None else f"accuracy {progress.accuracy:.3f}"
            lines.add_row(
                run_id[:8],
                Text(self.labels[run_id], no_wrap=True, overflow="ellipsis"),
                f"epoch {progress.epoch + 1}/{epochs}",
                f"loss {progress.loss:.3f}",
                accuracy,
            )
        return Group(total, lines, "")  # the cursor rests on an empty line, where a typed ^C does no harm


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
    values: dict[tuple[str, str], set[str]] = {}
    for config in configs:
        for name, value in _describe(config).items():
            values.setdefault((config.mixer, name), set()).add(repr(value))
    labels = {}
    for config in configs:
        varying = [f"{k}={v}" for k, v in _describe(config).items() if len(values[config.mixer, k]) > 1]
        rate, seed = f"lr={config.train.learning_rate:g}", f"seed={config.train.seed}"
        labels[config.run_id] = " ".join([config.mixer, *varying, rate, seed])
    return labels


def _describe(config: RunConfig) -> dict[str, Any]:
    return {"d_model": config.model.d_model, **config.model.mixers[-1].options}


def _bar(fraction: float, width: int) -> ProgressBar:
    return ProgressBar(total=1.0, completed=fraction, width=width)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
