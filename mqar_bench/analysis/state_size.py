"""How much state a model carries and touches, counted layer by layer.

The counts are the mixers' own ``state_size`` and ``active_state_size``, which are tested against the tensors that
decoding really carries: a convolution of k taps counts k - 1 inputs, RAM-Net's normaliser z counts with S.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mixers.registry import outline
from mqar_bench.analysis.zoology_sizes import zoology_state_size
from mqar_bench.config import MixerSpec, ModelConfig

#: Bytes of a float32, in which states are kept.
ELEMENT_BYTES = 4


@dataclass(frozen=True)
class LayerSize:
    """One kind of layer of a model, and how many of it there are.

    ``total`` and ``active`` are elements of one such layer; None where a convention does not count it.
    """

    layers: tuple[int, ...]
    mixer: MixerSpec
    total: int | None
    active: int | None


@dataclass(frozen=True)
class ModelSize:
    """A model's layers, and their sums (None as soon as one layer has none)."""

    name: str
    sequence_length: int
    layers: tuple[LayerSize, ...]

    @property
    def total(self) -> int | None:
        return _sum((len(layer.layers), layer.total) for layer in self.layers)

    @property
    def active(self) -> int | None:
        return _sum((len(layer.layers), layer.active) for layer in self.layers)


def _sum(parts) -> int | None:
    total = 0
    for count, size in parts:
        if size is None:
            return None
        total += count * size
    return total


def count_state(model: ModelConfig, sequence_length: int, name: str = "", convention: str = "counted") -> ModelSize:
    """Count a model's state after ``sequence_length`` tokens.

    Args:
        model: its mixers are built (layers of the same mixer and options once), its other parts are not.
        sequence_length: matters where the state grows.
        name: of the model, for display.
        convention: ``counted``, or ``zoology``: the total as Zoology's ``state_size`` methods give it, which has no
            active state.

    Raises:
        mixers.MixerError: a mixer that does not exist or cannot take its options.
        ValueError: another convention.
    """
    if convention not in ("counted", "zoology"):
        raise ValueError(f"no convention named {convention!r}: there is counted, zoology")
    places: dict[str, list[int]] = {}
    specs: dict[str, MixerSpec] = {}
    for layer in range(model.n_layers):
        spec = model.mixers[layer % len(model.mixers)]
        key = spec.model_dump_json()
        specs[key] = spec
        places.setdefault(key, []).append(layer)
    rows = []
    for key, layers in places.items():
        spec = specs[key]
        with torch.random.fork_rng(devices=[]):  # building draws weights that nobody will see
            mixer = outline(spec.name, model.d_model, layers[0], **spec.options)
        if convention == "zoology":
            total, active = zoology_state_size(spec.name, mixer, sequence_length), None
        else:
            total, active = (
                _ask(mixer.state_size, sequence_length),
                _ask(getattr(mixer, "active_state_size", None), sequence_length),
            )
        rows.append(LayerSize(tuple(layers), spec, total, active))
    return ModelSize(name, sequence_length, tuple(rows))


def _ask(method: Callable[[int], int] | None, sequence_length: int) -> int | None:
    """A mixer from elsewhere need not say what it touches."""
    return None if method is None else method(sequence_length)
