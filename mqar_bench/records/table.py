"""Records as a tidy table, which is all that figures see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from mqar_bench.config import RunConfig
from mqar_bench.records.capacity import RECALLED, capacity_columns
from mqar_bench.records.curves import guide_points, steps_tokens_to, training_points
from mqar_bench.records.result import RunResult

#: Columns before and after those that depend on the records (``accuracy/<setting>`` and ``option.<name>``).
LEADING = (
    "run_id", "sweep", "scale", "mixer", "stack", "variant", "data", "d_model", "n_layers", "state_size",
    "active_state_size", "num_parameters", "learning_rate", "seed", "accuracy", "guide_accuracy", "best_accuracy",
    "guide_loss", "guided_by", "capacity", "censored", "recalled_pairs", "rise", "screened", "edge", "status", "epochs",
    "steps", "steps_to_90", "tokens_to_90", "seconds", "train_seconds", "tokens_per_second", "peak_memory_bytes",
    "sequence_length", "vocab_size", "batch_size",
)  # fmt: skip
TRAILING = ("device", "threads", "git_commit", "ignored", "error")

#: Integers that a run may lack; the others are never missing.
_GAPPED = (
    "state_size", "active_state_size", "num_parameters", "screened", "steps_to_90", "tokens_to_90",
    "peak_memory_bytes",
)  # fmt: skip
_NUMBERS = (
    "accuracy", "guide_accuracy", "best_accuracy", "guide_loss", "capacity", "recalled_pairs", "rise",
    "tokens_per_second",
)  # fmt: skip

#: Of training, at the end: what accuracy still gains in it says whether more steps would have helped.
LAST = 0.2


def to_frame(results: Iterable[RunResult], curves: bool = False) -> pd.DataFrame:
    """One row a run, in the order given.

    Columns: ``LEADING``; ``accuracy/<setting>``, the accuracy on each test setting, and ``loss/<setting>``, the mean
    cross-entropy in nats, where the task keeps it; the options of the mixers as the config gives them; ``TRAILING``.
    Options of the last mixer, the one under test, are ``option.<name>``, those of a mixer below it
    ``option.<i>.<name>``, with ``i`` its place in the stack, from 0.

    ``stack`` has the mixers' names from below, with spaces between; they are cycled over the layers. Runs that differ
    in nothing but learning rate, seeds and device are of one ``variant``; ``data`` names what they were trained and
    scored on, whatever the seed.

    ``accuracy`` is on the test settings, ``guide_accuracy`` on those that guide training, of which ``guided_by`` says
    the kind: ``validation``, or ``test`` where the two are one, as in Zoology; ``guide_loss`` is the mean cross-entropy
    on them in nats, where their tasks keep it. ``best_accuracy`` is the highest of any
    epoch on them, ``steps_to_90`` and ``tokens_to_90`` are the steps and the tokens seen after the first epoch that
    ended with at least 0.9 on them, and ``rise`` is what they gained in the last fifth of all steps (missing with fewer
    than five epochs; 0 where training stopped early, being good enough). ``capacity``, ``censored`` and
    ``recalled_pairs`` are of ``records.capacity``, of runs on MQAR. ``screened`` counts the learning rates that the
    run's was chosen from, and ``edge`` says whether it is the ``lowest`` or ``highest`` of them; both are missing where
    it was not. Sizes are elements per sequence; ``ignored`` is what a run leaves out of what it was meant to be,
    ``error`` is the first line. What a run does not have is missing (NaN or NA).

    With ``curves`` there is a last column ``curve``, for figures: a tuple of ``records.curves.Point`` a run.
    """
    results = list(results)
    frame = from_rows([to_row(result) for result in results])
    if curves:
        points = [(*training_points(result), *guide_points(result)) for result in results]
        frame["curve"] = pd.Series(points, index=frame.index, dtype=object)
    return frame


def from_rows(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of rows as ``to_row`` makes them, without curves; what a row lacks is missing."""
    varying = list(dict.fromkeys(name for row in rows for name in row if name not in LEADING + TRAILING))
    settings = [name for name in varying if name.startswith(("accuracy/", "loss/"))]
    options = sorted(name for name in varying if name.startswith("option."))
    frame = pd.DataFrame(rows, columns=[*LEADING, *settings, *options, *TRAILING])
    kinds = {**dict.fromkeys(_GAPPED, "Int64"), **dict.fromkeys(_NUMBERS, "float64")}
    whole = {name: "Int64" for name in options if all(_is_whole(row.get(name)) for row in rows)}
    return frame.astype({**kinds, **whole})


def to_row(result: RunResult) -> dict[str, Any]:
    """A run's row, of plain values."""
    config = result.config
    steps, tokens = steps_tokens_to(RECALLED, result)
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
        "guide_accuracy": result.epochs[-1].accuracy if result.epochs else None,
        "guide_loss": result.epochs[-1].guide_loss if result.epochs else None,
        "guided_by": "validation" if config.data.validation else "test",
        **capacity_columns(result.config, result.settings),
        "rise": _rise(result),
        "screened": len(result.screen.rivals) if result.screen else None,
        "edge": _edge(result),
        "best_accuracy": max((epoch.accuracy for epoch in result.epochs), default=None),
        "status": result.status,
        "epochs": len(result.epochs),
        "steps": result.steps,
        "steps_to_90": steps,
        "tokens_to_90": tokens,
        "seconds": result.seconds,
        "train_seconds": result.train_seconds,
        "tokens_per_second": result.tokens_per_second,
        "peak_memory_bytes": result.peak_memory_bytes,
        "sequence_length": config.sequence_length,
        "vocab_size": config.model.vocab_size,
        "batch_size": config.train.batch_size,
        **{f"accuracy/{name}": value for name, value in result.settings.items()},
        **{f"loss/{name}": value for name, value in result.losses.items()},
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


def _rise(result: RunResult) -> float | None:
    """Accuracy gained on what guides training over the last ``LAST`` of it."""
    epochs, planned = result.epochs, result.config.train.max_epochs
    last = round(LAST * planned)
    if not last or not epochs:
        return None
    return epochs[-1].accuracy - epochs[-1 - last].accuracy if len(epochs) == planned else 0.0


def _edge(result: RunResult) -> str | None:
    """Where the rate lies among its rivals."""
    if result.screen is None:
        return None
    rates, rate = sorted(map(float, result.screen.rivals)), result.config.train.learning_rate
    near = [math.isclose(rate, end, rel_tol=1e-3) for end in (rates[0], rates[-1])]  # they are kept as short text
    return "lowest" if near[0] else "highest" if near[1] else ""


def _is_whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
