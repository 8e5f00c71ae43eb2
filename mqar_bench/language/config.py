"""What a language model of any stack of mixers is, as a config of transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from mixers.checks import MAX_WIDTH, brief, check_number, check_size, scaled_size
from mixers.registry import MixerError, outline
from mqar_bench.basics.errors import UsageError, hint, one_line
from mqar_bench.config import MixerSpec

#: The width of an MLP is rounded up to a multiple of so much, as in fla.
MLP_MULTIPLE = 256
#: What transformers itself hands to a config beside the fields of its base class.
_OF_TRANSFORMERS = (
    "attn_implementation", "auto_map", "experts_implementation", "gradient_checkpointing", "model_type", "name_or_path",
    "num_labels", "output_attentions", "per_layer_config", "quantization_config", "torch_dtype",
)  # fmt: skip


class RecallConfig(PreTrainedConfig):
    """A language model of pre-norm blocks: RMSNorm and a sequence mixer, RMSNorm and a SwiGLU MLP.

    Fields are called as in fla's configs, and their defaults are its, but for tied embeddings. A mixer or option that
    does not exist, and any field that neither this class nor transformers knows, is refused.

    Args:
        vocab_size: tokens.
        hidden_size: model width.
        num_hidden_layers: blocks.
        mixers: ``{"name": .., "options": {..}}`` each, cycled over the layers; a name is a registered one
            (``mixers.names()``) or a dotted path to a class of one's own. Default: RAM-Net as it comes.
        hidden_ratio: width of the MLP over ``hidden_size``, before the 2/3 of a gated one, rounded up to a multiple
            of 256.
        intermediate_size: that width itself; 0 leaves the MLPs and their norms out.
        hidden_act: of the MLP's gate, a name that transformers knows.
        norm_eps: of the RMSNorms.
        initializer_range: standard deviation of initial embeddings and of the MLPs' weights. A mixer keeps the values
            that it comes with.
        tie_word_embeddings: the head is the embeddings.
        use_cache: in evaluation, ``forward`` returns the states after the last token unless told otherwise.
        max_position_embeddings: the longest sequence that evaluation tools should use; nothing here depends on it.
        pad_token_id, bos_token_id, eos_token_id: special tokens; they must be below ``vocab_size``.
        **kwargs: of transformers' ``PreTrainedConfig``.

    Raises:
        UsageError: (a ValueError) a field that is not known or has a value that cannot be; one line.
    """

    model_type = "recall"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        vocab_size: int = 32000,
        hidden_size: int = 1024,
        num_hidden_layers: int = 24,
        mixers: Sequence[Mapping[str, Any] | MixerSpec] | None = None,
        hidden_ratio: float = 4,
        intermediate_size: int | None = None,
        hidden_act: str = "swish",
        norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        tie_word_embeddings: bool = True,
        use_cache: bool = True,
        max_position_embeddings: int = 4096,
        pad_token_id: int | None = None,
        bos_token_id: int | None = 1,
        eos_token_id: int | list[int] | None = 2,
        **kwargs: Any,
    ) -> None:
        _refuse_unknown(kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.hidden_ratio = hidden_ratio
        self.hidden_act = hidden_act
        self.norm_eps = norm_eps
        self.initializer_range = initializer_range
        self.use_cache = use_cache
        self.max_position_embeddings = max_position_embeddings
        try:
            check_size(2, vocab_size=vocab_size)
            check_size(1, MAX_WIDTH, hidden_size=hidden_size)
            check_size(num_hidden_layers=num_hidden_layers, max_position_embeddings=max_position_embeddings)
            check_number(0, 1, norm_eps=norm_eps, initializer_range=initializer_range)
            self.intermediate_size = _mlp_width(hidden_size, hidden_ratio, intermediate_size)
            check_size(0, intermediate_size=self.intermediate_size)
        except (TypeError, ValueError) as error:
            raise UsageError(one_line(str(error))) from None
        if hidden_act not in ACT2FN:
            raise UsageError(f"no hidden_act {brief(hidden_act)}{hint(str(hidden_act), sorted(ACT2FN))}")
        for name, ids in (("pad", pad_token_id), ("bos", bos_token_id), ("eos", eos_token_id)):
            for token in ids if isinstance(ids, list) else [ids]:
                if token is not None and not 0 <= token < vocab_size:
                    raise UsageError(f"{name}_token_id must be below vocab_size {vocab_size}, got {brief(token)}")
        specs = [_read_spec(i, entry) for i, entry in enumerate([{"name": "ramnet"}] if mixers is None else mixers)]
        _check_specs(specs, hidden_size, num_hidden_layers)
        self.mixers = [spec.model_dump() for spec in specs]
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )

    def mixer(self, layer_idx: int) -> MixerSpec:
        """The mixer of a layer."""
        return MixerSpec(**self.mixers[layer_idx % len(self.mixers)])


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    known = {*_OF_TRANSFORMERS, *(field.name for field in dataclasses.fields(PreTrainedConfig))}
    for name in given:
        if name not in known and not name.startswith("_"):
            own = [n for n in RecallConfig.__init__.__annotations__ if n not in ("kwargs", "return")]
            raise UsageError(f"no field {brief(name)} in a RecallConfig{hint(name, own)}")


def _mlp_width(hidden_size: int, ratio: float, given: int | None) -> int:
    if given is not None:
        return given
    width = scaled_size("hidden_ratio", hidden_size, ratio) * 2 // 3
    return -(-width // MLP_MULTIPLE) * MLP_MULTIPLE


def _read_spec(place: int, entry: Mapping[str, Any] | MixerSpec) -> MixerSpec:
    if isinstance(entry, MixerSpec):
        return entry
    if not (isinstance(entry, Mapping) and "name" in entry):
        raise UsageError(f"mixers.{place} must be {{'name': .., 'options': {{..}}}}, got {brief(entry)}")
    for key in entry:
        if key not in MixerSpec.model_fields:
            raise UsageError(f"mixers.{place} has a name and options, and no {brief(key)}: is that an option?")
    try:
        return MixerSpec(**entry)
    except ValidationError as error:
        raise UsageError(
            f"mixers.{place}: {one_line(error.errors()[0]['msg'].removeprefix('Value error, '))}"
        ) from None


def _check_specs(specs: Sequence[MixerSpec], hidden_size: int, num_hidden_layers: int) -> None:
    """Whether each mixer can be built, without memory for its weights."""
    if not specs:
        raise UsageError("mixers must name a mixer at least, got none")
    tried: list[MixerSpec] = []
    for i, spec in enumerate(specs[:num_hidden_layers]):
        if spec in tried:
            continue
        tried.append(spec)
        if spec.options.get("anneal_steps") is not None:
            raise UsageError(
                f"mixers.{i}: anneal_steps counts forward passes, of which padding and checkpointing make several a "
                "step; leave it out and tell the progress of training (TellProgress, set_training_progress)"
            )
        try:
            with torch.random.fork_rng(devices=[]):
                outline(spec.name, hidden_size, i, **spec.options)
        except MixerError as error:
            raise UsageError(f"mixers.{i}: {one_line(str(error))}") from None
