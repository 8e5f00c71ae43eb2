"""Language models by name: those of RAM-Net's Table 2, and small ones of the same kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mqar_bench.basics.errors import UsageError, hint
from mqar_bench.config.presets import table2
from mqar_bench.language.config import RecallConfig

#: The paper's names for its models.
_OF_TABLE2 = {
    "transformer": "Transformer++",
    "gla": "GLA",
    "hgrn2": "HGRN2",
    "gated-delta-net": "GDN",
    "mamba2": "Mamba2",
    "ramnet": "RAM-Net (Top-8)",
}
#: What makes RAM-Net the paper's, without this package's recipe.
_PAPER = {
    "train_top_k": 8, "normalize_reads": False, "address_bias": False, "aligned_values": False,
    "tied_addresses": False, "address_norm": None, "learnable_temperature": True,
}  # fmt: skip
#: Blocks, mixer and options of the small ones.
_SMALL: dict[str, tuple[int, str, dict[str, Any]]] = {
    "transformer": (6, "attention", {"num_heads": 4, "rotary": True, "bias": False}),
    "gla": (6, "gla", {"num_heads": 2, "expand_k": 0.5, "expand_v": 1.0}),
    "hgrn2": (6, "hgrn2", {"expand_ratio": 64}),
    "gated-delta-net": (6, "gated_delta_net", {"num_heads": 3, "head_dim": 64, "expand_v": 2.0, "conv_size": 4}),
    "mamba2": (12, "mamba2", {"head_dim": 32, "state_size": 64, "expand": 2, "conv_kernel": 4}),
    "ramnet": (6, "ramnet", {"num_heads": 4, "head_v_dim": 64, "order": 5, "sub_dim": 4, "top_k": 8}),
}
#: Heads with CAPE in the blocks of the small RAM-Net: about the paper's shares.
_SMALL_CAPE = (True, 2, False, False, False, False)


def preset(name: str, **fields: Any) -> RecallConfig:
    """A language model by name.

    ``<kind>-340m`` is that of Tables 1 and 2 of RAM-Net (arXiv 2602.11958): width 1,024, a vocabulary of 32,000, tied
    embeddings, MLPs of 2,816 (none in Mamba2). Trainable parameters, in millions, the embeddings counted once: without
    them, as Table 1's note has it, all would be 32.8 fewer than it prints.

    | preset | parameters | Table 1 | apart |
    |---|---|---|---|
    | transformer-340m | 341.1 | 341.1 | |
    | gla-340m | 341.7 | 341.7 | |
    | hgrn2-340m | 341.1 | 341.1 | |
    | gated-delta-net-340m | 347.0 | 347.0 | |
    | mamba2-340m | 349.6 | 349.6 | |
    | ramnet-340m | 340.7 | 340.8 | 0.07, or 0.02 % |
    | ramnet-340m-paper | 340.7 | 340.8 | 0.09, or 0.03 % |

    ``ramnet-340m`` begins by this package's recipe, which has biases of addresses; ``ramnet-340m-paper`` is the paper's
    design alone, with temperatures that learn. What the 3,000 parameters or so of a block are that it is short of, the
    paper does not say.

    ``<kind>-small`` has width 256, heads in proportion and 6 blocks (Mamba2: 12, as it has no MLP).

    Args:
        name: one of ``PRESETS``.
        **fields: of ``RecallConfig``, instead of the preset's.

    Raises:
        UsageError: (a ValueError) there is none of that name, or a field cannot be.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}{hint(name, PRESETS)}")
    return RecallConfig(**PRESETS[name]() | fields)


def _table2(kind: str, **options: Any) -> dict[str, Any]:
    model = dict(table2())[_OF_TABLE2[kind]]
    if kind == "transformer":
        options = {"bias": False}
    return {
        "vocab_size": 32000,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "mixers": [{"name": spec.name, "options": spec.options | options} for spec in model.mixers],
        "intermediate_size": 0 if kind == "mamba2" else None,
        "max_position_embeddings": 4096,
    }


def _small(kind: str) -> dict[str, Any]:
    blocks, mixer, options = _SMALL[kind]
    capes = [{"cape": cape} for cape in _SMALL_CAPE] if kind == "ramnet" else [{}]
    return {
        "hidden_size": 256,
        "num_hidden_layers": blocks,
        "mixers": [{"name": mixer, "options": options | cape} for cape in capes],
        "intermediate_size": 0 if kind == "mamba2" else None,
    }


#: The fields of every preset, by its name.
PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"{kind}-340m": lambda kind=kind: _table2(kind) for kind in _OF_TABLE2},  # type: ignore[misc]
    "ramnet-340m-paper": lambda: _table2("ramnet", **_PAPER),
    **{f"{kind}-small": lambda kind=kind: _small(kind) for kind in _SMALL},  # type: ignore[misc]
}
