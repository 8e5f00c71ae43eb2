"""Records of earlier forms, brought to today's.

Versions 1 to 3 were written while RAM-Net began otherwise: what its options were by default then is named in what is
read, so that such a run is the same one as before and no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mqar_bench.config import MixerSpec

if TYPE_CHECKING:  # torch is slow to import, and sweeps need none
    from mqar_bench.records.result import RunResult

RAMNETS = "ramnet", "mixers.RAMNet", "mixers.ramnet.RAMNet"
#: What options of RAM-Net that a version 1 record does not name had as values.
RAMNET_1: dict[str, Any] = {
    "output_norm": "rmsnorm",
    "address_init_std": 0.1,
    "anneal": "shrink",
    "normalize_reads": False,
    "address_bias": False,
    "aligned_values": False,
}
#: The same of version 2.
RAMNET_2: dict[str, Any] = {"tied_addresses": False, "output_gain": 0.02}
#: And of version 3.
RAMNET_3: dict[str, Any] = {"address_norm": None, "learnable_temperature": True}


def _train_top_k_1(order: Any = 4, sub_dim: Any = 4, top_k: Any = 8, **_: Any) -> dict[str, int]:
    """Empty where the options are none that RAM-Net takes: such a run has failed."""
    if not all(type(n) is int and 1 <= n < 2**31 for n in (order, sub_dim, top_k)) or order > 31:
        return {}
    slots = sub_dim**order
    return {"train_top_k": max(top_k, min(round(4 * math.sqrt(slots)), slots // 4))}


def first_ramnet(spec: MixerSpec) -> MixerSpec:
    """A mixer as version 1 means it: RAM-Net with what was the default then, any other as it is."""
    return _ramnet_3(_ramnet_2(_ramnet_1(spec)))


def _ramnet_1(spec: MixerSpec) -> MixerSpec:
    return _named(spec, RAMNET_1 | _train_top_k_1(**spec.options))


def _ramnet_2(spec: MixerSpec) -> MixerSpec:
    return _named(spec, RAMNET_2)


def _ramnet_3(spec: MixerSpec) -> MixerSpec:
    return _named(spec, RAMNET_3)


def _named(spec: MixerSpec, defaults: dict[str, Any]) -> MixerSpec:
    """With the defaults named if it is RAM-Net."""
    return spec.model_copy(update={"options": defaults | spec.options}) if spec.name in RAMNETS else spec


def _with(name: Callable[[MixerSpec], MixerSpec], result: RunResult) -> RunResult:
    model = result.config.model
    model = model.model_copy(update={"mixers": tuple(map(name, model.mixers))})
    return result.model_copy(update={"config": result.config.model_copy(update={"model": model})})


#: What brings a record of each version to the next one.
STEPS: dict[int, Callable[[RunResult], RunResult]] = {
    1: partial(_with, _ramnet_1),
    2: partial(_with, _ramnet_2),
    3: partial(_with, _ramnet_3),
}


def upgrade(result: RunResult, version: int) -> RunResult:
    """A record of a version, its form checked already, as it would be written today."""
    while step := STEPS.get(version):
        result, version = step(result), version + 1
    return result
