"""Screening learning rates: a short budget for all, the best in full, with other seeds if so wished.

In two stages, each a plain list of runs: what is kept depends on the records of the first stage alone, not on the
order in which runs end, so a launch that is interrupted or repeated keeps the same. (Asynchronous halving does not.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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

        By accuracy over all settings that guide training; of equals the lower rate; a run that failed is behind all
        others. A model one of whose short runs has no record yet, or was lost, is undecided: none of its runs is among
        those returned.

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
            scores = [r.accuracy if r and r.status == "done" else None for r in results]
            best = sorted(range(len(rates)), key=lambda i: (-1.0 if scores[i] is None else scores[i], -rates[i]))
            record = ScreenRecord(
                epochs=self.epochs(rivals[0]),
                keep=self.keep,
                rivals={f"{rate:g}": score for rate, score in zip(rates, scores, strict=True)},
                runs={f"{c.train.learning_rate:g}": self.short(c).run_id for c in rivals},
                seed=rivals[0].train.seed,
            )
            kept[cell] = ({rates[i] for i in best[-self.keep :]}, record)
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


def _rivals(configs: Iterable[RunConfig]) -> dict[str, list[RunConfig]]:
    """The runs of each model that differ in the learning rate, of the first seed that each rate is listed with."""
    rivals: dict[str, dict[float, RunConfig]] = {}
    for config in configs:
        rivals.setdefault(config.variant, {}).setdefault(config.train.learning_rate, config)
    return {cell: [by_rate[rate] for rate in sorted(by_rate)] for cell, by_rate in rivals.items()}
