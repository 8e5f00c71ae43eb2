"""A run's learning curve while it is trained: means over windows of its steps, of which there are few.

Where the windows end is decided by the numbers of epochs and of batches in one, before the first step. Each is a part
of an epoch, of ``POINTS // epochs`` nearly equal ones, or, of more epochs than ``POINTS``, several whole epochs. So no
window mixes the end of an epoch with the start of the next one, and the n-th of every epoch has the same batches where
these come in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from mqar_bench.records.result import Curve

#: Windows of a run, at most.
POINTS = 200
#: Accuracy is of every so many steps of a window, from its first on: an argmax over the vocabulary, which at every step
#: would be a percent or two of some runs' time.
EVERY = 4
#: Significant digits of a mean in the record.
DIGITS = 5


def ends_window(step: int, epochs: int, batches: int) -> bool:
    """Whether a window ends with this step, counted from 0, of a run of so many epochs of so many batches."""
    if epochs > POINTS:
        return (step + 1) % (batches * -(-epochs // POINTS)) == 0
    parts = min(batches, POINTS // epochs)
    at = step % batches
    return (at + 1) * parts // batches > at * parts // batches


@dataclass
class Windows:
    """The windows of a run so far: ``ended`` has steps, tokens, mean loss and accuracy of each; the rest is of the one
    under way: its steps and tokens, the sum of its losses, and how many answers were looked at and were right."""

    ended: list[tuple[int, int, float, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    loss_sum: float = 0.0
    looked_at: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        self.counted: Tensor | None = None  # right answers that are not in ``right`` yet; no field, see ``settle``

    def watch(self, logits: Tensor, answers: Tensor) -> None:
        """Count the right answers of the step under way, if it is one of those looked at; waits for no device.

        Args:
            logits: ``[B, P, vocab]``.
            answers: int64 ``[B, P]``.
        """
        if self.steps % EVERY:
            return
        right = (logits.detach().argmax(-1) == answers).sum()
        self.counted = right if self.counted is None else self.counted + right
        self.looked_at += answers.numel()

    def add(self, tokens: int, loss: float, ends: bool) -> None:
        """Count a step; ``ends`` says whether the window ends with it."""
        self.steps, self.tokens, self.loss_sum = self.steps + 1, self.tokens + tokens, self.loss_sum + loss
        if ends:
            self.end()

    def end(self) -> None:
        """End the window under way, if it has a step."""
        if not self.steps:
            return
        self.settle()
        loss, accuracy = _short(self.loss_sum / self.steps), _short(self.right / self.looked_at)
        self.ended.append((self.steps, self.tokens, loss, accuracy))
        self.steps = self.tokens = self.looked_at = self.right = 0
        self.loss_sum = 0.0

    def settle(self) -> None:
        """Fetch from the device what has been counted, so that the fields are all there is. Counts are whole numbers,
        so that it makes no difference when this is done."""
        if self.counted is not None:
            self.right += int(self.counted)
            self.counted = None

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Windows:
        """What ``dataclasses.asdict`` made values of.

        Raises:
            KeyError: a field is missing.
        """
        return cls(**{each.name: saved[each.name] for each in fields(cls)})

    def curve(self) -> Curve:
        """Of a run that is over."""
        self.end()
        steps, tokens, loss, accuracy = zip(*self.ended, strict=True)
        return Curve(steps=steps, tokens=tokens, loss=loss, accuracy=accuracy)


def _short(mean: float) -> float:
    return float(f"{mean:.{DIGITS}g}")
