"""What the commands that train have in common: options of a launch, and a launch under somebody's eyes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mqar_bench.cli.app import STARTED

if TYPE_CHECKING:
    from mqar_bench.config import RunConfig
    from mqar_bench.launching import Screening, Summary
    from mqar_bench.launching.budget import Budget
    from mqar_bench.records.result import ScreenRecord
    from mqar_bench.records.store import Store

#: Exit codes besides 0 (all done), 1 (some failed) and 2 (a mistake): runs are left for the same command; interrupted.
RUNS_LEFT, INTERRUPTED = 3, 130


class ExecutorName(StrEnum):
    ray = "ray"
    inline = "inline"


Force = Annotated[bool, typer.Option("--force", help="Also run what is done already.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only what goes wrong and the result.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Most runs at a time. Default: what fits.")]
Executor = Annotated[ExecutorName, typer.Option(help="Parallel, or one run after another.")]
Cpus = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="CPUs and torch threads a run. Default: 1; inline: all.")
]
Gpus = Annotated[
    float | None,
    typer.Option(min=0, metavar="F", help="GPUs a run; 0.25 packs four on one. Default: 1 if there is one."),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A Ray cluster to join, or auto. Default: this machine alone."),
]
Retries = Annotated[
    int, typer.Option(min=0, metavar="N", help="New tries for a run whose process or machine died; not if it failed.")
]
TimeBudget = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Stop before so long, such as 9m or 1h30m, with checkpoints. Exit code 3."),
]
SaveWeights = Annotated[
    bool, typer.Option("--save-weights", help="Keep the trained weights of each run beside its record.")
]
Retrain = Annotated[
    bool, typer.Option("--retrain-without-weights", help="The same, and train runs that are done but have none again.")
]

Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Follow runs in tensorboard or wandb, or by a class of your own: my_trackers.Mine. Repeatable.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Launcher:
    """A launch's settings, as the command line gives them; see ``launch``."""

    store: Store
    executor: ExecutorName
    quiet: bool
    force: bool
    budget: Budget | None
    resources: dict[str, Any]

    def launch(self, configs: Sequence[RunConfig], screens: Mapping[str, ScreenRecord] | None = None) -> Summary:
        """``launch``, shown on standard error; interrupting ends the command with word of what is kept."""
        from mqar_bench.launching import launch
        from mqar_bench.launching.progress import make_watcher

        watcher = make_watcher(quiet=self.quiet)
        try:
            with terminate_as_interrupt():
                return launch(
                    configs,
                    self.store,
                    self.executor.value,
                    budget=self.budget,
                    force=self.force,
                    screens=screens,
                    watcher=watcher,
                    **self.resources,
                )
        except KeyboardInterrupt:
            done = sum(result.status == "done" for result in self.store.find(configs).values())
            kept = f"{done} of {len(configs)} runs are done, in {self.store.root}"
            print(f"interrupted: {kept}{self.checkpointed(configs)}; the same command resumes", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    def launch_screened(self, configs: Sequence[RunConfig], screening: Screening) -> Summary:
        """``launch_screened``, shown likewise."""
        from mqar_bench.launching.stages import run_stages

        def start(configs: Sequence[RunConfig], screens: Mapping[str, ScreenRecord], short: bool) -> Summary:
            unkept = {"save_weights": False, "retrain_without_weights": False} if short else {}
            return replace(self, resources=self.resources | unkept).launch(configs, screens)

        def say(line: str) -> None:
            if not self.quiet or line.startswith("note:"):
                print(line, file=sys.stderr)

        return run_stages(configs, screening, start, say)

    def train(
        self,
        configs: Sequence[RunConfig],
        screening: Screening | None,
        as_json: bool,
        export: Callable[[Summary], dict[str, Path]] | None = None,
    ) -> NoReturn:
        """``launch`` or ``launch_screened``, then what came of it, as text or JSON, and the end of the command.

        Where there is an ``export``, it is called before that, and says where what it has written is, by name.
        """
        from mqar_bench.cli.output import print_json, summary_values
        from mqar_bench.cli.show import print_summary

        summary = self.launch(configs) if screening is None else self.launch_screened(configs, screening)
        exported = {name: str(path) for name, path in export(summary).items()} if export else {}
        if not as_json:
            print_summary(summary, self.store)
            print("".join(f"{path}\n" for path in exported.values()), end="")
        code = self.exit_code(summary)
        if as_json:
            print_json(summary_values(summary, self.store, code) | ({"exported": exported} if export else {}))
        raise typer.Exit(code)

    def checkpointed(self, configs: Sequence[RunConfig]) -> str:
        """Words on how many runs can go on from a checkpoint."""
        from mqar_bench.launching.checkpoints import Checkpoints

        count = sum(map(Checkpoints(self.store).exists, configs))
        return f", {count} more {'has' if count == 1 else 'have'} a checkpoint" if count else ""

    def exit_code(self, summary: Summary) -> int:
        """After a word on why runs are left, if any are."""
        if summary.left:
            are = "1 run is" if len(summary.left) == 1 else f"{len(summary.left)} runs are"
            left = f"{are} left{self.checkpointed(summary.left).replace(' more', '')}"
            why = f"stopped: {summary.stopped}" if summary.stopped else "the time is over"
            print(f"{why}: {left}; the same command goes on", file=sys.stderr)
            if not summary.in_vain:
                return RUNS_LEFT
        return 1 if summary.failed else 0


def make_budget(time_budget: str | None) -> Budget | None:
    """The budget of a command, counted from its start."""
    from mqar_bench.launching.budget import Budget, parse_duration

    return None if time_budget is None else Budget(parse_duration(time_budget), STARTED)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM, by which schedulers announce the end, is taken like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
