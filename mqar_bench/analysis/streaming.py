"""A trained model read to contexts of any length: in pieces, with its state carried and nothing else kept.

Time and memory a token are those of the state: where it has a constant size, a context of ten million tokens takes no
more memory than one of a thousand. Where it grows, it ends at the memory that it is given.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mixers.checks import check_size
from mixers.ramnet import record_access
from mqar_bench.analysis.overwriting import Overwriting
from mqar_bench.analysis.stream_record import (
    HeadSlots,
    StreamedContext,
    StreamEvaluation,
    read_stream,
    resume_stream,
    write_stream,
)
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.machine.hardware import peak_memory, reset_peak_memory, show_bytes
from mqar_bench.config import RunConfig
from mqar_bench.records.result import now, provenance
from mqar_bench.records.weights import Weights
from mqar_bench.tasks import TASKS, Stream, StreamTask, segment_seeds
from mqar_bench.tasks.stream import MAX_CONTEXT
from mqar_bench.tasks.task import MAX_EXAMPLES
from mqar_bench.training.device import with_threads
from mqar_bench.training.model import LanguageModel, ModelState, find_prefill
from mqar_bench.training.weights import load_weights

#: By what contexts grow.
FACTOR = 4
#: What reading some rows gives, as ``StreamedContext.add`` takes it.
Rows = tuple[list[float], float, int, int, tuple[HeadSlots, ...]]


@dataclass(frozen=True)
class StreamSettings:
    """How far a model is read, and how.

    Args:
        last: the longest context.
        first: the shortest; those between are this times powers of four.
        examples: at each context.
        rows: read side by side.
        piece: tokens of each that are read at a time.
        memory: bytes that reading may take beyond what the process has; a context that needs more has ended.

    Raises:
        ValueError: a number is out of range; names it.
    """

    last: int
    first: int = 1024
    examples: int = 64
    rows: int = 8
    piece: int = 1024
    memory: int = 2 * 2**30

    def __post_init__(self) -> None:
        check_size(1, MAX_CONTEXT, first=self.first, last=self.last, piece=self.piece)
        check_size(1, MAX_EXAMPLES, examples=self.examples, rows=self.rows)
        check_size(1, 2**50, memory=self.memory)
        if self.first > self.last:
            raise ValueError(f"the last context is {self.last}, and the first is longer: {self.first}")

    @property
    def contexts(self) -> list[int]:
        """``first`` times powers of four up to ``last``, and ``last``."""
        lengths = [self.first]
        while lengths[-1] * FACTOR <= self.last:
            lengths.append(lengths[-1] * FACTOR)
        return lengths if lengths[-1] == self.last else [*lengths, self.last]


class Watcher:
    """Is told how a streaming evaluation goes, and may stop it; this one does neither."""

    def start(self, evaluation: StreamEvaluation, contexts: list[int]) -> None:
        """What there is already, and what all is to be read."""

    def progress(self, context: int, share: float) -> None:
        """Of a context, after every piece: which share of its tokens is read."""

    def finish(self, entry: StreamedContext) -> None:
        """A context is done, or has ended."""

    def is_over(self) -> bool:
        """Asked before every piece: whether to stop. The batch under way is then read anew by the next command."""
        return False


class _Over(Exception):
    """The watcher has said so."""


class _Ended(Exception):
    """The context is beyond the model; the message is the reason."""


def stream_weights(
    weights: Weights,
    config: RunConfig,
    device: torch.device,
    settings: StreamSettings,
    path: Path,
    watcher: Watcher | None = None,
    force: bool = False,
) -> StreamEvaluation:
    """Read the first test setting of ``config`` that can be streamed, at every context; go on where a file ends.

    The file is written after every batch of rows. With so many threads of torch as the run had, if there are so many.

    Args:
        weights: what the file of weights says of itself.
        config: the run's, which may differ in its test settings and data seed.
        device: where to read.
        settings: how far.
        path: the file, which need not be there.
        watcher: is told, and asked whether to stop.
        force: begin anew, whatever is in the file.

    Returns:
        what is in the file at the end; a context is ``partial``, or missing, only if the watcher stopped.

    Raises:
        UsageError: as ``load_weights``; no test setting can be streamed, a context is too short for it, a mixer carries
            no state, or the file has something else in it.
    """
    index = find_streamed(config)
    task = config.data.test[index].model_copy(update={"num_examples": settings.examples})
    assert isinstance(task, StreamTask)
    if settings.first < task.least_length:
        raise UsageError(f"the first context is {settings.first}, and {task.label} needs {task.least_length} tokens")
    before = None if force else read_stream(path)
    model, loaded = load_weights(weights.path, device, weights.config)
    for mixer in model.sequence_mixers:
        try:
            find_prefill(mixer)
        except TypeError as error:
            raise UsageError(f"run {loaded.config.run_id} cannot be streamed: {error}") from None
    seed = segment_seeds(config.data.seed, len(config.data.train), len(config.data.test))[1][index]
    with with_threads(min(loaded.result.provenance.threads, torch.get_num_threads())):
        fresh = StreamEvaluation(
            run_id=loaded.config.run_id,
            mixer=loaded.config.mixer,
            stack=" ".join(spec.name for spec in loaded.config.model.mixers),
            variant=loaded.config.variant,
            learning_rate=loaded.config.train.learning_rate,
            trained_accuracy=loaded.result.epochs[-1].accuracy,
            weights=str(weights.path),
            weights_sha256=loaded.sha256,
            task=task,
            seed=seed,
            chance=task.chance,
            trained_length=loaded.config.trained_length,
            examples=settings.examples,
            rows=settings.rows,
            piece=settings.piece,
            precision=loaded.config.train.precision,
            device=device.type,
            memory=settings.memory,
            provenance=provenance(device, now()),
            trained=loaded.result.provenance,
        )
        evaluation = resume_stream(fresh, before, path)
        return _Reading(model, evaluation, settings, device, path, watcher or Watcher()).run()


def find_streamed(config: RunConfig) -> int:
    """The place of the first test setting that can be streamed.

    Raises:
        UsageError: there is none.
    """
    for index, task in enumerate(config.data.test):
        if isinstance(task, StreamTask):
            return index
    names = " or ".join(name for name, cls in TASKS.items() if issubclass(cls, StreamTask))
    raise UsageError(
        f"no test setting of the run can be streamed: give --data.test.0.name {names}, "
        "with a vocabulary and sizes like those it was trained on"
    )


@dataclass
class _Reading:
    """An evaluation under way."""

    model: LanguageModel
    evaluation: StreamEvaluation
    settings: StreamSettings
    device: torch.device
    path: Path
    watcher: Watcher
    #: Bytes that the process had when it began with a context.
    floor: int = 0

    def run(self) -> StreamEvaluation:
        self.watcher.start(self.evaluation, self.settings.contexts)
        reason = ""
        for context in self.settings.contexts:
            entry = self.evaluation.at(context)
            if entry.status == "partial":
                try:
                    entry = entry.end(reason) if reason else self._read(context)
                except _Over:
                    break
                except _Ended as error:
                    entry = self.evaluation.at(context).end(str(error))
                self._keep(entry)
                self.watcher.finish(entry)
            reason = entry.reason and (reason or f"{entry.reason} (at {context})")
        return self.evaluation

    def _keep(self, entry: StreamedContext) -> None:
        self.evaluation = self.evaluation.having(entry)
        write_stream(self.path, self.evaluation)

    def _read(self, context: int) -> StreamedContext:
        """What is left of a context, batch after batch."""
        self._check(context)
        task = self.evaluation.task
        assert isinstance(task, StreamTask)
        stream, n = task.stream(self.evaluation.seed, input_seq_len=context), self.settings.examples
        entry = self.evaluation.at(context)
        self._warm_up(context)
        reset_peak_memory(self.device)
        self.floor = peak_memory(self.device)
        while entry.status == "partial":
            start = len(entry.correct)
            entry = entry.add(*self._read_rows(stream, start, min(start + self.settings.rows, n)), of=n)
            if entry.status == "partial":
                self._keep(entry)
        return entry

    def _check(self, context: int) -> None:
        """Whether the model can have such a context, as far as its config says."""
        limit = self.model.config.max_position_embeddings
        if 0 < limit < context:
            raise _Ended(f"it has learned positions of {limit} tokens")
        width = max(4, next(self.model.parameters()).element_size())
        state = self.model.state_size(context) * width * self.settings.rows
        if state > self.settings.memory:
            raise _Ended(f"the state of {self.settings.rows} rows takes {show_bytes(state)}, {self._limit}")

    @property
    def _limit(self) -> str:
        return f"more than the {show_bytes(self.settings.memory)} allowed"

    @torch.no_grad()
    def _read_rows(self, stream: Stream, start: int, stop: int) -> Rows:
        """Of these examples right answers (the share of each), seconds, peak memory, bytes of a state, and slots."""
        length, plan = stream.task.input_seq_len, stream.plan.rows(start, stop)
        positions, answers = (torch.from_numpy(part.astype(np.int64)) for part in (plan.positions, plan.answers))
        right = torch.zeros(answers.shape, dtype=torch.bool)
        state: ModelState | None = None
        overwriting = Overwriting(self.model, plan, stream.task.num_stored)
        seconds, seen = 0.0, 0
        for tokens in self._pieces(stream, start, stop):
            piece = torch.from_numpy(tokens).to(self.device, torch.int64)
            last = seen + tokens.shape[1]
            asked = (positions >= seen) & (positions < last)
            places = (positions - seen).clamp(0, tokens.shape[1] - 1) if asked.any() else positions[:, :0]
            with record_access(self.model) as accesses:
                logits, state, spent = self._prefill(piece, state, places.to(self.device))
            overwriting.add(accesses, seen)
            seconds += spent
            if asked.any():
                right |= asked & (logits.argmax(-1).cpu() == answers)
            seen = last
            if (taken := peak_memory(self.device) - self.floor) > self.settings.memory:
                raise _Ended(f"reading takes {show_bytes(taken)} at token {seen}, {self._limit}")
            self.watcher.progress(length, (start + (stop - start) * seen / length) / stream.task.num_examples)
        assert state is not None
        carried = sum(t.numel() * t.element_size() for layer in state.layers for t in layer.values())
        correct, peak = right.double().mean(1).tolist(), peak_memory(self.device)
        return correct, seconds, peak, carried // (stop - start), overwriting.heads()

    def _pieces(self, stream: Stream, start: int, stop: int) -> Iterator[np.ndarray]:
        """Unless the time is over."""
        for tokens in stream.pieces(self.settings.piece, start, stop):
            if self.watcher.is_over():
                raise _Over
            yield tokens

    def _prefill(
        self, piece: torch.Tensor, state: ModelState | None, places: torch.Tensor
    ) -> tuple[torch.Tensor, ModelState, float]:
        self._wait()
        began = time.perf_counter()
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.evaluation.precision == "bfloat16"):
                logits, after = self.model.prefill(piece, state, places)
            self._wait()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            seen = 0 if state is None else state.seen
            raise _Ended(f"the machine has no more memory at token {seen}") from None
        return logits, after, time.perf_counter() - began

    @torch.no_grad()
    def _warm_up(self, context: int) -> None:
        """Read two pieces of nothing: the first of a shape may have to be compiled, which is no time of reading."""
        size = min(self.settings.piece, context // 2) or 1
        rows = min(self.settings.rows, self.settings.examples)
        piece, nowhere = (torch.zeros(rows, n, dtype=torch.int64, device=self.device) for n in (size, 0))
        _, state, _ = self._prefill(piece, None, nowhere)
        if 2 * size <= context:
            self._prefill(piece, state, nowhere)

    def _wait(self) -> None:
        """For the GPU, so that its time is measured."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is that, which torch's allocator on a CPU says in words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
