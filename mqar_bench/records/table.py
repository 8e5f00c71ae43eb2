"""Records as a tidy table, which is all that figures see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult

#: Columns before and after those that depend on the records (``accuracy/<setting>`` and ``option.<name>``).
LEADING = (
    "run_id", "sweep", "scale", "mixer", "stack", "variant", "data", "d_model", "n_layers", "state_size",
    "active_state_size", "num_parameters", "learning_rate", "seed", "accuracy", "best_accuracy", "status", "epochs",
    "steps", "steps_to_90", "seconds", "train_seconds", "tokens_per_second", "peak_memory_bytes", "sequence_length",
    "vocab_size", "batch_size",
)  # fmt: skip
TRAILING = ("device", "threads", "git_commit", "ignored", "error")

#: Integers that a run may lack; the others are never missing.
_GAPPED = ("state_size", "active_state_size", "num_parameters", "steps_to_90", "peak_memory_bytes")
_NUMBERS = ("accuracy", "best_accuracy", "tokens_per_second")


def to_frame(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row a run, in the order given.

    Columns: ``LEADING``; ``accuracy/<setting>``, the accuracy on each test setting; the options of the mixers as the
    config gives them; ``TRAILING``. Options of the last mixer, the one under test, are ``option.<name>``, those of a
    mixer below it ``option.<i>.<name>``, with ``i`` its place in the stack, from 0.

    ``stack`` has the mixers' names from below, with spaces between; they are cycled over the layers. Runs that differ
    in nothing but learning rate, seeds and device are of one ``variant``; ``data`` names what they were trained and
    scored on, whatever the seed. ``steps_to_90`` is the number of steps after the first epoch that ended with an
    accuracy of at least 0.9. Sizes are elements per sequence; ``ignored`` is what a run leaves out of what it was meant
    to be, ``error`` is the first line. What a run does not have is missing (NaN or NA).
    """
    rows = [_row(result) for result in results]
    varying = list(dict.fromkeys(name for row in rows for name in row if name not in LEADING + TRAILING))
    settings = [name for name in varying if name.startswith("accuracy/")]
    options = sorted(name for name in varying if name.startswith("option."))
    frame = pd.DataFrame(rows, columns=[*LEADING, *settings, *options, *TRAILING])
    kinds = {**dict.fromkeys(_GAPPED, "Int64"), **dict.fromkeys(_NUMBERS, "float64")}
    whole = {name: "Int64" for name in options if all(_is_whole(row.get(name)) for row in rows)}
    return frame.astype({**kinds, **whole})


def _row(result: RunResult) -> dict[str, Any]:
    config = result.config
    return {
        "run_id": result.run_id,
        "sweep": config.sweep,
        "scale": config.scale,
        "mixer": config.mixer,
        "stack": " ".join(spec.name for spec in config.model.mixers),
        "variant": config.variant,
        "data": config.data_name,
        "d_model": config.model.d_model,
        "n_layers": config.model.n_layers,
        "state_size": result.state_size,
        "active_state_size": result.active_state_size,
        "num_parameters": result.num_parameters,
        "learning_rate": config.train.learning_rate,
        "seed": config.train.seed,
        "accuracy": result.accuracy,
        "best_accuracy": max((epoch.accuracy for epoch in result.epochs), default=None),
        "status": result.status,
        "epochs": len(result.epochs),
        "steps": result.steps,
        "steps_to_90": _steps_to(0.9, result),
        "seconds": result.seconds,
        "train_seconds": result.train_seconds,
        "tokens_per_second": result.tokens_per_second,
        "peak_memory_bytes": result.peak_memory_bytes,
        "sequence_length": config.sequence_length,
        "vocab_size": config.model.vocab_size,
        "batch_size": config.train.batch_size,
        **{f"accuracy/{name}": value for name, value in result.settings.items()},
        **_options(config),
        "device": result.provenance.device,
        "threads": result.provenance.threads,
        "git_commit": result.provenance.git_commit,
        "ignored": "; ".join(config.ignored) or None,
        "error": result.error.partition("\n")[0] if result.error else None,
    }


def _options(config: RunConfig) -> dict[str, Any]:
    *below, last = config.model.mixers
    options = {f"option.{i}.{name}": value for i, spec in enumerate(below) for name, value in spec.options.items()}
    return options | {f"option.{name}": value for name, value in last.options.items()}


def _steps_to(accuracy: float, result: RunResult) -> int | None:
    """Steps at the end of the first epoch with such an accuracy; epochs have the same number of steps."""
    reached = (n for n, epoch in enumerate(result.epochs, 1) if epoch.accuracy >= accuracy)
    n = next(reached, None)
    return None if n is None else result.steps * n // len(result.epochs)


def _is_whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
