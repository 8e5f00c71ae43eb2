"""Screening learning rates: a short budget for all, the best in full, with other seeds if so wished.

In two stages, each a plain list of runs: what is kept depends on the records of the first stage alone, not on the
order in which runs end, so a launch that is interrupted or repeated keeps the same. (Asynchronous halving does not.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult, ScreenRecord

#: Of the scale under which short runs are listed.
SUFFIX = "-screen"


@dataclass(frozen=True)
class Screening:
    """Train every learning rate for a share of the epochs first, and only the best ``keep`` in full.

    Args:
        share: of a run's epochs, at least one; the short run has a whole schedule of its own.
        keep: learning rates kept of each model.
        fresh: seeds of the runs in full, none of which was screened with: those that follow the first of the sweep.
            0 for the sweep's own.

    Raises:
        UsageError: a share outside of 0 to 1, nothing to keep, or fewer than no seeds.
    """

    share: float = 0.25
    keep: int = 1
    fresh: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(f"the share of epochs to screen with must be between 0 and 1, got {self.share:g}")
        if self.keep < 1:
            raise UsageError(f"screening must keep at least 1 learning rate, got {self.keep}")
        if self.fresh < 0:
            raise UsageError(f"fresh seeds must be at least 0, got {self.fresh}")

    def epochs(self, config: RunConfig) -> int:
        return max(1, round(self.share * config.train.max_epochs))

    def short(self, config: RunConfig) -> RunConfig:
        """The short run for a config, listed under the scale ``<scale>-screen``. Where there are validation settings,
        it sees no others."""
        train, data = config.train.model_copy(update={"max_epochs": self.epochs(config)}), config.data
        if data.validation:
            data = data.model_copy(update={"validation": (), "test": data.validation})
        return config.model_copy(update={"scale": config.scale + SUFFIX, "train": train, "data": data})

    def first_stage(self, configs: Iterable[RunConfig]) -> list[RunConfig]:
        """The short runs: of every model with more learning rates than are kept, one for each, of its first seed.

        None of a model that trains for too few epochs to have a share of them: all its rates are run in full.
        """
        return [self.short(c) for rivals in _rivals(configs).values() if self._applies(rivals) for c in rivals]

    def _applies(self, rivals: Sequence[RunConfig]) -> bool:
        return len(rivals) > self.keep and self.epochs(rivals[0]) < rivals[0].train.max_epochs

    def second_stage(
        self, configs: Sequence[RunConfig], screened: Mapping[str, RunResult]
    ) -> tuple[list[RunConfig], dict[str, ScreenRecord]]:
        """The runs to do in full, in the order given, one seed after another, and what to record of the choice, by run
        id.

        By accuracy over all settings that guide training, or, where their tasks keep losses, by the mean of these; of
        equals the lower rate; a run that failed is behind all others. A model one of whose short runs has no record
        yet, or was lost, is undecided: none of its runs is among those returned.

        Args:
            configs: the whole sweep.
            screened: the records of the first stage, by run id.
        """
        kept: dict[str, tuple[set[float], ScreenRecord | None]] = {}
        for cell, rivals in _rivals(configs).items():
            rates = [c.train.learning_rate for c in rivals]
            if not self._applies(rivals):
                kept[cell] = (set(rates), None)
                continue
            results = [screened.get(self.short(c).run_id) for c in rivals]
            if any(result is None or result.lost for result in results):
                continue
            by, scores = _score([result for result in results if result is not None])
            order = sorted(range(len(rates)), key=lambda i: (*_rank(scores[i], by), rates[i]))
            record = ScreenRecord(
                epochs=self.epochs(rivals[0]),
                keep=self.keep,
                rivals={f"{rate:g}": score for rate, score in zip(rates, scores, strict=True)},
                by=by,
                runs={f"{c.train.learning_rate:g}": self.short(c).run_id for c in rivals},
                seed=rivals[0].train.seed,
            )
            kept[cell] = ({rates[i] for i in order[: self.keep]}, record)
        chosen, records = [], {}
        for config in self._seeded(configs):
            rates_kept, record_of = kept.get(config.variant, (set(), None))
            if config.train.learning_rate in rates_kept:
                chosen.append(config)
                if record_of is not None:
                    records[config.run_id] = record_of
        return chosen, records

    def _seeded(self, configs: Sequence[RunConfig]) -> list[RunConfig]:
        """The sweep as it is, or each of its models and rates with so many fresh seeds."""
        if not self.fresh:
            return list(configs)
        first = [c for rivals in _rivals(configs).values() for c in rivals]
        order = {c.run_id: i for i, c in enumerate(configs)}
        first.sort(key=lambda c: order[c.run_id])
        return [c.reseeded(i) for i in range(1, self.fresh + 1) for c in first]


def _score(results: Sequence[RunResult]) -> tuple[Literal["accuracy", "loss"], list[float | None]]:
    """By what these runs are told apart, and that of each; None where it failed."""
    done = [result for result in results if result.status == "done"]
    if done and all(result.losses for result in done):
        return "loss", [fmean(r.losses.values()) if r.status == "done" else None for r in results]
    return "accuracy", [r.accuracy if r.status == "done" else None for r in results]


def _rank(score: float | None, by: str) -> tuple[bool, float]:
    """The best is the lowest."""
    return score is None, 0.0 if score is None else score if by == "loss" else -score


def _rivals(configs: Iterable[RunConfig]) -> dict[str, list[RunConfig]]:
    """The runs of each model that differ in the learning rate, of the first seed that each rate is listed with."""
    rivals: dict[str, dict[float, RunConfig]] = {}
    for config in configs:
        rivals.setdefault(config.variant, {}).setdefault(config.train.learning_rate, config)
    return {cell: [by_rate[rate] for rate in sorted(by_rate)] for cell, by_rate in rivals.items()}
