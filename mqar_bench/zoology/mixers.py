"""Zoology's mixers as ours: names, options, and what its layers do with options that they do not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mixers
from mixers.checks import brief
from mqar_bench.config import MixerSpec
from mqar_bench.zoology.feature_maps import adapt_based
from mqar_bench.zoology.fields import Reader, Untranslatable
from mqar_bench.zoology.shim import FunctionConfig, ModuleConfig

HYBRID = "zoology.mixers.hybrid.Hybrid"


@dataclass(frozen=True)
class Counterpart:
    """Our mixer for one of Zoology's.

    Attributes:
        name: ours.
        options: those that both have, by Zoology's name, with its default.
        renamed: our names, where they differ.
        unused: options without effect here, such as a maximal length; those with one in Zoology have a note.
        only: options that must have this value, since our mixer is made that way.
        kinds: an option that says which of our mixers it is, in place of ``name``, with these by its values.
        swallowed: options that it has not and files of Zoology's own give it, which it drops in silence.
        note: what is to be said of it, whatever its options.
        adapt: the last word, from our options, d_model and n_layers.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    only: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, dict[str, str]] | None = None
    swallowed: tuple[str, ...] = ()
    note: str = ""
    adapt: Callable[[dict[str, Any], int, int], dict[str, Any]] = lambda options, d_model, n_layers: options


def _whole(name: str, value: Any, least: int = 1) -> int:
    """An option that is computed with; our mixers check those that they get as they are."""
    if type(value) not in (int, float) or value != value // 1 or value < least:
        raise Untranslatable(f"{name} must be a whole number of at least {least}, got {brief(value)}")
    return int(value)


