"""Training over segments: how sequences are cut, how far gradients go back, and how many segments when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from mixers.checks import check_size
from mqar_bench.basics.frozen import Frozen
from mqar_bench.tasks import AnyTask, Task
from mqar_bench.tasks.own import RecordedTask
from mqar_bench.tasks.task import MAX_LENGTH


class SegmentsConfig(Frozen):
    """A sequence of training read in segments of ``size`` tokens, one after another, with the model's state carried.

    Stages are equal parts of training, as far as epochs can be parted; with fewer epochs than stages, as in a
    screening, some before the last are left out. In a stage of n segments a batch is of its task at as many tokens as n
    segments hold, drawn for itself. A stage begins with the weights of the one before that did best on what guides
    training, with a new optimizer, and with the schedule of the learning rate from its start.

    Source: Rodkin et al. 2024, arXiv 2407.04841, which calls ``vary_from`` vary_n_segments and ``detach_every`` k2.
    """

    size: int = Field(0, ge=0, le=MAX_LENGTH, description="tokens of a segment; 0: sequences are read whole")
    detach_every: int | None = Field(
        None, ge=1, le=MAX_LENGTH, description="segments that a gradient goes back through, at most; null: all"
    )
    stages: Annotated[tuple[int, ...], Field(max_length=1024)] = Field(
        (), description="segments of a sequence, stage by stage; none: sequences are as long as their settings say"
    )
    vary_from: int | None = Field(
        None, ge=1, le=MAX_LENGTH, description="draw each batch's segments, from so many to the stage's; null: no"
    )

    @model_validator(mode="after")
    def _check(self) -> SegmentsConfig:
        given = [name for name in ("detach_every", "stages", "vary_from") if getattr(self, name)]
        if given and not self.size:
            raise ValueError(f"{given[0]} needs size, the tokens of a segment")
        for count in self.stages:
            check_size(1, MAX_LENGTH, stages=count)
        if self.vary_from is not None and self.vary_from > min(self.stages, default=0):
            least = min(self.stages, default=None)
            raise ValueError(f"vary_from is {self.vary_from}, and the shortest of stages is {least}")
        return self

    def longest(self, tasks: Sequence[AnyTask]) -> int:
        """Tokens of the longest sequences of training on these settings, at most."""
        return max(self.stages) * self.size if self.stages else max(task.input_seq_len for task in tasks)

    def stage(self, epoch: int, epochs: int) -> int:
        """The place in ``stages`` of an epoch, counted from 0, of so many."""
        return ((epoch + 1) * len(self.stages) - 1) // epochs

    def span(self, epoch: int, epochs: int) -> tuple[int, int]:
        """The first epoch of the stage that an epoch is in, and the first after it; without stages, all of them."""
        if not self.stages:
            return 0, epochs
        of = [self.stage(each, epochs) for each in range(epochs)]
        stage = of[epoch]
        return of.index(stage), epochs - of[::-1].index(stage)

    def bounds(self, epoch: int, epochs: int) -> tuple[int, int]:
        """The fewest and the most segments of a sequence in an epoch; only with stages."""
        most = self.stages[self.stage(epoch, epochs)]
        return self.vary_from or most, most

    def check_tasks(self, tasks: Sequence[AnyTask]) -> None:
        """Whether the training settings can have the lengths of all stages.

        Raises:
            ValueError: one cannot; the message names it and the length.
        """
        if not self.stages:
            return
        for place, task in enumerate(tasks):
            for count in (self.vary_from or min(self.stages), max(self.stages)):
                try:
                    _check_task(task, count * self.size)
                except ValueError as error:
                    said = f"data.train.{place} at {count} x {self.size} tokens (train.segments)"
                    raise ValueError(f"{said}: {error}") from None


def _check_task(task: Task, tokens: int) -> None:
    if isinstance(task, RecordedTask):
        return  # it is known from its record alone, and was drawn
    try:
        task.at_length(tokens)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
