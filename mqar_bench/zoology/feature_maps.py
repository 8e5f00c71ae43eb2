"""The feature maps that Zoology's Based can be given, as ours."""

from __future__ import annotations

from typing import Any

from mixers.checks import brief
from mqar_bench.zoology.fields import Untranslatable

#: Of Based, by the names that its option takes, those of its classes included.
FEATURE_MAPS: dict[str | None, str] = {
    None: "identity", "none": "identity", "identity": "identity", "base.Identity": "identity",
    "base.FeatureMap": "identity", "taylor_exp": "taylor_exp", "taylor.TaylorExp": "taylor_exp",
    "performer": "performer", "performer.PerformerFeatureMap": "performer", "cosformer": "cosformer",
    "cosformer.CosFormerFeatureMap": "cosformer", "pos_elu": "pos_elu", "base.PosELU": "pos_elu",
    "all_poly": "all_poly", "all_poly.AllPolyMap": "all_poly", "base.ReLU": "relu", "base.Square": "square",
    "all_poly.SquaredMap": "square",  # but for a factor, which cancels
}  # fmt: skip
#: Our options for what those classes take.
FEATURE_OPTIONS = {
    "all_poly": {"output_dim": "num_features", "init": "poly_init", "learnable": "learn_features"},
    "performer": {"expanded_dim": "num_features"},
}


def adapt_based(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    """Its feature maps' own options are ours; a length matters to one of them alone."""
    if (keys := options.pop("num_key_value_heads")) != options["num_heads"]:
        raise Untranslatable(f"based.Based with num_heads {options['num_heads']} and num_key_value_heads {brief(keys)}")
    theirs, own = options.pop("feature_name"), options.pop("feature_kwargs")
    kernel = FEATURE_MAPS.get(theirs if theirs is None else str(theirs).removeprefix("zoology.mixers.feature_maps."))
    if kernel is None:
        raise Untranslatable(f"based.Based with feature_name {brief(theirs)}")
    if not isinstance(own, dict) or set(own) - set(FEATURE_OPTIONS.get(kernel, ())):
        raise Untranslatable(f"based.Based with feature_name {theirs!r} and feature_kwargs {brief(own)}")
    if kernel != "cosformer":
        del options["l_max"]
    return options | {"feature_map": kernel} | {FEATURE_OPTIONS[kernel][name]: value for name, value in own.items()}
