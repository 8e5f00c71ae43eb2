"""How good a model is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from mqar_bench.config import TrainConfig, setting_names
from mqar_bench.tasks.segment import IGNORE_INDEX
from mqar_bench.training.data import TaskData
from mqar_bench.training.model import LanguageModel


class Scores(NamedTuple):
    """By setting: the share of answers that are right, and the mean cross-entropy in nats where a task keeps it and
    there is any answer."""

    accuracy: dict[str, float]
    loss: dict[str, float]


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    data: TaskData,
    settings: TrainConfig,
    device: torch.device,
    between: Callable[[], None] | None = None,
    guides: bool = False,
) -> Scores:
    """Accuracy on each test setting: the share of supervised positions answered right. Answers of -100 do not count.

    Scored in batches of ``test_batch_size`` sequences or fewer, so that none has more than ``test_batch_tokens``: by
    default what the largest training batch has room for, since scoring then sets no peak of memory, and is faster for
    staying in cache. ``between`` is called between two batches, and may leave by raising. With ``guides`` it is the
    settings scored every epoch.
    """
    model.eval()
    right: dict[str, int] = {}
    scored: dict[str, int] = {}
    lost: dict[str, float] = {}
    room = settings.test_batch_tokens or settings.batch_size * settings.segments.longest(data.config.train)
    batches = data.guide_batches if guides else data.test_batches
    tasks = data.config.guides if guides else data.config.test
    kept = {name for name, task in zip(setting_names(tasks), tasks, strict=True) if task.keeps_loss}
    for name, batch in batches(settings.test_batch_size, room):
        if between is not None and right:
            between()
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = model(batch.tokens, batch.positions)
        right[name] = right.get(name, 0) + int((logits.argmax(-1) == batch.answers).sum())
        scored[name] = scored.get(name, 0) + int((batch.answers != IGNORE_INDEX).sum())
        if name in kept:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.answers.flatten(), reduction="sum")
            lost[name] = lost.get(name, 0.0) + loss.item()
    accuracy = {name: right[name] / max(1, scored[name]) for name in right}  # of none, none are right
    return Scores(accuracy, {name: lost[name] / scored[name] for name in lost if scored[name]})
