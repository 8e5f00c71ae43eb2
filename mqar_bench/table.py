"""Records as a tidy table, which is all that figures see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from mqar_bench.result import RunResult

#: Columns before and after those that depend on the records (``accuracy/<setting>`` and ``option.<name>``).
LEADING = (
    "run_id", "sweep", "scale", "mixer", "d_model", "n_layers", "state_size", "active_state_size", "num_parameters",
    "learning_rate", "seed", "accuracy", "best_accuracy", "status", "epochs", "steps", "seconds", "train_seconds",
    "tokens_per_second", "peak_memory_bytes", "sequence_length", "vocab_size", "batch_size",
)  # fmt: skip
TRAILING = ("device", "git_commit", "error")

#: Integers that a failed run lacks; the others are never missing.
_GAPPED = ("state_size", "active_state_size", "num_parameters", "peak_memory_bytes")
_NUMBERS = ("accuracy", "best_accuracy", "tokens_per_second")


def to_frame(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row a run, in the order given.

    Columns: ``LEADING``; ``accuracy/<setting>``, the accuracy on each test setting; ``option.<name>``, the
    options of the last mixer of the stack as the config gives them; ``TRAILING``. Sizes are elements per
    sequence; ``error`` is the first line. What a run does not have is missing (NaN or NA).
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
        "seconds": result.seconds,
        "train_seconds": result.train_seconds,
        "tokens_per_second": result.tokens_per_second,
        "peak_memory_bytes": result.peak_memory_bytes,
        "sequence_length": config.sequence_length,
        "vocab_size": config.model.vocab_size,
        "batch_size": config.train.batch_size,
        **{f"accuracy/{name}": value for name, value in result.settings.items()},
        **{f"option.{name}": value for name, value in config.model.mixers[-1].options.items()},
        "device": result.provenance.device,
        "git_commit": result.provenance.git_commit,
        "error": result.error.partition("\n")[0] if result.error else None,
    }


def _is_whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
