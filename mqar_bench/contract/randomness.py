"""What a mixer draws, and whether it gives the same bits again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mqar_bench.contract.decode import attempt
from mqar_bench.contract.generators import draws
from mqar_bench.contract.subject import Broken, Subject, forward, mode

#: Batch and length of what is repeated.
SHAPE = (2, 33)


def draws_nothing(subject: Subject) -> None:
    """Whether no random number is drawn in eval mode, by ``forward`` or ``step``: scoring would change training."""
    if whose := draws(subject.make(), subject.input(*SHAPE)):
        raise Broken(f"forward draws from {whose[0]}'s generator of random numbers in eval mode")
    decoded = attempt(subject)
    if decoded is not None and (whose := decoded.drawn):
        raise Broken(f"step draws from {whose[0]}'s generator of random numbers in eval mode")


def begins_the_same(subject: Subject) -> None:
    """Whether the same seed of torch gives the same weights: a run is a function of its config."""
    first, second = subject.build(), subject.build()
    for (name, a), (_, b) in zip(_tensors(first), _tensors(second), strict=True):
        if not _same_bits(a, b):
            raise Broken(f"{name} begins otherwise with the same seed of torch")


def _tensors(mixer: nn.Module) -> list[tuple[str, Tensor]]:
    return [*mixer.named_parameters(), *mixer.named_buffers()]


def repeats(subject: Subject) -> None:
    """Whether the same input gives the same bits: twice in eval mode, and in training with the same seed of torch of
    two that are alike, gradients included."""
    x = subject.input(*SHAPE, dtype=torch.float32)
    mixer = subject.make(dtype=torch.float32)
    with torch.no_grad():
        a, b = forward(mixer, x), forward(mixer, x)
    if not _same_bits(a, b):
        raise Broken(f"the same input gives another output the second time, by up to {_most(a, b):.1e} (in eval mode)")
    runs = []
    for _ in range(2):
        mixer = subject.make(train=True, dtype=torch.float32)
        y = forward(mixer, x)
        parameters = {name: p for name, p in mixer.named_parameters() if p.requires_grad}
        gradients: tuple[Tensor, ...] = ()
        if y.requires_grad:
            gradients = torch.autograd.grad(y.square().sum(), list(parameters.values()), materialize_grads=True)
        runs.append({"the output": y.detach(), **dict(zip(parameters, gradients, strict=False))})
    for name, a in runs[0].items():
        if not _same_bits(a, runs[1][name]):
            what = name if name == "the output" else f"the gradient of {name}"
            raise Broken(f"{what} differs with the same seed, by up to {_most(a, runs[1][name]):.1e} ({mode(True)})")


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _most(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")
