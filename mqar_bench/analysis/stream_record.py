"""What a streaming evaluation leaves: answers at each context, in one file that grows and from which it goes on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from mqar_bench.analysis.statistics import interval
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.files import write_atomically
from mqar_bench.basics.frozen import Frozen
from mqar_bench.records.result import Provenance
from mqar_bench.tasks import AnyTask

#: Of the file beside the weights.
ENDING = ".stream.json"
#: What must be the same for an evaluation to go on.
SAME = ("run_id", "weights_sha256", "examples", "task", "seed", "rows", "piece", "precision", "device")


class HeadSlots(Frozen):
    """What filler has overwritten of the slots of one head of a RAM-Net at one context (``analysis.overwriting``).

    Args:
        layer, head: counted from 0.
        cape: whether the head has CAPE.
        num_slots, top_k, gamma: M, K and the exponent of the decay.
        overwritten: of each example read, in order, the share of what was stored, 0 to 1.
    """

    layer: int
    head: int
    cape: bool
    num_slots: int
    top_k: int
    gamma: float
    overwritten: tuple[float, ...]

    def add(self, more: HeadSlots) -> HeadSlots:
        """With more examples of the same head."""
        return self.model_copy(update={"overwritten": self.overwritten + more.overwritten})


class StreamedContext(Frozen):
    """How a model does at one context.

    ``done``: every example is read. ``partial``: some are, and the same command reads the others. ``ended``: the model
    cannot have so long a context, and ``reason`` says why; what it has at lengths before stays.

    Args:
        context: tokens of an example.
        status: done, partial or ended.
        reason: of ``ended``, in words.
        correct: of each example read, in order, the share of its answers that are right.
        accuracy: their mean; None where none is read.
        low, high: of a bootstrap interval of it over examples (``statistics.interval``); None of fewer than two.
        tokens: read so far, of all examples.
        seconds: of the model at that: neither drawing examples nor writing.
        tokens_per_second: of all rows of a batch together.
        peak_bytes: most memory at a time: allocated on a GPU, or resident in the whole process on a CPU.
        state_bytes: that an example's state has after its last token, all layers.
        slots: of each head of each RAM-Net in the model.
    """

    context: int
    status: Literal["done", "partial", "ended"]
    reason: str = ""
    correct: tuple[float, ...] = ()
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float | None = None
    peak_bytes: int | None = None
    state_bytes: int | None = None
    slots: tuple[HeadSlots, ...] = ()

    def add(
        self,
        correct: list[float],
        seconds: float,
        peak_bytes: int,
        state_bytes: int,
        slots: tuple[HeadSlots, ...] = (),
        *,
        of: int,
    ) -> StreamedContext:
        """With one more batch of examples, of ``of`` in all."""
        right = (*self.correct, *correct)
        low, high = interval(right) if len(right) > 1 else (None, None)
        tokens, spent = self.tokens + len(correct) * self.context, self.seconds + seconds
        return StreamedContext(
            context=self.context,
            status="done" if len(right) >= of else "partial",
            correct=right,
            accuracy=sum(right) / len(right),
            low=low,
            high=high,
            tokens=tokens,
            seconds=spent,
            tokens_per_second=tokens / spent if spent > 0 else None,
            peak_bytes=max(peak_bytes, self.peak_bytes or 0),
            state_bytes=state_bytes,
            slots=tuple(a.add(b) for a, b in zip(self.slots, slots, strict=True)) if self.slots else slots,
        )

    def end(self, reason: str) -> StreamedContext:
        """Of a model that cannot have this context. What was measured of a part of it is kept."""
        return self.model_copy(update={"status": "ended", "reason": reason})


class StreamEvaluation(Frozen):
    """A trained model at contexts beyond those it was trained on, read in pieces with nothing but its state carried.

    ``run_id``, ``mixer``, ``stack`` (its mixers in order), ``variant``, ``learning_rate`` and ``trained`` are the run's
    that trained it, ``trained_accuracy`` what it got on the settings that guided it; ``weights`` is the file,
    ``weights_sha256`` the digest of its tensors. ``task`` is what is read, at ``contexts`` in place of its own length;
    ``chance`` what a guess is worth there, and ``trained_length`` the longest sequence of training.

    Args:
        seed: of the task, derived from the run's data seed.
        examples: at each context.
        rows: examples read side by side.
        piece: tokens of each that are read at a time.
        precision: as in training.
        device: cpu or cuda; all numbers are of one kind.
        memory: bytes beyond which a context has ended; more than before tries those anew.
        contexts: in ascending order.
        provenance: of the last command that read anything.
    """

    stream_schema_version: Literal[1] = 1
    run_id: str
    mixer: str
    stack: str
    variant: str
    learning_rate: float
    trained_accuracy: float
    weights: str
    weights_sha256: str
    task: AnyTask
    seed: int
    chance: float
    trained_length: int
    examples: int
    rows: int
    piece: int
    precision: str
    device: str
    memory: int
    contexts: tuple[StreamedContext, ...] = Field(())
    provenance: Provenance
    trained: Provenance

    def at(self, context: int) -> StreamedContext:
        """What there is of a context: nothing yet, or more."""
        found = [entry for entry in self.contexts if entry.context == context]
        return found[0] if found else StreamedContext(context=context, status="partial")

    def having(self, entry: StreamedContext) -> StreamEvaluation:
        """With this in place of what there was of that context."""
        others = [each for each in self.contexts if each.context != entry.context]
        return self.model_copy(update={"contexts": tuple(sorted([*others, entry], key=lambda each: each.context))})


def write_stream(path: Path, evaluation: StreamEvaluation) -> None:
    """Write all of it, or leave what was there.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_atomically(path, (evaluation.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def read_stream(path: Path) -> StreamEvaluation | None:
    """What is in the file; None where there is none.

    Raises:
        UsageError: it holds something else, or cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return StreamEvaluation.model_validate_json(text)
    except (ValidationError, RecursionError):
        raise UsageError(f"{path} is there and holds something else than a streaming evaluation: give --out") from None


def find_streams(root: Path, sweeps: Collection[str], scale: str | None = None) -> list[StreamEvaluation]:
    """Those that `mqar-bench stream` has kept in a folder of records, of runs of these sweeps at all scales or one.

    Raises:
        UsageError: a file holds something else.
    """
    folders = [root.glob(f"{sweep}-{scale or '*'}/*{ENDING}") for sweep in sweeps]
    read = [read_stream(path) for path in sorted(path for folder in folders for path in folder)]
    return [each for each in read if each is not None]


def resume_stream(fresh: StreamEvaluation, before: StreamEvaluation | None, path: Path) -> StreamEvaluation:
    """``fresh``, which has no contexts yet, with those of an earlier command.

    Where there is more memory than before, contexts that had ended are open again.

    Raises:
        UsageError: that was another evaluation; names the first difference.
    """
    if before is None:
        return fresh
    ours, theirs = fresh.model_dump(mode="json"), before.model_dump(mode="json")
    for name in SAME:
        if ours[name] != theirs[name]:
            what, here, there = _differ(name, ours[name], theirs[name])
            raise UsageError(f"{path} has {what} {there}, and this is {here}: give another --out, or --force")
    kept = [entry for entry in before.contexts if entry.status != "ended" or fresh.memory <= before.memory]
    reopened = [entry for entry in before.contexts if entry not in kept and entry.correct]
    open_again = [entry.model_copy(update={"status": "partial", "reason": ""}) for entry in reopened]
    contexts = sorted([*kept, *open_again], key=lambda entry: entry.context)
    return fresh.model_copy(update={"contexts": tuple(contexts)})


def _differ(name: str, ours: object, theirs: object) -> tuple[str, object, object]:
    """Which part of two values differs, and how."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours:
            if ours[key] != theirs.get(key):
                return f"{name}.{key}", ours[key], theirs.get(key)
    return name, ours, theirs
