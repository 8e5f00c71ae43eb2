"""How good a model is."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mqar_bench.config import TrainConfig
from mqar_bench.training.data import TaskData
from mqar_bench.training.model import LanguageModel


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    data: TaskData,
    settings: TrainConfig,
    device: torch.device,
    between: Callable[[], None] | None = None,
    guides: bool = False,
) -> dict[str, float]:
    """Accuracy on each test setting: the share of supervised positions answered right.

    Scored in batches of ``test_batch_size`` sequences or fewer, so that none has more than ``test_batch_tokens``: by
    default what the largest training batch has room for, since scoring then sets no peak of memory, and is faster for
    staying in cache. ``between`` is called between two batches, and may leave by raising. With ``guides`` it is the
    settings scored every epoch.
    """
    model.eval()
    right: dict[str, int] = {}
    scored: dict[str, int] = {}
    room = settings.test_batch_tokens or settings.batch_size * max(task.input_seq_len for task in data.config.train)
    batches = data.guide_batches if guides else data.test_batches
    for name, batch in batches(settings.test_batch_size, room):
        if between is not None and right:
            between()
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            predicted = model(batch.tokens, batch.positions).argmax(-1)
        right[name] = right.get(name, 0) + int((predicted == batch.answers).sum())
        scored[name] = scored.get(name, 0) + batch.answers.numel()
    return {name: right[name] / scored[name] for name in right}
