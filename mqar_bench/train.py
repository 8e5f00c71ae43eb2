"""Train and score one run. The whole loop is in ``run``; nothing else owns a part of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mqar_bench.config import RunConfig, TrainConfig
from mqar_bench.data import Batch, TaskData, shared_data
from mqar_bench.model import LanguageModel, count_parameters, supervised_loss
from mqar_bench.result import Epoch, RunResult, now, peak_memory, provenance, reset_peak_memory


class Divergence(RuntimeError):
    """The loss stopped being a number."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: sent about once a second while training, and after every epoch with its accuracy."""

    fraction: float
    epoch: int
    loss: float
    accuracy: float | None


def run(config: RunConfig, report: Callable[[Progress], None] | None = None) -> RunResult:
    """Train ``config`` from scratch, scoring every test setting after every epoch.

    The same config on the same machine, with the same number of threads, gives the same numbers to the bit.
    Global random states are left as they were.

    Raises:
        Divergence: the training loss became NaN or infinite; the message names the step.
        ValueError: the config asks for something this machine cannot do.
    """
    settings = config.train
    device = pick_device(settings.device)
    started, started_at = time.perf_counter(), now()
    data = shared_data(config.data)
    reset_peak_memory(device)
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)  # weights and dropout draw from torch's generator, put back on leaving
        model = LanguageModel(config.model).to(device)
        optimizer = torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True)
        steps_per_epoch = data.count_batches(settings.batch_size)
        total_steps = settings.max_epochs * steps_per_epoch
        epochs: list[Epoch] = []
        step, tokens, train_seconds, reported = 0, 0, 0.0, time.monotonic()
        for epoch in range(settings.max_epochs):
            epoch_started, loss_sum = time.perf_counter(), 0.0
            model.train()
            for batch in data.training_batches(settings.batch_size, epoch):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, step, total_steps, epoch)
                model.set_training_progress(step / total_steps)
                loss = training_loss(model, batch.to(device), settings)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if settings.grad_clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
                value = loss.item()
                if not math.isfinite(value):
                    raise Divergence(f"the loss is {value} at step {step} (epoch {epoch})")
                optimizer.step()
                step, tokens, loss_sum = step + 1, tokens + batch.tokens.numel(), loss_sum + value
                if report and time.monotonic() - reported > 1:
                    reported = time.monotonic()
                    report(Progress(step / total_steps, epoch, value, epochs[-1].accuracy if epochs else None))
            train_seconds += time.perf_counter() - epoch_started
            scores = evaluate(model, data, settings, device)
            accuracy = sum(scores.values()) / len(scores)
            mean_loss = loss_sum / steps_per_epoch
            epochs.append(Epoch(epoch=epoch, loss=mean_loss, accuracy=accuracy, settings=scores))
            if report:
                report(Progress(step / total_steps, epoch, mean_loss, accuracy))
            threshold = settings.early_stopping_threshold
            if threshold is not None and accuracy > threshold:
                break
    return RunResult(
        run_id=config.run_id,
        status="done",
        config=config,
        provenance=provenance(device, started_at),
        epochs=tuple(epochs),
        accuracy=epochs[-1].accuracy,
        settings=epochs[-1].settings,
        state_size=model.state_size(config.sequence_length),
        active_state_size=model.active_state_size(config.sequence_length),
        num_parameters=count_parameters(model),
        steps=step,
        seconds=time.perf_counter() - started,
        train_seconds=train_seconds,
        tokens_per_second=tokens / train_seconds,
        peak_memory_bytes=peak_memory(device),
    )


def training_loss(model: LanguageModel, batch: Batch, settings: TrainConfig) -> Tensor:
    """Cross-entropy at the supervised positions, plus what the mixers add to it: what is trained on and reported."""
    with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        loss = supervised_loss(model(batch.tokens, batch.positions), batch.answers)
    extra = model.auxiliary_loss()
    return loss if extra is None else loss + extra


@torch.no_grad()
def evaluate(model: LanguageModel, data: TaskData, settings: TrainConfig, device: torch.device) -> dict[str, float]:
    """Accuracy on each test setting: the share of supervised positions answered right."""
    model.eval()
    right: dict[str, int] = {}
    scored: dict[str, int] = {}
    for name, batch in data.test_batches(settings.test_batch_size):
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            predicted = model(batch.tokens, batch.positions).argmax(-1)
        right[name] = right.get(name, 0) + int((predicted == batch.answers).sum())
        scored[name] = scored.get(name, 0) + batch.answers.numel()
    return {name: right[name] / scored[name] for name in right}


def learning_rate(settings: TrainConfig, step: int, total_steps: int, epoch: int) -> float:
    """The rate of a step: cosine to 0 by epoch (Zoology) or by step with linear warm-up, or constant."""
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "cosine_epoch":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / settings.max_epochs))
    warmup = settings.warmup_fraction * total_steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))


def parameter_groups(model: nn.Module, settings: TrainConfig) -> list[dict]:
    """Parameters with weight decay, and those that mixers ask to be spared (``_no_weight_decay``)."""
    spared = [p for p in model.parameters() if getattr(p, "_no_weight_decay", False) and not settings.decay_all]
    ids = {id(p) for p in spared}
    decayed = [p for p in model.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def pick_device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is cuda, but torch sees no CUDA device; use cpu or auto")
    return torch.device(device)
