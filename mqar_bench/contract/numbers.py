"""What comes out: its shape and dtype, finite numbers, and gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mqar_bench.contract.decode import attempt
from mqar_bench.contract.subject import LENGTHS, Broken, NotApplicable, Note, Subject, call, forward, mode
from mqar_bench.training.contract import (
    ask_auxiliary_losses,
    check_gradient,
    check_output,
    tell_progress,
)

#: Inputs of training are normal numbers, after a norm; these are far from them.
SCALES = (1e-3, 1.0, 1e3)
#: Batch and length where gradients are asked for.
SHAPE = (2, 37)
LONG = (256, 1024)


def keeps_shape(subject: Subject) -> None:
    """Whether the output has shape and dtype of the input, and is finite, at every size."""
    for dtype in dict.fromkeys((torch.float32, subject.dtype)):
        mixer = subject.make(dtype=dtype)
        for batch in (1, 2, 3):
            for length in LENGTHS:
                x = subject.input(batch, length, dtype=dtype)
                with torch.no_grad():
                    y = call(mixer, x)
                where = f"(B {batch}, T {length})"
                if dtype == torch.float32:
                    check_output(subject.name, y, x)
                if y.shape != x.shape or y.dtype != dtype:
                    raise Broken(f"forward returns {list(y.shape)} of {y.dtype} for {dtype} {where}")
                if not bool(y.isfinite().all()):
                    raise Broken(f"the output is not finite for normal numbers {where}")


def keeps_input(subject: Subject) -> None:
    """Whether neither ``forward`` nor ``step`` writes over its input."""
    for train in (False, True):
        mixer = subject.make(train)
        for length in (1, 17):
            x = subject.input(2, length)
            given = x.clone()
            with torch.no_grad():
                mixer(given)
            if not torch.equal(x, given):
                raise Broken(f"forward writes over its input ({mode(train)}, T {length})")
    decoded = attempt(subject)
    if decoded is not None and not decoded.input_kept:
        raise Broken("step writes over its input")


def trains(subject: Subject) -> str | None:
    """Whether what a training step asks for is there: a gradient, and progress and auxiliary loss if it has them."""
    mixer = subject.build().train()
    for progress in (0.0, 0.5, 1.0):
        tell_progress(mixer, subject.name, progress)
    y = forward(mixer, subject.input(*SHAPE, dtype=torch.float32).requires_grad_())
    check_gradient(mixer, subject.name, y)
    losses = ask_auxiliary_losses(mixer, subject.name)
    loss = y.square().mean() + sum(losses)
    if loss.requires_grad:
        loss.backward()
    return "get_auxiliary_loss() is added to the loss" if losses else None


def reaches_parameters(subject: Subject) -> str | None:
    """Whether the gradient of every parameter is finite; a note of those that have none, or zeros."""
    mixer = subject.make(train=True)
    parameters = {name: p for name, p in mixer.named_parameters() if p.requires_grad}
    if not parameters:
        raise NotApplicable("it has no parameters to train")
    for p, gradient in _gradients(mixer, subject.input(*SHAPE), subject).items():
        if not bool(gradient.isfinite().all()):
            raise Broken(f"the gradient of {p} is not finite ({mode(True)}, T {SHAPE[1]})")
        if p in parameters and bool(gradient.any()):
            del parameters[p]
    if parameters:
        return Note(
            f"without gradient, so never trained, {'is' if len(parameters) == 1 else 'are'} {', '.join(parameters)}"
        )
    return None


def stays_finite(subject: Subject) -> str:
    """Whether outputs and gradients are finite in float32 for small and large inputs, and outputs for long ones, with
    the weights that training begins with."""
    for scale in SCALES:
        mixer = subject.build().train()
        tell_progress(mixer, subject.name, 0.0)
        for name, gradient in _gradients(mixer, scale * subject.input(*SHAPE, dtype=torch.float32), subject).items():
            if not bool(gradient.isfinite().all()):
                what = name if name == "the output" else f"the gradient of {name}"
                raise Broken(f"{what} is not finite for inputs times {scale:g} ({mode(True)}, T {SHAPE[1]})")
    mixer = subject.build().eval()
    for length in LONG:
        with torch.no_grad():
            y = forward(mixer, subject.input(1, length, dtype=torch.float32))
        if not bool(y.isfinite().all()):
            t = int(torch.nonzero(~y.isfinite().all(-1)[0])[0])
            raise Broken(f"the output is not finite at token {t} ({mode(False)}, T {length})")
    return f"inputs times {', '.join(f'{scale:g}' for scale in SCALES)}, and up to {max(LONG):,} tokens"


def _gradients(mixer: nn.Module, x: Tensor, subject: Subject) -> dict[str, Tensor]:
    """The output, and the gradients of it times random numbers by parameter and of the input; those that are there."""
    x = x.requires_grad_()
    y = forward(mixer, x)
    found = {"the output": y.detach()}
    if y.requires_grad:
        cotangent = subject.input(*SHAPE, seed=2, dtype=x.dtype)
        given = {"the input": x, **{name: p for name, p in mixer.named_parameters() if p.requires_grad}}
        gradients = torch.autograd.grad(y, list(given.values()), cotangent, allow_unused=True)
        found |= {name: g for name, g in zip(given, gradients, strict=True) if g is not None}
    return found
