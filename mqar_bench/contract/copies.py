"""A mixer is its parameters and buffers: saved, copied, pickled and moved it stays the same."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import nn

from mqar_bench.basics.errors import describe
from mqar_bench.contract.subject import TOLERANCE, Broken, Note, Subject, forward
from mqar_bench.training.contract import save_and_load

SHAPE = (2, 33)


def saves(subject: Subject) -> None:
    """Whether a mixer made anew gives the same bits once it has loaded the ``state_dict``, as checkpoints keep it."""
    mixer = subject.make(dtype=torch.float32)
    other = subject.build(seed=1).eval()
    save_and_load(mixer, other, subject.name)
    _compare(subject, mixer, other, torch.float32, "loaded from its state_dict")


def copies(subject: Subject) -> None:
    """Whether ``copy.deepcopy`` and ``pickle`` give a mixer with the same outputs."""
    mixer = subject.make()
    try:
        copied = copy.deepcopy(mixer)
    except Exception as error:
        raise Broken(f"copy.deepcopy raised {describe(error)}{_culprit(mixer, copy.deepcopy)}") from error
    _compare(subject, mixer, copied, subject.dtype, "copied")
    try:
        pickled = pickle.dumps(mixer)
    except Exception as error:
        raise Broken(f"pickle raised {describe(error)}{_culprit(mixer, pickle.dumps)}") from error
    try:
        unpickled = pickle.loads(pickled)
    except Exception as error:
        raise Broken(f"unpickling raised {describe(error)}") from error
    _compare(subject, mixer, unpickled, subject.dtype, "pickled and unpickled")


def _compare(subject: Subject, mixer: nn.Module, other: nn.Module, dtype: torch.dtype, how: str) -> None:
    x = subject.input(*SHAPE, dtype=dtype)
    with torch.no_grad():
        a, b = forward(mixer, x), forward(other, x)
    if not torch.equal(a, b):
        raise Broken(f"{how} it gives other outputs, by up to {float((a - b).abs().max()):.1e}")


def _culprit(mixer: nn.Module, takes) -> str:
    """The attribute that cannot be taken, if it is one."""
    for path, module in mixer.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") and name in vars(nn.Module()):
                continue
            try:
                takes(value)
            except Exception:
                return f" (attribute {f'{path}.{name}' if path else name})"
    return ""


def moves(subject: Subject) -> str | None:
    """Whether all of it follows ``.to(dtype)``, so that it works in float64, and ``.to(device)``."""
    mixer = subject.build().eval()
    fixed = [
        f"{path}.{name}" if path else name
        for path, module in mixer.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    ]
    stays = f"{', '.join(fixed)} is a tensor but neither parameter nor buffer, so it stays where .to() moves the rest"
    instead = f"all is compared in float32, to {TOLERANCE[torch.float32]:g}"
    try:
        x = subject.input(2, 17, dtype=torch.float64)
        y = forward(mixer.double(), x)
    except Broken as error:
        if fixed:
            raise Broken(f"{stays}: of float64, {error}") from error
        return Note(f"{instead}: of float64, {error}")
    if y.dtype != torch.float64:
        return Note(f"{instead}: forward returns {y.dtype} for float64")
    return Note(stays) if fixed else None
