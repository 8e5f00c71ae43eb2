"""Decoding: ``init_state`` and ``step`` give what ``forward`` gives, from every state that ``prefill`` leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mixers.base import RecurrentMixer, SequenceMixer
from mixers.checks import brief
from mqar_bench.contract.generators import drawn_since, states
from mqar_bench.contract.subject import LENGTHS, Broken, NotApplicable, Subject, forward

#: Sequences that are decoded at once.
BATCH = 2
#: Lengths beside ``LENGTHS`` at which ``forward`` is compared: two chunks of 64 and a little.
LONGER = (130,)
#: Tokens before which ``prefill`` ends and ``step`` goes on.
PREFIXES = (1, 17, 64, 65)
#: Tokens of the second piece.
PIECE = 20


@dataclass(frozen=True)
class Decoded:
    """What came of decoding one token at a time.

    Args:
        outputs: ``[B, T, d_model]``.
        states: for each number of tokens so far, 0 to T, the state's shapes by name; or the text of what is wrong.
        input_kept: whether ``step`` left its input as it was.
        drawn: whose generators of random numbers it drew from.
    """

    outputs: Tensor
    states: list[dict[str, tuple[int, ...]] | str]
    input_kept: bool
    drawn: list[str]


def decode(subject: Subject) -> Decoded:
    """Decode once; what comes of it is kept.

    Raises:
        NotApplicable: it has no ``step``.
        Broken: it cannot.
    """
    if "decoded" not in subject.kept:
        subject.kept["decoded"] = _decode(subject)
    decoded: Decoded = subject.kept["decoded"]
    return decoded


def attempt(subject: Subject) -> Decoded | None:
    """``decode``, or None where that fails, which the property ``step`` tells."""
    try:
        return decode(subject)
    except Exception:
        return None


def _decode(subject: Subject) -> Decoded:
    mixer = subject.make()
    if not has(mixer, "step"):
        raise NotApplicable("it has no step")
    if not has(mixer, "init_state"):
        raise Broken("it has step, but no init_state to begin from")
    x = subject.input(BATCH, subject.longest)
    given, outputs, before = x.clone(), [], states()
    with torch.no_grad():
        state = mixer.init_state(BATCH)  # type: ignore[operator]
        shapes = [_shapes(state)]
        for t in range(subject.longest):
            y, state = _step(mixer, given[:, t], state, t)
            outputs.append(y)
            shapes.append(_shapes(state))
    return Decoded(torch.stack(outputs, 1), shapes, torch.equal(x, given), drawn_since(before))


def _step(mixer: Any, x_t: Tensor, state: Any, t: int) -> tuple[Tensor, Any]:
    try:
        result = mixer.step(x_t, state)
    except Exception as error:
        raise Broken(f"step raised {type(error).__name__} at token {t}: {error}") from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        raise Broken(f"step must return an output and a state, got {brief(result)}")
    if result[0].shape != x_t.shape:
        raise Broken(f"step must return {list(x_t.shape)}, got {list(result[0].shape)}")
    return result


def _shapes(state: Any) -> dict[str, tuple[int, ...]] | str:
    """The shapes in a state by name, or what is wrong with it."""
    if not (isinstance(state, dict) and all(isinstance(tensor, Tensor) for tensor in state.values())):
        return f"the state must be a dict of tensors by name, got {brief(state)}"
    for name, tensor in state.items():
        if tensor.shape[:1] != (BATCH,):
            return f"{name!r} in the state must have the batch, {BATCH}, as its first dimension: {list(tensor.shape)}"
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def has(mixer: nn.Module, method: str) -> bool:
    """Whether a mixer has a method that does something."""
    own = getattr(type(mixer), method, None)
    if own is None or own is getattr(SequenceMixer, method, None):
        return False
    return own is not getattr(RecurrentMixer, method, None) or type(mixer).mix is not RecurrentMixer.mix  # type: ignore[attr-defined]


def step_equals_forward(subject: Subject) -> str:
    """Whether decoding token by token gives ``forward``'s outputs, from the first token on and after ``prefill``."""
    outputs = decode(subject).outputs
    mixer: Any = subject.make()
    x = subject.input(BATCH, subject.longest)
    with torch.no_grad():
        for length in sorted({*LENGTHS, *LONGER, subject.longest}):
            whole = forward(mixer, x[:, :length])
            _compare(subject, outputs[:, :length], whole, 0, f"step differs from forward at token {{}} (T {length}")
        if hasattr(mixer, "prefill"):
            whole = forward(mixer, x[:, : max(PREFIXES) + PIECE + 2])
            for length in PREFIXES:
                _check_pieces(subject, mixer, x, whole, length)
    return f"to {subject.tolerance:g}, up to {subject.longest} tokens"


def _check_pieces(subject: Subject, mixer: Any, x: Tensor, whole: Tensor, length: int) -> None:
    """``prefill`` to ``length``, a step, ``prefill`` from there, a step."""
    second = length + 1
    end = second + PIECE
    y, state = mixer.prefill(x[:, :length].clone())
    _compare(subject, y, whole[:, :length], 0, f"prefill differs from forward at token {{}} (of {length}")
    y, state = _step(mixer, x[:, length].clone(), state, length)
    _compare(
        subject, y[:, None], whole[:, length:second], length, f"step after prefill of {length} differs (token {{}}"
    )
    y, state = mixer.prefill(x[:, second:end].clone(), state)
    _compare(subject, y, whole[:, second:end], second, "prefill from a state differs from forward (token {}")
    y, _ = _step(mixer, x[:, end].clone(), state, end)
    _compare(subject, y[:, None], whole[:, end : end + 1], end, "step after prefill from a state differs (token {}")


def _compare(subject: Subject, found: Tensor, expected: Tensor, first: int, text: str) -> None:
    """Whether outputs are equal, relative to the largest so far; the first that is not is named in ``text``, counted
    from ``first``."""
    if found.shape != expected.shape:
        raise Broken(f"{text.format(first)}): its shape is {list(found.shape)}, not {list(expected.shape)}")
    scale = expected.abs().amax((0, 2)).cummax(0).values.clamp(min=torch.finfo(expected.dtype).tiny)
    apart = (found - expected).abs().amax((0, 2)) / scale
    wrong = torch.nonzero(~(apart <= subject.tolerance)).flatten().tolist()
    if wrong:
        raise Broken(f"{text.format(first + wrong[0])}, by {float(apart[wrong[0]]):.1e} of it)")
