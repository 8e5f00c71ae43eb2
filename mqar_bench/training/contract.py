"""What training and the record need of a mixer, asked for before the first step, so that no run is lost for it later.

The mixers of this package are tested for it. Of any other a copy is tried, on the shortest and the longest sequences of
the run, which is little next to a step; neither the mixer nor any generator of random numbers notices. ``mqar-bench
check`` asks the same, of any mixer, and more (``mqar_bench.contract``).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import mixers
from mixers import MixerError
from mixers.checks import brief
from mqar_bench.config import RunConfig
from mqar_bench.config.check import check_methods, check_sizes, raising
from mqar_bench.training.checkpoint import read_back
from mqar_bench.training.data import TaskData
from mqar_bench.training.model import Block, LanguageModel, auxiliary_losses, count_parameters, find_prefill
from mqar_bench.training.weights import check_tensors


def check_model(model: LanguageModel, config: RunConfig, data: TaskData, saved: bool, kept: bool = False) -> None:
    """Whether every mixer of a model does what training, scoring, checkpoints and the record will ask of it.

    Args:
        model: before its first step, on the device of the run.
        config: the run.
        data: its task data.
        saved: whether checkpoints may be taken.
        kept: whether the trained weights are to be kept.

    Raises:
        MixerError: one does not; one line that names the mixer and the method.
        Exception: what a mixer raises in a training step, as it is.
    """
    for layer, block in enumerate(model.blocks):
        place = layer % len(config.model.mixers)
        name = config.model.mixers[place].name
        try:
            check_methods(block.sequence_mixer, name)
            check_sizes(block.sequence_mixer, name, config.sequence_length)
            if kept:
                _check_tensors(block.sequence_mixer, name)
            if config.train.segments.size:
                _check_carries(block.sequence_mixer, name)
            if type(block.sequence_mixer).__module__.partition(".")[0] != mixers.__name__:
                _rehearse(block, layer, config, data, saved)
        except MixerError as error:
            raise MixerError(f"model.mixers.{place}: {error}") from error.__cause__


def _rehearse(block: Block, layer: int, config: RunConfig, data: TaskData, saved: bool) -> None:
    """Whether a copy of a block's mixer can be trained, scored, saved and loaded."""
    spec = config.model.mixers[layer % len(config.model.mixers)]
    name, device = spec.name, block.norm1.weight.device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bfloat16")
    with aside(device):
        try:
            mixer = copy.deepcopy(block.sequence_mixer)
        except Exception:  # it holds what cannot be copied
            mixer = mixers.build(name, config.model.d_model, layer, **spec.options).to(device)
        mixer.train()
        tell_progress(mixer, name, 0.0)
        shortest = min(segment.tokens.shape[1] for segment in data.train)
        with autocast:
            x = _input(block, 2, shortest).requires_grad_().clone()  # no leaf in training either
            y = _read(mixer, x, config.train.segments.size)
        check_output(name, y, x)
        check_gradient(mixer, name, y)
        loss = y.float().square().mean() + sum(ask_auxiliary_losses(mixer, name))
        if loss.requires_grad:
            loss.backward()
        with raising(name, "counting its parameters after forward"):
            count_parameters(mixer)
        mixer.eval()
        longest = max(segment.tokens.shape[1] for segment in (*data.validation, *data.test))
        with torch.no_grad(), autocast:
            x = _input(block, 1, longest)
            with raising(name, f"forward, when scoring {list(x.shape)},"):
                y = mixer(x)
        check_output(name, y, x)
        if saved:
            save_and_load(mixer, mixer, name)


def _check_carries(mixer: nn.Module, name: str) -> None:
    try:
        find_prefill(mixer)
    except TypeError as error:
        raise MixerError(f"mixer {name!r}: {error}; train.segments.size 0 trains it on whole sequences") from None


def _read(mixer: nn.Module, x: Tensor, size: int) -> Tensor:
    """As training does: whole, or in segments of so many tokens, of which two are enough."""
    if not size:
        return cast(Tensor, mixer(x))
    outputs, state = [], None
    for piece in x.split(min(size, -(-x.shape[1] // 2)), 1):
        y, state = find_prefill(mixer)(piece, state)
        outputs.append(y)
    return torch.cat(outputs, 1)


def _check_tensors(mixer: nn.Module, name: str) -> None:
    try:
        check_tensors(mixer.state_dict())
    except TypeError as error:
        raise MixerError(f"mixer {name!r}: {error}") from None


def _input(block: Block, batch: int, length: int) -> Tensor:
    """``[batch, length, d_model]``, as a block gives it to its mixer."""
    weight = block.norm1.weight
    residual = torch.randn(batch, length, len(weight), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return block.norm1(residual.to(weight.device))


def tell_progress(mixer: Any, name: str, progress: float) -> None:
    """Tell a mixer how much of training is done, if it wants to know; ``MixerError`` if it raises."""
    if hasattr(mixer, "set_training_progress"):
        with raising(name, f"set_training_progress({progress})"):
            mixer.set_training_progress(progress)


def check_output(name: str, y: Any, x: Tensor) -> None:
    """Whether the output can be added to the residual, of which ``x`` has shape and dtype, and that stays as it is.

    Raises:
        MixerError: it cannot.
    """
    if not isinstance(y, Tensor):
        raise MixerError(f"mixer {name!r}: forward must return a tensor, got {brief(y)}")
    fits = y.is_floating_point() and torch.promote_types(y.dtype, torch.float32) == torch.float32
    if y.shape != x.shape or not fits:
        got = f"{list(y.shape)} of {y.dtype}"
        raise MixerError(f"mixer {name!r}: forward must return {list(x.shape)} of float32 or less, got {got}")


def check_gradient(mixer: nn.Module, name: str, y: Tensor) -> None:
    """Whether the parameters of a mixer, if there are any to train, can be trained by its output ``y``.

    Raises:
        MixerError: they cannot.
    """
    if not y.requires_grad and any(p.requires_grad for p in mixer.parameters()):
        raise MixerError(f"mixer {name!r}: forward gives no gradient, so that its parameters would not be trained")


def ask_auxiliary_losses(mixer: nn.Module, name: str) -> list[Any]:
    """What the parts of a mixer add to the training loss after ``forward``; ``MixerError`` if one is not one number."""
    with raising(name, "get_auxiliary_loss()"):
        losses: list[Any] = auxiliary_losses(mixer)
    for loss in losses:
        if not (isinstance(loss, int | float) or (isinstance(loss, Tensor) and loss.numel() == 1)):
            raise MixerError(f"mixer {name!r}: get_auxiliary_loss() must be one number, got {brief(loss)}")
    return losses


def save_and_load(mixer: nn.Module, into: nn.Module, name: str) -> None:
    """Put into another mixer, or the same, what a checkpoint holds of one.

    Raises:
        MixerError: its ``state_dict`` cannot be had, saved, read back or loaded.
    """
    with raising(name, "state_dict()"):
        state = mixer.state_dict()
    try:
        state = read_back(state, "its")
    except TypeError as error:
        raise MixerError(f"mixer {name!r}: {error}") from None
    with raising(name, "load_state_dict, given what a checkpoint holds,"):
        into.load_state_dict(state)


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Without a trace: generators of random numbers are put back, and nothing is compiled for these shapes."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
