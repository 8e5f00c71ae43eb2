"""One step of training: the loss, its gradient, AdamW, and the learning rate of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mqar_bench.config import TrainConfig
from mqar_bench.training.data import Batch
from mqar_bench.training.model import LanguageModel, supervised_loss
from mqar_bench.training.segments import read_batch


def make_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True)


def parameter_groups(model: nn.Module, settings: TrainConfig) -> list[dict]:
    """Parameters with weight decay, and those that mixers ask to be spared (``_no_weight_decay``)."""
    spared = [p for p in model.parameters() if getattr(p, "_no_weight_decay", False) and not settings.decay_all]
    ids = {id(p) for p in spared}
    decayed = [p for p in model.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def learning_rate(settings: TrainConfig, step: int, total_steps: int, epoch: int) -> float:
    """The rate of a step: cosine to 0 by epoch (Zoology), or by step with linear warm-up to the lowest, or constant.

    Step and epoch are counted from the beginning of training; every stage of it has a schedule of its own.
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    first, last = settings.segments.span(epoch, settings.max_epochs)
    if settings.schedule == "cosine_epoch":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - first) / (last - first)))
    step -= total_steps * first // settings.max_epochs
    total_steps = total_steps * (last - first) // settings.max_epochs
    warmup = settings.warmup_fraction * total_steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    span = settings.learning_rate - settings.min_learning_rate
    return settings.min_learning_rate + span * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def training_loss(
    model: LanguageModel,
    batch: Batch,
    settings: TrainConfig,
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Cross-entropy at the supervised positions, plus what the mixers add to it: what is trained on and reported.

    ``watch`` sees the logits ``[B, P, vocab]`` and the answers ``[B, P]``.
    """
    with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        logits, extra = read_batch(model, batch, settings.segments)
        loss = supervised_loss(logits, batch.answers)
    if watch is not None:
        watch(logits, batch.answers)
    return loss if extra is None else loss + extra


def find_gradients(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, clip: float | None) -> float:
    """Put the loss's gradients, their norm at most ``clip``, into the parameters; returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    return loss.item()
