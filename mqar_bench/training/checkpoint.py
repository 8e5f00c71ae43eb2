"""A run as bytes: everything that training carries from one step to the next, and nothing that could run code.

A header with the version and a digest, then what ``torch.save`` makes of tensors and plain values.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from mqar_bench.records.result import Epoch
from mqar_bench.training.curve import Windows, ends_window
from mqar_bench.training.scoring import Scores

VERSION = 2
HEADER = b"mqar-bench checkpoint %d\n"

#: The run at one step. Parameters and the optimizer's state are the live ones: ``encode`` it before the next step.
Snapshot = dict[str, Any]


class CheckpointError(ValueError):
    """Training cannot go on from these bytes; one line that says why."""


@dataclass
class Tally:
    """What a run has counted so far, over all its pieces.

    ``epoch`` is the one under way, of which ``batches`` are done with losses that sum to ``loss_sum``; ``epochs`` are
    those scored, ``windows`` the learning curve within them. ``seconds`` are wall time, ``train_seconds`` the part of
    it without scoring and saving. ``resumed`` is how often training went on from a checkpoint.
    """

    started_at: str
    total_steps: int = 0
    epoch: int = 0
    batches: int = 0
    step: int = 0
    tokens: int = 0
    loss_sum: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    windows: Windows = field(default_factory=Windows)
    seconds: float = 0.0
    train_seconds: float = 0.0
    resumed: int = 0

    def __post_init__(self) -> None:
        self.since = time.perf_counter()  # not a field: another process has another clock

    @property
    def fraction(self) -> float:
        """How much of training is done, 0 to 1."""
        return self.step / self.total_steps

    def lap(self, training: bool = False) -> None:
        """Book the time since the last call."""
        now = time.perf_counter()
        self.seconds += now - self.since
        self.train_seconds += now - self.since if training else 0.0
        self.since = now

    def add_batch(self, tokens: int, loss: float, epochs: int) -> None:
        """Count a step of a run that is to have so many epochs."""
        self.windows.add(tokens, loss, ends_window(self.step, epochs, self.total_steps // epochs))
        self.step, self.batches = self.step + 1, self.batches + 1
        self.tokens, self.loss_sum = self.tokens + tokens, self.loss_sum + loss

    def close_epoch(self, scores: Scores) -> Epoch:
        """Begin the next epoch; return the record of this one, of the settings that guide training."""
        settings, losses = scores
        accuracy, loss = sum(settings.values()) / len(settings), self.loss_sum / self.batches
        self.epochs.append(Epoch(epoch=self.epoch, loss=loss, accuracy=accuracy, settings=settings, losses=losses))
        self.epoch, self.batches, self.loss_sum = self.epoch + 1, 0, 0.0
        return self.epochs[-1]


def snapshot(
    run_id: str,
    tally: Tally,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Any] | None = None,
) -> Snapshot:
    """The run as it is; buffers, counts and random states are copied, so scoring does not change them in it.

    ``best`` is what a curriculum keeps of the stage under way, of tensors that nothing changes.
    """
    state = model.state_dict()
    for name in state.keys() - dict(model.named_parameters()).keys():
        if isinstance(state[name], Tensor):
            state[name] = state[name].clone()
    tally.windows.settle()
    counts = asdict(tally) | {"epochs": [epoch.model_dump() for epoch in tally.epochs]}
    random = {name: get() for name, (get, _) in _generators(model).items()}
    kept = {"model": state, "optimizer": optimizer.state_dict(), "random": random}
    return {"run_id": run_id, "tally": counts, **kept, **({} if best is None else {"best": best})}


def encode(snapshot: Snapshot) -> bytes:
    """The checkpoint of a snapshot; it has been read back once.

    Raises:
        TypeError: the model's state holds what only code could restore; names it.
    """
    try:
        payload = _dump(snapshot)
        _load(payload)
    except Exception:
        read_back(snapshot["model"], "the model's")  # says what it is about
        raise
    return HEADER % VERSION + hashlib.sha256(payload).digest() + payload


def read_back(state: dict[str, Any], whose: str) -> dict[str, Any]:
    """What a checkpoint gives back of a ``state_dict``.

    Raises:
        TypeError: it holds what only code could restore; names it, and ``whose`` it is.
    """
    try:
        return _load(_dump(state))
    except Exception:
        culprit = next((name for name, value in state.items() if not _survives(value)), None)
        if culprit is None:
            raise
        raise TypeError(
            f"the run cannot be saved: {culprit} in {whose} state_dict is of type {type(state[culprit]).__name__}, and"
            " only tensors and plain values can be read back; keep it out of the state_dict, or make it a tensor"
        ) from None


def decode(data: bytes, run_id: str) -> Snapshot:
    """The snapshot in a checkpoint of this run, on the CPU.

    Raises:
        CheckpointError: it is damaged, none at all, of another version or of another run.
    """
    header = re.match(HEADER.replace(b"%d", rb"(\d{1,9})"), data)
    if header is None:
        raise CheckpointError("this is not a checkpoint of mqar-bench, or only the start of one")
    if int(header[1]) != VERSION:
        raise CheckpointError(f"the checkpoint has version {int(header[1])}; this program reads {VERSION}")
    start = header.end() + hashlib.sha256().digest_size
    payload = data[start:]
    if hashlib.sha256(payload).digest() != data[header.end() : start]:
        raise CheckpointError("the checkpoint is cut off or damaged")
    try:
        found: Snapshot = _load(payload)
        found_id = found["run_id"]
    except Exception as error:  # whatever was put in there
        raise CheckpointError("the checkpoint holds something else than a run's tensors and plain values") from error
    if found_id != run_id:
        raise CheckpointError(f"the checkpoint is of run {found_id}, not of {run_id}")
    return found


def restore(
    data: bytes, run_id: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Tally, dict[str, Any] | None]:
    """Put model, optimizer and torch's generators where the checkpoint has them, and return its counts, and what a
    curriculum has kept in it.

    Raises:
        CheckpointError: as ``decode``, or it is of another kind of device, or does not fit the model.
    """
    found = decode(data, run_id)
    try:
        generators = _generators(model)
        if found["random"].keys() != generators.keys():
            here, there = (" and ".join(names) for names in (generators, found["random"]))
            raise CheckpointError(f"the checkpoint has random states of {there}, but this run draws from {here}")
        counts = found["tally"]
        tally = Tally(**{each.name: counts[each.name] for each in fields(Tally)})  # all of them: no default stands in
        tally.epochs, tally.resumed = [Epoch(**epoch) for epoch in counts["epochs"]], tally.resumed + 1
        tally.windows = Windows.load(counts["windows"])
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        for name, (_, put) in generators.items():
            put(found["random"][name])
    except CheckpointError:
        raise
    except Exception as error:  # say, a mixer whose code has changed
        reason = textwrap.shorten(str(error), 200)
        raise CheckpointError(f"the checkpoint does not fit the run: {type(error).__name__}: {reason}") from error
    return tally, found.get("best")


def _generators(model: nn.Module) -> dict[str, tuple[Any, Any]]:
    """How to read and set the state of each of torch's generators that a step can draw from."""
    device = next(model.parameters()).device
    found: dict[str, tuple[Any, Any]] = {"cpu": (torch.get_rng_state, torch.set_rng_state)}
    if device.type == "cuda":
        found["cuda"] = (
            lambda: torch.cuda.get_rng_state(device),
            lambda state: torch.cuda.set_rng_state(state, device),
        )
    return found


def _dump(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _load(payload: bytes) -> Any:
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)


def _survives(value: Any) -> bool:
    try:
        _load(_dump(value))
    except Exception:
        return False
    return True
