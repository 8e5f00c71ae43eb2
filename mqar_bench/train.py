"""Train and score one run. The whole loop is in ``fit``; nothing else owns a part of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mqar_bench.checkpoint import Snapshot, Tally, encode, restore, snapshot
from mqar_bench.config import RunConfig, TrainConfig
from mqar_bench.contract import check_model
from mqar_bench.data import Batch, TaskData, shared_data
from mqar_bench.machine.hardware import peak_memory, reset_peak_memory
from mqar_bench.model import LanguageModel, count_parameters, supervised_loss
from mqar_bench.result import Epoch, RunResult, now, provenance


class Divergence(RuntimeError):
    """The loss stopped being a number."""


class Stopped(RuntimeError):
    """The run was asked to stop; ``checkpoint`` goes on from there, ``step`` and ``fraction`` say how far it is."""

    def __init__(self, checkpoint: bytes, step: int, fraction: float) -> None:
        super().__init__(f"stopped after step {step}")
        self.checkpoint, self.step, self.fraction = checkpoint, step, fraction

    def __reduce__(self) -> tuple:  # the default would rebuild it from the message alone
        return Stopped, (self.checkpoint, self.step, self.fraction)


@dataclass(frozen=True)
class Progress:
    """How far a run is: sent about once a second while training, and after every epoch with its accuracy."""

    fraction: float
    epoch: int
    loss: float
    accuracy: float | None


def run(
    config: RunConfig,
    report: Callable[[Progress], None] | None = None,
    *,
    checkpoint: bytes | None = None,
    save: Callable[[bytes], None] | None = None,
    save_every: float = 30.0,
    stop: Callable[[], bool] | None = None,
    data: TaskData | None = None,
) -> RunResult:
    """``fit`` without the model: what a run leaves behind."""
    return fit(config, report, checkpoint=checkpoint, save=save, save_every=save_every, stop=stop, data=data)[1]


def fit(
    config: RunConfig,
    report: Callable[[Progress], None] | None = None,
    *,
    checkpoint: bytes | None = None,
    save: Callable[[bytes], None] | None = None,
    save_every: float = 30.0,
    stop: Callable[[], bool] | None = None,
    data: TaskData | None = None,
) -> tuple[LanguageModel, RunResult]:
    """Train ``config``, scoring every test setting after every epoch.

    The same config on the same machine, with the same number of threads, gives the same numbers to the bit, in one
    piece or in several. Global random states are left as they were.

    Args:
        config: the run.
        report: told how far it is.
        checkpoint: go on from here; what an earlier call for this config gave to ``save`` or raised ``Stopped`` with.
            Holds what is in the model's ``state_dict``, so a mixer must keep there what it carries between steps.
        save: given a checkpoint after a step or a scoring, once ``save_every`` seconds have passed since the last one.
        save_every: seconds; 0 saves after every step.
        stop: asked after every step and every batch of scoring whether to stop; not once the run is over.
        data: the task data of this config, where they are built already; default ``shared_data``.

    Returns:
        the trained model, in evaluation mode on the device of the run, and the record.

    Raises:
        Divergence: the training loss became NaN or infinite; the message names the step.
        Stopped: ``stop`` said so.
        CheckpointError: (a ValueError) ``checkpoint`` is damaged, or not of this run.
        MixerError: (a ValueError) a mixer lacks what training, scoring, a checkpoint or the record needs; told before
            the first step.
        TypeError: a checkpoint is due, and a mixer's ``state_dict`` has by now what cannot be read back as data.
        ValueError: the config asks for something this machine cannot do, or ``data`` are another config's.
    """
    settings = config.train
    device = pick_device(settings.device)
    began, started_at = time.perf_counter(), now()
    data = shared_data(config.data) if data is None else data
    if data.config != config.data:
        raise ValueError("the task data given are not those of the config")
    reset_peak_memory(device)
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)  # weights and dropout draw from torch's generator, put back on leaving
        model = LanguageModel(config.model).to(device)
        check_model(model, config, data, saved=save is not None or stop is not None)
        optimizer = torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True)
        total_steps = settings.max_epochs * data.count_batches(settings.batch_size)
        tally = Tally(started_at, total_steps)
        if checkpoint is not None:
            tally = restore(checkpoint, config.run_id, model, optimizer)
        tally.since, reported = began, time.monotonic()
        pauses = Pauses(tally, partial(snapshot, config.run_id, tally, model, optimizer), save, save_every, stop)
        while True:
            tally.lap()
            model.train()
            for batch in data.training_batches(settings.batch_size, tally.epoch, tally.batches):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, tally.step, total_steps, tally.epoch)
                model.set_training_progress(tally.fraction)
                loss = training_loss(model, batch.to(device), settings)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if settings.grad_clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
                value = loss.item()
                if not math.isfinite(value):
                    raise Divergence(f"the loss is {value} at step {tally.step} (epoch {tally.epoch})")
                optimizer.step()
                tally.add_batch(batch.tokens.numel(), value)
                if report and time.monotonic() - reported > 1:
                    reported = time.monotonic()
                    last = tally.epochs[-1].accuracy if tally.epochs else None
                    report(Progress(tally.fraction, tally.epoch, value, last))
                pauses(training=True)
            tally.lap(training=True)
            epoch = tally.close_epoch(evaluate(model, data, settings, device, pauses.between_batches()))
            if report:
                report(Progress(tally.fraction, epoch.epoch, epoch.loss, epoch.accuracy))
            if is_last(epoch, settings):
                break
            pauses(training=False)
    tally.lap()
    result = RunResult(
        run_id=config.run_id,
        status="done",
        config=config,
        provenance=provenance(device, tally.started_at),
        epochs=tuple(tally.epochs),
        accuracy=epoch.accuracy,
        settings=epoch.settings,
        state_size=model.state_size(config.sequence_length),
        active_state_size=model.active_state_size(config.sequence_length),
        num_parameters=count_parameters(model),
        steps=tally.step,
        seconds=tally.seconds,
        train_seconds=tally.train_seconds,
        tokens_per_second=tally.tokens / tally.train_seconds,
        peak_memory_bytes=peak_memory(device),
        resumed=tally.resumed,
    )
    return model, result


class Pauses:
    """Between two steps, called: stops the run if it is asked to, else saves it if that is due."""

    def __init__(
        self,
        tally: Tally,
        take: Callable[[], Snapshot],
        save: Callable[[bytes], None] | None,
        save_every: float,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.tally, self.take, self.save, self.save_every, self.stop = tally, take, save, save_every, stop
        self.saved = time.monotonic()

    def __call__(self, training: bool) -> None:
        if self.stop is not None and self.stop():
            self.tally.lap(training)
            raise self._stopped(self.take())
        if self.save is not None and time.monotonic() - self.saved >= self.save_every:
            self.tally.lap(training)
            self.save(encode(self.take()))
            self.tally.lap()
            self.saved = time.monotonic()

    def between_batches(self) -> Callable[[], None] | None:
        """To call between test batches, if anything: stops the run as it is now, before the first of them."""
        stop = self.stop
        if stop is None:
            return None
        before = self.take()

        def between() -> None:
            if stop():
                self.tally.lap()
                before["tally"]["seconds"] = self.tally.seconds
                raise self._stopped(before)

        return between

    def _stopped(self, state: Snapshot) -> Stopped:
        return Stopped(encode(state), self.tally.step, self.tally.fraction)


def is_last(epoch: Epoch, settings: TrainConfig) -> bool:
    """Whether training ends with this epoch: there are no more, or it is good enough."""
    threshold = settings.early_stopping_threshold
    return epoch.epoch + 1 == settings.max_epochs or (threshold is not None and epoch.accuracy > threshold)


def training_loss(model: LanguageModel, batch: Batch, settings: TrainConfig) -> Tensor:
    """Cross-entropy at the supervised positions, plus what the mixers add to it: what is trained on and reported."""
    with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        loss = supervised_loss(model(batch.tokens, batch.positions), batch.answers)
    extra = model.auxiliary_loss()
    return loss if extra is None else loss + extra


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    data: TaskData,
    settings: TrainConfig,
    device: torch.device,
    between: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Accuracy on each test setting: the share of supervised positions answered right.

    ``between`` is called between two batches, and may leave by raising.
    """
    model.eval()
    right: dict[str, int] = {}
    scored: dict[str, int] = {}
    for name, batch in data.test_batches(settings.test_batch_size):
        if between is not None and right:
            between()
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
