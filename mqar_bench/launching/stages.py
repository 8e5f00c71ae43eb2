"""A launch in two stages: learning rates are screened, and the best trained in full."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from mqar_bench.config import RunConfig
from mqar_bench.launching.screen import Screening
from mqar_bench.launching.sweep import Summary, launch
from mqar_bench.records.result import ScreenRecord
from mqar_bench.records.store import Store


class Start(Protocol):
    """Launches the runs of a stage. Of ``short`` ones no weights are kept: nobody looks at a model of theirs."""

    def __call__(self, configs: Sequence[RunConfig], screens: Mapping[str, ScreenRecord], short: bool) -> Summary: ...


def launch_screened(
    configs: Iterable[RunConfig],
    store: Store,
    screening: Screening | None = None,
    executor: str = "ray",
    *,
    say: Callable[[str], object] | None = None,
    **options: Any,
) -> Summary:
    """``launch`` in two stages: every learning rate for a share of the epochs, then the best in full.

    Both stages resume, so calling it again goes on wherever the last call ended.

    Args:
        configs: the whole sweep.
        store: where records are looked up and written; short runs are listed under the scale ``<scale>-screen``.
        screening: which share, how many rates are kept, and with which seeds.
        executor: as ``launch`` takes it.
        say: told, a line each, how many runs there are in each stage and how many were lost; by default only the
            latter is said, as a warning.
        options: further arguments of ``launch``, but for ``screens``.

    Returns:
        of the second stage; of the first alone where runs of that are left.

    Raises:
        UsageError: as ``launch``.
        StoreError: as ``launch``.
    """
    bare = options | {"save_weights": False, "retrain_without_weights": False}

    def start(configs: Sequence[RunConfig], screens: Mapping[str, ScreenRecord], short: bool) -> Summary:
        return launch(configs, store, executor, screens=screens, **(bare if short else options))

    return run_stages(list(configs), screening or Screening(), start, say or _warn)


def run_stages(
    configs: Sequence[RunConfig], screening: Screening, start: Start, say: Callable[[str], object]
) -> Summary:
    """Both stages, or the first alone where the time was over before the second."""
    short = screening.first_stage(configs)
    say(f"screening: {len(short)} short runs")
    first = start(short, {}, True)
    if first.left:
        return first
    records = {result.run_id: result for result in (*first.failed, *first.skipped, *first.done)}
    chosen, screens = screening.second_stage(configs, records)
    say(f"in full: {len(chosen)} runs" if screening.fresh else f"in full: {len(chosen)} of {len(configs)} runs")
    if lost := [result for result in first.failed if result.lost]:
        say(f"note: {len(lost)} short runs were lost, and their models left out: run the command again")
    return start(chosen, screens, False)


def _warn(line: str) -> None:
    if line.startswith("note:"):
        warnings.warn(line.removeprefix("note: "), stacklevel=4)
