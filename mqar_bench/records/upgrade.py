"""Records of earlier forms, brought to today's.

Version 1 was written while RAM-Net began otherwise: what its options were by default then is named in what is read, so
that such a run is the same one as before and no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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


def _train_top_k_1(order: Any = 4, sub_dim: Any = 4, top_k: Any = 8, **_: Any) -> dict[str, int]:
    """Empty where the options are none that RAM-Net takes: such a run has failed."""
    if not all(type(n) is int and 1 <= n < 2**31 for n in (order, sub_dim, top_k)) or order > 31:
        return {}
    slots = sub_dim**order
    return {"train_top_k": max(top_k, min(round(4 * math.sqrt(slots)), slots // 4))}


def ramnet_1(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a RAM-Net in a version 1 record, with what was the default then."""
    return RAMNET_1 | _train_top_k_1(**options) | options


def _from_1(values: dict[str, Any]) -> dict[str, Any]:
    for spec in values["config"].get("model", {}).get("mixers", []):
        if spec["name"] in RAMNETS:
            spec["options"] = ramnet_1(spec.get("options", {}))
    return values


#: What brings a record of each version to the next one.
STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """A record's values, of a version in ``STEPS``, as they would be written today; changed in place.

    Only for what is known to be a record: the config is taken to be a valid one.
    """
    while step := STEPS.get(values["schema_version"]):
        values = step(values) | {"schema_version": values["schema_version"] + 1}
    return values
