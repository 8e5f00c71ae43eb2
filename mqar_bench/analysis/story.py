"""What is to be said of one run, in words: a name and a text for each fact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mqar_bench.basics.machine.hardware import show_bytes
from mqar_bench.records.differ import origin
from mqar_bench.records.result import RunResult, ScreenRecord
from mqar_bench.records.table import to_frame

Fact = tuple[str, str]


def head(result: RunResult, place: str, also: Sequence[str]) -> Iterator[Fact]:
    """Which run it is.

    Args:
        result: its record.
        place: where that lies.
        also: the other sweeps and scales that list the run.
    """
    config = result.config
    yield "run", f"{result.run_id}, {result.status}"
    yield "mixer", f"{config.mixer} (layers: {' '.join(spec.name for spec in config.model.mixers)})"
    yield "sweep", f"{config.sweep} at {config.scale}" + (f"; also {', '.join(also)}" if also else "")
    yield "record", place
    if result.error:
        yield ("lost" if result.lost else "error"), result.error.partition("\n")[0]
    for line in config.ignored:
        yield "left out", line


def outcome(result: RunResult, row: Mapping[Any, Any] | None = None) -> Iterator[Fact]:
    """What it came to, and cost; ``row`` is its row of ``to_frame``, where that is at hand."""
    row = to_frame([result]).iloc[0].to_dict() if row is None else row
    if result.accuracy is not None:
        guided = f"; {row['guided_by']} {row['guide_accuracy']:.3f} at the end, {row['best_accuracy']:.3f} at best"
        yield "accuracy", f"{result.accuracy:.3f}, mean over test settings{guided if result.epochs else ''}"
    if not pd.isna(row["guide_loss"]):
        loss = row["guide_loss"]
        yield "loss", f"{loss:.4g} nats on {row['guided_by']} at the end, a perplexity of {math.exp(loss):.4g}"
    if not pd.isna(row["capacity"]):
        bound = {"above": "at least ", "below": "at most "}.get(row["censored"], "")
        yield (
            "capacity",
            f"{bound}{row['capacity']:.4g} pairs at 0.9 accuracy; most recalled: {row['recalled_pairs']:.4g}",
        )
    if result.epochs:
        steps, tokens = row["steps_to_90"], row["tokens_to_90"]
        reached = "never" if pd.isna(steps) else f"after {steps:,} steps, {tokens:,} tokens"
        yield "to 0.9", f"{reached}, by {row['guided_by']} accuracy"
    if result.state_size is not None:
        active = "" if result.active_state_size is None else f", {result.active_state_size:,} active a token"
        yield "state", f"{result.state_size:,} elements{active}, at {result.config.sequence_length:,} tokens"
    if result.num_parameters is not None:
        yield "parameters", f"{result.num_parameters:,}"
    if result.steps:
        tokens = sum(result.curve.tokens) if result.curve else result.config.tokens_after(len(result.epochs))
        yield "training", f"{len(result.epochs)} epochs, {result.steps:,} steps, {tokens:,} tokens"
    speed = "" if result.tokens_per_second is None else f", {result.tokens_per_second:,.0f} tokens a second"
    memory = "" if result.peak_memory_bytes is None else f", {show_bytes(result.peak_memory_bytes)} at most"
    training = f", of which training {result.train_seconds:.1f} s" if result.steps else ""
    yield "cost", f"{result.seconds:.1f} s{training}{speed}{memory}"


def made_with(result: RunResult) -> Iterator[Fact]:
    """When, on what and with which code."""
    made = result.provenance
    yield "started", made.started_at
    yield "machine", origin(made)
    dirty = " with changes" if made.git_dirty else ""
    yield "code", f"commit {made.git_commit}{dirty}" if made.git_commit else "not from a checkout"
    yield (
        "versions",
        ", ".join(f"{name} {version}" for name, version in {"python": made.python, **made.versions}.items()),
    )
    if result.resumed:
        yield "resumed", f"{result.resumed} time{'' if result.resumed == 1 else 's'} from a checkpoint"
    for line in result.retries:
        yield "retried", line


def rivals(screen: ScreenRecord, rate: float) -> Iterator[tuple[str, float | None, str]]:
    """Rates in order, with what they reached, and a mark on this run's; they are kept as short text."""
    for text, reached in sorted(screen.rivals.items(), key=lambda rival: float(rival[0])):
        yield text, reached, "this run's" if math.isclose(float(text), rate, rel_tol=1e-3) else ""
