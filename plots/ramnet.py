"""The settings of RAM-Nets, as ablations see them: options that a config leaves out have the mixer's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

import mixers
from mixers.ramnet.mixer import default_train_top_k
from plots.style import design

NAME = "ramnet"

SETTINGS = (
    "design", "below", "order", "sub_dim", "slots", "top_k", "train_top_k", "head_v_dim", "gamma", "cape", "alpha_init",
    "learnable_temperature", "proxy_gradient", "annealing",
)  # fmt: skip

#: How training comes down to K slots.
ANNEALING = SHRUNK, NEVER, AT_ONCE, FADED = "shrunk to K", "never shrunk", "K throughout", "faded to K"


def settings(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose last mixer is RAM-Net, with the settings of that layer as columns.

    Columns added: ``SETTINGS``. ``design`` is where in the stack it is and whether any layer has CAPE, ``below`` what
    lies below it, both in words; ``slots`` is M, ``train_top_k`` K at the start of training, ``cape`` counts heads,
    ``annealing`` is of ``ANNEALING``.
    """
    frame = frame[frame["stack"].str.split(" ").str[-1] == NAME]
    rows = [_settings(row) for row in frame.to_dict("records")]
    return pd.concat([frame, pd.DataFrame(rows, index=frame.index, columns=list(SETTINGS))], axis=1)


def _settings(row: Mapping[Any, Any]) -> dict[str, Any]:
    layer = options(row, "")
    slots = layer["sub_dim"] ** layer["order"]
    train_top_k = layer["train_top_k"]
    head_v_dim = layer["head_v_dim"]
    names = row["stack"].split(" ")[:-1]
    if train_top_k is None:
        train_top_k = default_train_top_k(slots, layer["top_k"])
    at_once, never = train_top_k == layer["top_k"], layer["anneal_start"] >= 1
    cape = [_cape_heads(layer), *(_cape_heads(options(row, f"{i}.")) for i, n in enumerate(names) if n == NAME)]
    return {
        "design": design(row["stack"]) + (", with CAPE" if any(cape) else ""),
        "below": ", ".join(_describe(row, i, name) for i, name in enumerate(names)) or "nothing",
        "slots": slots,
        "cape": cape[0],
        "train_top_k": train_top_k,
        "annealing": AT_ONCE if at_once else NEVER if never else SHRUNK if layer["anneal"] == "shrink" else FADED,
        "head_v_dim": max(1, row["d_model"] // layer["num_heads"]) if head_v_dim is None else head_v_dim,
        **{name: layer[name] for name in ("order", "sub_dim", "top_k", "gamma", "alpha_init")},
        **{name: bool(layer[name]) for name in ("learnable_temperature", "proxy_gradient")},
    }


def options(row: Mapping[Any, Any], layer: str) -> dict[str, Any]:
    """All options of a RAM-Net; ``layer`` is what ``to_frame`` puts before their names."""
    found = {}
    for option in mixers.describe(NAME):
        value = row.get(f"option.{layer}{option.name}")
        found[option.name] = option.default if value is None or pd.isna(value) else value
    return found


def _describe(row: Mapping[Any, Any], i: int, name: str) -> str:
    if name != NAME:
        return design(f"{name} {NAME}").removeprefix("after ")
    heads = _cape_heads(options(row, f"{i}."))
    return f"RAM-Net, CAPE in {heads} head{'' if heads == 1 else 's'}" if heads else "RAM-Net without CAPE"


def _cape_heads(options: dict[str, Any]) -> int:
    cape = options["cape"]
    return int(options["num_heads"]) if cape is True else int(cape)
