"""From a task mix to batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mqar_bench.config import DataConfig, setting_names
from mqar_bench.tasks import AnyTask, Segment, segment_seeds


@dataclass(frozen=True)
class Batch:
    """Token ids ``[B, T]``, supervised positions ``[B, P]`` and their answers ``[B, P]``, all int64."""

    tokens: Tensor
    positions: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(t.to(device, non_blocking=True) for t in (self.tokens, self.positions, self.answers)))


@dataclass(frozen=True)
class TaskData:
    """The segments of a task mix; build with ``build_data``."""

    config: DataConfig
    train: tuple[Segment, ...]
    validation: tuple[Segment, ...]
    test: tuple[Segment, ...]

    def count_batches(self, batch_size: int) -> int:
        """Training batches in an epoch; a segment's last one may be smaller, as in Zoology."""
        return sum(-(-len(segment) // batch_size) for segment in self.train)

    def training_batches(self, batch_size: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch: segment after segment, the same every epoch, unless the config says otherwise.

        The first ``start`` of them are left out, and nothing is drawn for them alone.
        """
        spans = self._spans(batch_size, epoch)[start:]
        segments = dict(enumerate(self.train))
        if self.config.fresh and epoch:
            seeds, _ = segment_seeds(_epoch_seed(self.config.seed, epoch), len(self.train), 0)
            needed = dict.fromkeys(s for s, _ in spans)
            segments = {s: self.config.train[s].build(seeds[s], self.config.sampler) for s in needed}
        for s, lo in spans:
            yield Batch(*segments[s].batch(lo, lo + batch_size))

    def spans(self, batch_size: int, epoch: int) -> list[tuple[int, int]]:
        """Of each batch of an epoch, in order, which training setting it is of and how many examples it has."""
        spans = self._spans(batch_size, epoch)
        return [(s, min(batch_size, len(self.train[s]) - lo)) for s, lo in spans]

    def _spans(self, batch_size: int, epoch: int) -> list[tuple[int, int]]:
        """Of each batch of an epoch its segment and its first example."""
        spans = [(s, lo) for s, segment in enumerate(self.train) for lo in range(0, len(segment), batch_size)]
        if self.config.shuffle:
            np.random.default_rng(_epoch_seed(self.config.seed, epoch)).shuffle(spans)
        return spans

    def guide_batches(self, batch_size: int, tokens: int) -> Iterator[tuple[str, Batch]]:
        """``test_batches`` of the settings that are scored every epoch."""
        return _batches(self.config.guides, self.validation or self.test, batch_size, tokens)

    def test_batches(self, batch_size: int, tokens: int) -> Iterator[tuple[str, Batch]]:
        """Every test setting's name with each of its batches: of no more than ``tokens``, but of one sequence."""
        return _batches(self.config.test, self.test, batch_size, tokens)


def build_data(config: DataConfig) -> TaskData:
    """Draw all segments: training and test with the seeds that Zoology would derive from ``config.seed``, validation
    with those that follow the test's, so that no two parts share an example."""
    tested = len(config.test)
    train_seeds, seeds = segment_seeds(config.seed, len(config.train), tested + len(config.validation))
    train = _build(config.train, train_seeds, config)
    validation = _build(config.validation, seeds[tested:], config)
    return TaskData(config, train, validation, _build(config.test, seeds[:tested], config))


def build_test(config: DataConfig) -> TaskData:
    """The test segments of ``build_data``, to the bit, and no others: for scoring alone."""
    _, seeds = segment_seeds(config.seed, len(config.train), len(config.test))
    return TaskData(config, (), (), _build(config.test, seeds, config))


@lru_cache(maxsize=2)
def shared_data(config: DataConfig) -> TaskData:
    """``build_data``, kept for the next run of this process with the same data."""
    return build_data(config)


def data_of(config: DataConfig, data: TaskData | None) -> TaskData:
    """``data`` if they are this config's; ``shared_data`` if there are none.

    Raises:
        ValueError: they are another config's.
    """
    if data is None:
        return shared_data(config)
    if data.config != config:
        raise ValueError("the task data given are not those of the config")
    return data


def _batches(
    tasks: Sequence[AnyTask], segments: Sequence[Segment], batch_size: int, tokens: int
) -> Iterator[tuple[str, Batch]]:
    for name, segment in zip(setting_names(tasks), segments, strict=True):
        for batch in segment.batches(min(batch_size, max(1, tokens // segment.tokens.shape[1]))):
            yield name, Batch(*batch)


def _build(tasks: tuple, seeds: list[int], config: DataConfig) -> tuple[Segment, ...]:
    return tuple(task.build(seed, sampler=config.sampler) for task, seed in zip(tasks, seeds, strict=True))


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