def _as_rescaled(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    """Its output projections start at 0.02 / sqrt(2 n_layers); ours take the number."""
    return options | {"out_init_std": 0.02 / math.sqrt(2 * n_layers)}


def _window(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    """Its block_size is how far back a token sees; the window counts the token itself too."""
    before = _whole("block_size", options["window"], least=0)
    return _as_rescaled(options | {"window": before + 1}, d_model, n_layers)


def _head_dim(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    return options | {"head_dim": d_model // _whole("num_heads", options["num_heads"])}


def _convolution(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    """A kernel_size of -1 is a filter as long as the sequence, another mixer here."""
    unused = ("kernel_size",) if options["kernel_size"] == LONG else ("l_max", "implicit_long_conv")
    return {name: value for name, value in options.items() if name not in unused}


def _dt_rank(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    return options | {"dt_rank": None if options["dt_rank"] == "auto" else options["dt_rank"]}


def _rwkv7(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    heads = options.pop("num_heads")
    if heads is not None:
        options["head_dim"] = d_model // _whole("num_heads", heads)
    return options | {"num_hidden_layers": n_layers}


def _sparse(options: dict[str, Any], d_model: int, n_layers: int) -> dict[str, Any]:
    """Its window is how far back a token sees, and its blocks are of one size or an assertion fails."""
    before = _whole("sliding_window_size", options["window"])
    for name in ("num_heads", "num_selected_blocks"):
        _whole(name, options[name])
    if (other := options.pop("selection_block_size")) != options["block_size"]:
        sizes = f"compress_block_size {brief(options['block_size'])} and selection_block_size {brief(other)}"
        raise Untranslatable(f"deepseek_nsa.SparseAttention with {sizes}, which it needs equal")
    return options | {"window": before + 1}


#: The kernel_size of a BaseConv that is ``long_conv`` here.
LONG = -1
CONV = {"use_short_conv": True, "conv_size": 4}
LENGTH = {"l_max": "", "mode": ""}
HYENA_RATES = "Hyena: rates and weight decay of its filter's own are ignored, as Zoology's trainer ignores them"

COUNTERPARTS: dict[str, Counterpart] = {
    "attention.MHA": Counterpart(
        "attention", {"num_heads": 1, "bias": True, "dropout": 0.0}, adapt=_as_rescaled
    ),
    "base_conv.BaseConv": Counterpart(
        "short_conv",
        {"kernel_size": 3, "use_act": False, "l_max": None, "implicit_long_conv": True},
        adapt=_convolution,
    ),
    "slide_attn.SlidingAttn": Counterpart(
        "sliding_window_attention",
        {"block_size": 256, "bias": True, "dropout": 0.0},
        renamed={"block_size": "window"},
        swallowed=("attention_dropout",),
        adapt=_window,
    ),
    "gla.GatedLinearAttention": Counterpart(
        "gla",
        {"num_heads": 4, "expand_k": 0.5, "expand_v": 1.0, "use_output_gate": True, "gate_logit_normalizer": 16}
        | CONV
        | {"use_short_conv": False, "gate_low_rank_dim": 16},
        unused={"mode": "", "fuse_norm": ""},
        only={
            "num_kv_heads": None, "feature_map": None, "conv_bias": False, "gate_fn": "swish",
            "elementwise_affine": True, "norm_eps": 1e-5, "clamp_min": None,
        },
    ),
    "delta_net.DeltaNet": Counterpart(
        "delta_net",
        {"num_heads": 4, "expand_k": 1.0, "expand_v": 1.0, "use_beta": True, "use_gate": False}
        | CONV
        | {"allow_neg_eigval": False, "qk_activation": "silu", "qk_norm": "l2"},
        unused=LENGTH,
        only={"conv_bias": False, "norm_eps": 1e-5},
    ),
    "gated_delta_net.GatedDeltaNet": Counterpart(
        "gated_delta_net",
        {"num_heads": 6, "expand_v": 2, "use_gate": True} | CONV,
        unused=LENGTH,
        only={"conv_bias": False, "norm_eps": 1e-5},
        adapt=_head_dim,
    ),
    "rwkv7.RWKV7Attention": Counterpart(
        "rwkv7",
        {"head_dim": 64, "num_heads": None, "decay_low_rank_dim": 64, "gate_low_rank_dim": 128, "a_low_rank_dim": 64},
        unused=LENGTH | {"v_low_rank_dim": "RWKV-7: every layer keeps its own values, so v_low_rank_dim has no use"},
        only={"elementwise_affine": True, "norm_eps": 1e-5},
        adapt=_rwkv7,
    ),
    "h3.H3": Counterpart(
        "h3",
        {"d_state": 64, "head_dim": 1},
        unused={"l_max": "", "use_fast_fftconv": "", "dropout": "H3: dropout is ignored, as Zoology ignores it"},
        only={"kernel_args": {}},
    ),
    "mamba2.Mamba2": Counterpart(
        "mamba2",
        {"d_state": 128, "d_conv": 4, "expand": 2, "headdim": 64, "ngroups": 1, "dt_min": 1e-3, "dt_max": 0.1}
        | {"conv_bias": True},
        renamed={
            "d_state": "state_size", "d_conv": "conv_kernel", "headdim": "head_dim", "ngroups": "n_groups",
            "conv_bias": "use_conv_bias",
        },
        unused={"l_max": "", "chunk_size": "", "use_mem_eff_path": ""},
    ),
    "based.Based": Counterpart(
        "based",
        {"num_heads": 12, "feature_dim": 16, "l_max": 2048, "eps": 1e-12}
        | {"num_key_value_heads": 12, "feature_name": "taylor_exp", "feature_kwargs": {}},
        unused={"train_view": "", "rope_theta": ""},
        only={"causal": True, "apply_rotary": False},
        adapt=adapt_based,
    ),
    "hyena.Hyena": Counterpart(
        "hyena",
        {"l_max": None, "filter_order": 64, "short_filter_order": 3, "dropout": 0.0, "emb_dim": 3, "num_inner_mlps": 2}
        | {"w": 1.0, "fast_decay_pct": 0.3, "slow_decay_pct": 1.5, "shift": 0.0},
        unused={
            "channels": "", "outer_mixing": "", "return_state": "",
            "lr": HYENA_RATES, "lr_pos_emb": HYENA_RATES, "wd": HYENA_RATES,
            "filter_dropout": "Hyena: filter_dropout is ignored, as Zoology ignores it",
        },
        only={
            "num_heads": 1, "num_blocks": 1, "bidirectional": False, "linear_mixer": False, "modulate": True,
            "normalized": False, "bias": True, "target": 1e-2, "modulation_lr": 0.0,
        },
    ),
    "mamba.Mamba": Counterpart(
        "mamba",
        {"d_state": 16, "d_conv": 4, "expand": 2, "dt_rank": "auto", "dt_min": 1e-3, "dt_max": 0.1}
        | {"conv_bias": True, "bias": False},
        renamed={
            "d_state": "state_size", "d_conv": "conv_kernel", "conv_bias": "use_conv_bias", "bias": "use_bias",
        },
        unused={"l_max": "", "use_fast_path": ""},
        only={"dt_init": "random", "dt_scale": 1.0, "dt_init_floor": 1e-4},
        adapt=_dt_rank,
    ),
    "rwkv.RWKVTimeMixer": Counterpart(
        "rwkv4", {"n_layer": 12}, renamed={"n_layer": "num_hidden_layers"}, unused={"l_max": ""}
    ),
    # of its forks, which have fla's
    "gsa.GatedSlotAttention": Counterpart(
        "gsa",
        {"num_heads": 4, "expand_k": 1.0, "expand_v": 1.0, "num_slots": None, "gate_logit_normalizer": 8}
        | CONV
        | {"use_short_conv": False, "feature_map": "swish", "scale": 1.0},
        unused=LENGTH | {"use_norm": "", "use_output_gate": ""},
        only={"num_kv_heads": None, "conv_bias": False, "elementwise_affine": True, "norm_eps": 1e-5},
    ),
    "ttt.TTT": Counterpart(
        "ttt_linear",
        {"num_heads": 4, "ttt_layer_type": "linear", "ttt_base_lr": 1.0, "mini_batch_size": 16, "use_gate": False}
        | {"share_qk": False, "conv_kernel": 4, "rope_theta": 10000.0},
        renamed={"rope_theta": "rotary_base"},
        unused={"pre_conv": "", "rms_norm_eps": ""},
        kinds=("ttt_layer_type", {"linear": "ttt_linear", "mlp": "ttt_mlp"}),
    ),
    "deepseek_nsa.SparseAttention": Counterpart(
        "sparse_attention",
        {"num_heads": None, "kv_heads": None, "sliding_window_size": None, "compress_block_size": None}
        | {"selection_block_size": None, "num_selected_blocks": None, "num_compressed_mem_kv": 1, "norm": True}
        | {"query_heads_share_selected_kv": True, "compress_mlp_expand_factor": 1.0},
        renamed={"sliding_window_size": "window", "compress_block_size": "block_size"},
        unused={"causal": "", "use_triton_kernel": "", "interpolated_importance_score": ""},
        only={"compress_mlp": None},
        note="deepseek_nsa.SparseAttention: its window looks ahead unless causal is True; here it never does",
        adapt=_sparse,
    ),
}  # fmt: skip
#: Experiment files name it both ways.
COUNTERPARTS["h3.h3.H3"] = COUNTERPARTS["h3.H3"]


def translate_mixer(config: ModuleConfig, layer: int, d_model: int, n_layers: int, reader: Reader) -> MixerSpec:
    """Our mixer for layer ``layer`` of a model.

    Our own classes by their names in ``mixers`` are ours; dotted paths outside Zoology stay what they are.

    Raises:
        Untranslatable: a mixer or an option that we have not.
    """
    config = reader.settle(config, ModuleConfig, FunctionConfig)
    if config.name == HYBRID:
        reader.refuse("hybrid.Hybrid", {k: v for k, v in config.kwargs.items() if k != "configs"}, None, ["configs"])
        choices = config.kwargs.get("configs")
        if not isinstance(choices, list | tuple) or not choices:
            raise Untranslatable("a Hybrid without configs")
        inner = ModuleConfig.model_validate(choices[layer % len(choices)])
        return translate_mixer(inner, layer, d_model, n_layers, reader)
    if not config.name.startswith("zoology."):
        return MixerSpec(name=_own_name(config.name), options=config.kwargs)
    short = config.name.removeprefix("zoology.mixers.")
    if short not in COUNTERPARTS:
        raise Untranslatable(f"the mixer {config.name}")
    options = _read_options(short, COUNTERPARTS[short], config.kwargs, reader)
    try:
        return _translate(short, COUNTERPARTS[short], options, layer, d_model, n_layers)
    except (TypeError, ArithmeticError) as error:
        raise Untranslatable(f"{short} with {brief(config.kwargs)}: {error}") from None


def _own_name(name: str) -> str:
    """A class of the package ``mixers`` by its registered name, of which the figures know the style."""
    for registered in mixers.names():
        cls = mixers.load(registered)
        if name in (f"mixers.{cls.__name__}", f"{cls.__module__}.{cls.__name__}"):
            return registered
    return name


def _read_options(short: str, to: Counterpart, given: dict[str, Any], reader: Reader) -> dict[str, Any]:
    """What our mixer is to be made from, by Zoology's names."""
    module, _, cls = f"zoology.mixers.{short}".rpartition(".")
    theirs = reader.checkout.arguments(module, cls)
    known = to.options | to.only
    given = reader.defaults(short, {k: v for k, v in known.items() if k not in given}, theirs) | given
    dropped = [name for name in to.swallowed if name in given and name not in (theirs or {})]
    for name in dropped:
        reader.note(f"{short} has no option {name!r}: ignored, as Zoology ignores it")
    for note in (to.note, *(to.unused.get(name) for name in given)):
        if note:
            reader.note(note)
    unknown = {k: v for k, v in given.items() if k not in {*known, *to.unused, *dropped}}
    reader.refuse(short, unknown, theirs, [*known, *to.unused])
    for name, value in given.items():
        if name in to.only and value != to.only[name]:
            raise Untranslatable(f"{short} with {name} {value!r}")
    return to.options | {name: value for name, value in given.items() if name in to.options}


def _translate(
    short: str, to: Counterpart, options: dict[str, Any], layer: int, d_model: int, n_layers: int
) -> MixerSpec:
    name = to.name
    if short == "base_conv.BaseConv":
        options["kernel_size"] = _kernel_size(options["kernel_size"], layer)
        name = "long_conv" if options["kernel_size"] == LONG else name
    for option, value in options.items():
        if isinstance(value, float) and isinstance(to.options[option], int) and value.is_integer():
            options[option] = int(value)
    renamed = {to.renamed.get(option, option): value for option, value in options.items()}
    if to.kinds is not None:
        name = _kind(short, to.kinds, renamed)
    return MixerSpec(name=name, options=to.adapt(renamed, d_model, n_layers))


def _kind(short: str, kinds: tuple[str, dict[str, str]], options: dict[str, Any]) -> str:
    """Which of our mixers it is; the option that says so is none of ours."""
    option, names = kinds
    kind = options.pop(option)
    if kind not in names:
        raise Untranslatable(f"{short} with {option} {brief(kind)}")
    return names[kind]


def _kernel_size(size: int | list[int], layer: int) -> int:
    if isinstance(size, list):
        if layer >= len(size):
            raise Untranslatable(f"base_conv.BaseConv with {len(size)} kernel sizes in layer {layer}")
        size = size[layer]
    return size
