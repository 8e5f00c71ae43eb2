"""The contract every sequence mixer keeps.

A mixer maps ``[B, T, d_model]`` to ``[B, T, d_model]`` causally, and can do the same one token at a time from
a state. It knows nothing of the harness, so it also works wherever a module called as
``Mixer(d_model=..., layer_idx=..., **options)`` is expected (Zoology's convention).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mixers.checks import MAX_WIDTH, check_size

#: What decoding carries: named tensors, each with the batch as its first dimension.
State = dict[str, Tensor]


class EngineChoice(NamedTuple):
    """The engine that computes a mixer, ``torch`` for plain PyTorch, and why not the device's fastest (None: it is)."""

    name: str
    reason: str | None = None


class TensorKind(NamedTuple):
    """What the choice of an engine looks at in a tensor, without the tensor; its device need not be there."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class SequenceMixer(nn.Module):
    """Base class of all mixers.

    Subclasses take ``(d_model, layer_idx=None, **options)``, every option with a default that works at
    d_model 64, and implement ``forward``, ``init_state``, ``step`` and ``state_size``, and ``active_state_size`` where
    a token does not touch all of the state. What is missing raises NotImplementedError, which names class and method.

    One that adds to the training loss also has ``get_auxiliary_loss()``, which returns a scalar for the last
    ``forward`` (Zoology's convention), or in training ``prefill``; others need not have it.
    """

    def __init__(self, d_model: int, layer_idx: int | None = None) -> None:
        super().__init__()
        check_size(1, MAX_WIDTH, d_model=d_model)
        self.d_model = d_model
        self.layer_idx = layer_idx

    def forward(self, x: Tensor) -> Tensor:
        """Mix a whole sequence: ``[B, T, d_model] -> [B, T, d_model]``, causal."""
        raise _missing(self, "forward")

    def init_state(self, batch: int) -> State:
        """The state before the first token, on the parameters' device."""
        raise _missing(self, "init_state")

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """Mix one token: ``[B, d_model], state -> [B, d_model], state``; the outputs equal ``forward``'s.

        Go on with the state returned: the one given may have been updated in place if gradients are off.
        """
        raise _missing(self, "step")

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Mix a piece of a sequence, ``[B, T, d_model]``, from ``state`` (default: the first token's), and return
        the outputs with the state that ``step`` goes on from. T at least 1.

        Here one ``step`` per token; mixers with a parallel form that keeps the state override it.
        """
        if state is None:
            state = self.init_state(len(x))
        outputs = []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1), state

    def state_size(self, sequence_length: int) -> int:
        """Elements carried per sequence after ``sequence_length`` tokens: what ``step``'s state really holds."""
        raise _missing(self, "state_size")

    def active_state_size(self, sequence_length: int) -> int:
        """Elements of the state read or written per token at ``sequence_length``; here all of them."""
        return self.state_size(sequence_length)

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        """What would compute ``forward``, or with ``decoding`` ``step``, if parameters and inputs were ``dtype`` on
        ``device``. Needs no data, nor the device. Mixers whose operations choose an engine ask that choice, for a
        sequence of some length: that of a few tokens may fall to another.

        Raises:
            ValueError: the engine asked for cannot run there.
        """
        return EngineChoice("torch")

    def set_training_progress(self, progress: float) -> None:
        """Told before every training step which fraction (0 to 1) of training is done; for schedules."""

    def _zeros(self, *shape: int) -> Tensor:
        """Zeros of the parameters' device and dtype; ``ValueError`` where there are none."""
        like = next(self.parameters(), None)
        if like is None:
            raise ValueError(f"{type(self).__name__} has no parameters to take its state's device and dtype from")
        return like.new_zeros(shape)


class RecurrentMixer(SequenceMixer):
    """A mixer whose parallel form starts from any state and keeps it: implement ``mix``, and the rest follows."""

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """``[B, T, d_model]`` from ``state`` (None: before the first token) to the outputs and the state after them.

        Must not change ``state``. ``step`` calls it with T = 1, which should not cost more than one step.
        """
        raise _missing(self, "mix")

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x, None)[0]

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self.mix(x, state)

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.mix(x_t.unsqueeze(1), state)
        return y.squeeze(1), state


def _missing(mixer: SequenceMixer, method: str) -> NotImplementedError:
    return NotImplementedError(f"{type(mixer).__name__} does not implement {method}")


def init_linear(*layers: nn.Linear, std: float = 0.02) -> None:
    """Normal weights and zero biases, the initialisation of Zoology and of fla's language models."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in 32 bits if it has fewer."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def state_elements(state: State) -> int:
    """Elements per sequence that a state holds (the batch dimension divided out)."""
    return sum(t.numel() // t.shape[0] for t in state.values())
