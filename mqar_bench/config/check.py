"""Whether the mixers and the user's own tasks that a config names can be made, have what every run calls, and can run.

No weights are drawn."""

from __future__ import annotations

import inspect
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import nn

from mixers.base import RecurrentMixer, SequenceMixer
from mixers.checks import brief
from mixers.registry import MixerError, outline
from mqar_bench.basics.errors import UsageError, describe, one_line
from mqar_bench.config.run import RunConfig
from mqar_bench.tasks import Task
from mqar_bench.tasks.own import load_task

#: What is there of a method that is not implemented.
_MISSING = (None, nn.Module.forward, SequenceMixer.forward, SequenceMixer.state_size, RecurrentMixer.mix)

#: What the record takes for a size.
_SIZE: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0)])


def check_mixers(config: RunConfig) -> None:
    """Build each mixer once, without its weights, so that a bad option is refused before any training.

    Raises:
        UsageError: a mixer that does not exist, cannot take its options, lacks what the harness calls, or cannot run
            on ``train.device``.
    """
    tried: set[str] = set()
    for i, spec in enumerate(config.model.mixers):
        if (key := spec.model_dump_json()) in tried:
            continue
        tried.add(key)
        try:
            with torch.random.fork_rng(devices=[]):
                mixer = outline(spec.name, config.model.d_model, i, **spec.options)
                check_methods(mixer, spec.name)
                check_sizes(mixer, spec.name, config.sequence_length, outlined=True)
        except MixerError as error:
            raise _refuse_mixer(i, error) from None
        if config.train.device != "auto":
            check_engine(mixer, i, torch.device(config.train.device))


def check_tasks(config: RunConfig) -> None:
    """Draw two examples of each task of the user's own, so that a fault in it is found before any training.

    Raises:
        UsageError: a task that raises, gives what is no example, draws otherwise the next time, or would not come back
            from its record as it was.
    """
    tried: list[Any] = []
    for part in ("train", "validation", "test"):
        for i, task in enumerate(getattr(config.data, part)):
            if not task.own or task in tried:
                continue
            tried.append(task)
            try:
                _rehearse(task)
            except ValueError as error:
                raise UsageError(f"data.{part}.{i}: {one_line(str(error))}") from None


def _rehearse(task: Task) -> None:
    fields = {name: value for name, value in task.model_dump(mode="json").items() if name != "name"}
    if load_task(task.name) is not type(task) or type(task)(**fields) != task:
        raise ValueError(f"the task {task.name!r} is not the same after its fields were written and read: {fields}")
    few = task.model_copy(update={"num_examples": min(2, task.num_examples)})
    try:
        first, again = few.build(0), few.build(0)
    except ValueError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == inspect.getfile(type(task))]
        place = f" in line {lines[-1]}" if lines else ""
        raise ValueError(f"_draw of the task {task.name!r} raised {describe(error)}{place}") from error
    if not all(torch.equal(getattr(first, n), getattr(again, n)) for n in ("tokens", "positions", "answers")):
        raise ValueError(f"_draw of the task {task.name!r} must draw from rng and filler alone: it gave other examples")


def check_engine(mixer: nn.Module, layer: int, device: torch.device) -> None:
    """Whether the engine that a mixer asks for can run on ``device``, where the mixer can say so.

    Raises:
        UsageError: it cannot.
    """
    if isinstance(mixer, SequenceMixer):
        try:
            mixer.engine(device)
        except ValueError as error:
            raise _refuse_mixer(layer, error) from None


def _refuse_mixer(place: int, error: ValueError) -> UsageError:
    return UsageError(f"model.mixers.{place}: {one_line(str(error))}")


def check_methods(mixer: nn.Module, name: str) -> None:
    """Whether a mixer has the methods that every run calls.

    Raises:
        MixerError: it has not.
    """
    for method in ("forward", "mix", "state_size", "active_state_size"):
        own = getattr(mixer, method, None)
        if method == "mix" and getattr(mixer.forward, "__func__", None) is not RecurrentMixer.forward:
            continue  # nobody calls it
        if method == "active_state_size" and not hasattr(mixer, method):
            continue  # one from elsewhere need not say
        if getattr(own, "__func__", own) in _MISSING:
            raise MixerError(f"mixer {name!r} does not implement {method}")
        if not callable(own):
            raise MixerError(f"mixer {name!r}: {method} must be a method, got {brief(own)}")


def check_sizes(mixer: Any, name: str, sequence_length: int, outlined: bool = False) -> None:
    """Whether the sizes of a mixer's state are what the record can hold.

    Args:
        mixer: it has the methods.
        name: what the config calls it.
        sequence_length: at which the record has the sizes.
        outlined: there may be no numbers in its tensors: what it raises proves nothing.

    Raises:
        MixerError: one is not, or the mixer raises.
    """
    for method in ("state_size", "active_state_size"):
        if not hasattr(mixer, method):
            continue
        try:
            with raising(name, f"{method}({sequence_length})"):
                size = getattr(mixer, method)(sequence_length)
        except MixerError:
            if outlined:
                continue
            raise
        try:
            _SIZE.validate_python(0 + size)  # the record has the sum over the layers
        except (TypeError, ValueError):
            wanted = f"{method}({sequence_length}) must be a number of elements"
            raise MixerError(f"mixer {name!r}: {wanted}, got {brief(size)}") from None


@contextmanager
def raising(name: str, what: str) -> Iterator[None]:
    """An exception within becomes one line that says what raised it."""
    try:
        yield
    except Exception as error:
        said = textwrap.shorten(str(error), 200)
        raise MixerError(f"mixer {name!r}: {what} raised {type(error).__name__}{said and f': {said}'}") from error
