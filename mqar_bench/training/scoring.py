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
) -> dict[str, float]:
    """Accuracy on each test setting: the share of supervised positions answered right.

    Scored in batches of ``test_batch_size`` sequences or fewer, so that none has more tokens than the largest training
    batch has room for: scoring then sets no peak of memory, and is faster for staying in cache.
    ``between`` is called between two batches, and may leave by raising.
    """
    model.eval()
    right: dict[str, int] = {}
    scored: dict[str, int] = {}
    longest = max(segment.tokens.shape[1] for segment in data.train)
    for name, batch in data.test_batches(settings.test_batch_size, settings.batch_size * longest):
        if between is not None and right:
            between()
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            predicted = model(batch.tokens, batch.positions).argmax(-1)
        right[name] = right.get(name, 0) + int((predicted == batch.answers).sum())
        scored[name] = scored.get(name, 0) + batch.answers.numel()
    return {name: right[name] / scored[name] for name in right}
