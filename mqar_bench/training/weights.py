"""A trained model to the bytes of a file, and back; ``records.weights`` says what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mixers import MixerError
from mqar_bench.basics.errors import UsageError, one_line
from mqar_bench.basics.files import write_atomically
from mqar_bench.config import ModelConfig, RunConfig
from mqar_bench.records.result import RunResult
from mqar_bench.records.weights import Weights, add_header, read_weights
from mqar_bench.training.device import pick_device
from mqar_bench.training.model import LanguageModel


def encode_weights(model: LanguageModel, result: RunResult) -> bytes:
    """A file with a model's ``state_dict`` and the record of the run that trained it.

    Raises:
        TypeError: there is something else than tensors in it; names it.
    """
    state = model.state_dict()
    check_tensors(state)
    # each name has memory of its own: what shares some in the model would be refused
    whole = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    return add_header(safetensors.torch.save(whole), result)


def check_tensors(state: dict[str, Any]) -> None:
    """Whether all of a ``state_dict`` can be kept.

    Raises:
        TypeError: it holds something else than plain tensors; names it.
    """
    for name, value in state.items():
        kind = type(value).__name__
        if isinstance(value, Tensor):
            kind = f"tensor of {value.dtype}, {value.layout}"
            if value.layout is torch.strided and _has_form(value.dtype):
                continue
        raise TypeError(f"{name} in its state_dict is a {kind}, and only plain tensors can be kept as weights")


def save_weights(path: Path, model: LanguageModel, result: RunResult) -> None:
    """Write ``encode_weights``, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, encode_weights(model, result))


def load_weights(
    path: Path, device: torch.device | str, config: RunConfig | None = None
) -> tuple[LanguageModel, Weights]:
    """The model in a file, in evaluation mode on ``device``, and what the file says of it.

    Args:
        path: as a run with ``--save-weights`` or ``mqar-bench trace`` wrote it.
        device: where to.
        config: the run that it must be of, if it must.

    Raises:
        UsageError: there is no such file, it holds no weights or those of another run, a mixer is not there, or they
            do not fit the model.
    """
    weights, data = read_weights(path)
    if config is not None and weights.config.run_id != config.run_id:
        raise UsageError(f"{path} has the weights of run {weights.config.run_id}, not of {config.run_id}")
    try:
        state = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise UsageError(f"{path} is no file of weights: {one_line(str(error))}") from None
    model = _build(weights.config.model, path)
    if problem := _misfit(model, state):
        raise UsageError(f"the weights in {path} do not fit the model: {problem}; a mixer's code has changed since")
    model.load_state_dict(state)
    return model.eval().to(device), weights


def load_model(path: Path | str, device: torch.device | str = "cpu") -> LanguageModel:
    """A trained model from its file: int64 tokens ``[B, T]`` -> float32 logits ``[B, T, vocab]``.

    In evaluation mode, with parameters as they were trained (float32, also of a run with ``train.precision`` bfloat16,
    which is autocast). The logits at a query are for its answer. Mixers that the config names by a dotted path are
    imported, as by a run; nothing in the file itself is executed.

    Args:
        path: as a run with ``--save-weights`` or ``mqar-bench trace`` wrote it.
        device: where to.

    Raises:
        UsageError: (a ValueError) as ``load_weights``, or the device is not there.
    """
    if str(device) in ("auto", "cuda"):
        try:
            device = pick_device(str(device))
        except ValueError:
            raise UsageError("device is cuda, but torch sees no CUDA device; use cpu or auto") from None
    return load_weights(Path(path), device)[0]


def _has_form(dtype: torch.dtype) -> bool:
    """Whether the library has a form for tensors of a dtype."""
    try:
        safetensors.torch.save({"": torch.empty(0, dtype=dtype)})
    except (KeyError, RuntimeError):
        return False
    return True


def _build(config: ModelConfig, path: Path) -> LanguageModel:
    try:
        with torch.random.fork_rng(devices=[]):
            return LanguageModel(config)
    except MixerError as error:
        raise UsageError(f"the model in {path} cannot be built: {one_line(str(error))}") from None


def _misfit(model: LanguageModel, state: dict[str, Tensor]) -> str:
    """The first name or shape by which a ``state_dict`` is not the model's; empty if it is."""
    there = model.state_dict()
    for name in (*there, *(name for name in state if name not in there)):
        if name not in state:
            return f"{name} is missing"
        if name not in there:
            return f"it has no {name}"
        mine, theirs = (tuple(getattr(of[name], "shape", ())) for of in (there, state))
        if mine != theirs:
            return f"{name} has shape {list(theirs)}, and the model's has {list(mine)}"
    return ""
