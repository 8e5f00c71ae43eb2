"""Train and score one run: the loop. What goes on around it is in ``session``, a step in ``optimization``."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mqar_bench.basics.machine.hardware import peak_memory, reset_peak_memory
from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult, now, provenance
from mqar_bench.training.checkpoint import Tally
from mqar_bench.training.contract import check_model
from mqar_bench.training.curriculum import Curriculum
from mqar_bench.training.data import TaskData, data_of
from mqar_bench.training.device import pick_device, seeded
from mqar_bench.training.model import LanguageModel, count_parameters
from mqar_bench.training.optimization import (
    find_gradients,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    training_loss,
)
from mqar_bench.training.scoring import Scores, evaluate
from mqar_bench.training.session import Company, Measured, Progress, Session


def run(
    config: RunConfig,
    report: Callable[[Progress], None] | None = None,
    *,
    measure: Callable[[Measured], None] | None = None,
    checkpoint: bytes | None = None,
    save: Callable[[bytes], None] | None = None,
    save_every: float = 30.0,
    stop: Callable[[], bool] | None = None,
    data: TaskData | None = None,
) -> RunResult:
    """``fit`` without the model: what a run leaves behind."""
    return fit(
        config,
        report,
        measure=measure,
        checkpoint=checkpoint,
        save=save,
        save_every=save_every,
        stop=stop,
        data=data,
    )[1]


def fit(
    config: RunConfig,
    report: Callable[[Progress], None] | None = None,
    *,
    measure: Callable[[Measured], None] | None = None,
    checkpoint: bytes | None = None,
    save: Callable[[bytes], None] | None = None,
    save_every: float = 30.0,
    stop: Callable[[], bool] | None = None,
    data: TaskData | None = None,
    keep: bool = False,
) -> tuple[LanguageModel, RunResult]:
    """Train ``config``, scoring the settings that guide training after every epoch, and the test settings at the end.

    The same config on the same device, with the same number of threads, gives the same numbers to the bit, in one
    piece or in several. Global random states are left as they were.

    Args:
        config: the run.
        report: told how far it is.
        measure: told what goes into the record, as soon as it is known: the windows of the learning curve, and epochs.
        checkpoint: go on from here; what an earlier call for this config gave to ``save`` or raised ``Stopped`` with.
            Holds what is in the model's ``state_dict``, so a mixer must keep there what it carries between steps.
        save: given a checkpoint after a step or a scoring, once ``save_every`` seconds have passed since the last one.
        save_every: seconds; 0 saves after every step.
        stop: asked after every step and every batch of scoring whether to stop; not once the run is over.
        data: the task data of this config, where they are built already; default ``shared_data``.
        keep: whether the model's weights are to be kept: a mixer of which ``encode_weights`` could not is refused.

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
    settings, device = config.train, pick_device(config.train.device)
    tally = Tally(started_at=now())
    data = data_of(config.data, data)
    reset_peak_memory(device)
    with seeded(settings.seed, device):
        model = LanguageModel(config.model).to(device)
        check_model(model, config, data, saved=save is not None or stop is not None, kept=keep)
        optimizer = make_optimizer(model, settings)
        tally.total_steps = settings.max_epochs * data.count_batches(settings.batch_size)
        company = Company(report, measure, save, save_every, stop)
        curriculum = Curriculum(config, data)
        session = Session(config, model, optimizer, tally, curriculum, company, checkpoint)
        tally = session.tally
        while not session.is_over:
            tally.lap()
            model.train()
            for batch in curriculum.batches(tally.epoch, tally.batches):
                set_learning_rate(optimizer, learning_rate(settings, tally.step, tally.total_steps, tally.epoch))
                model.set_training_progress(tally.fraction)
                loss = training_loss(model, batch.to(device), settings, tally.windows.watch)
                value = find_gradients(loss, model, optimizer, settings.grad_clip)
                session.check(value)
                optimizer.step()
                session.end_step(batch.tokens.numel(), value)
            tally.lap(training=True)
            session.end_epoch(evaluate(model, data, settings, device, session.between_batches(), guides=True))
        tested = Scores(tally.epochs[-1].settings, tally.epochs[-1].losses)
        if config.data.validation:
            tested = evaluate(model, data, settings, device, session.between_batches())
            tally.lap()
    return model, _record(config, model, tally, device, tested)


def _record(config: RunConfig, model: LanguageModel, tally: Tally, device: torch.device, tested: Scores) -> RunResult:
    """What a finished run leaves behind."""
    return RunResult(
        run_id=config.run_id,
        status="done",
        config=config,
        provenance=provenance(device, tally.started_at),
        epochs=tuple(tally.epochs),
        curve=tally.windows.curve(),
        accuracy=sum(tested.accuracy.values()) / len(tested.accuracy),
        settings=tested.accuracy,
        losses=tested.loss,
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
