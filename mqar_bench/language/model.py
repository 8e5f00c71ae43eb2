"""The language model around any stack of mixers, as transformers wants a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from mixers.base import State
from mixers.checks import brief
from mixers.layers import RMSNorm
from mqar_bench.basics.errors import UsageError
from mqar_bench.language.cache import Group, StateCache
from mqar_bench.language.config import RecallConfig
from mqar_bench.language.layer import RecallLayer
from mqar_bench.language.padding import Part, read_mask, split
from mqar_bench.training.model import add_up


@dataclass
class RecallModelOutput(BaseModelOutputWithPast):
    """transformers' output, with ``aux_loss``: what the mixers add to the training loss, a scalar or None."""

    aux_loss: Tensor | None = None


@dataclass
class RecallOutput(CausalLMOutputWithPast):
    """transformers' output, with ``aux_loss``: what the mixers add to the training loss, a scalar or None."""

    aux_loss: Tensor | None = None


class RecallPreTrainedModel(PreTrainedModel):
    """What the model with and without a head share: how weights begin and are loaded, and what the mixers are told."""

    config_class = RecallConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RecallLayer"]
    _is_stateful = True  # transformers then refuses assisted generation, which would crop the cache
    _input_embed_layer = "embeddings"

    def initialize_weights(self) -> None:
        """Embeddings, norms and MLPs as transformers draws them; mixers as they come."""
        super().initialize_weights()
        for layer in self._recall_layers():
            layer.restore()

    def _recall_layers(self) -> Iterator[RecallLayer]:
        return (module for module in self.modules() if isinstance(module, RecallLayer))

    def _mixers(self) -> Iterator[Any]:
        return (layer.attn for layer in self._recall_layers())

    def set_training_progress(self, progress: float) -> None:
        """Tell the mixers which fraction (0 to 1) of training is done, for those with a schedule of their own."""
        for mixer in self._mixers():
            if hasattr(mixer, "set_training_progress"):  # one from elsewhere need not have it
                mixer.set_training_progress(progress)

    def state_size(self, sequence_length: int) -> int:
        """Elements carried per sequence after ``sequence_length`` tokens, all layers."""
        return sum(mixer.state_size(sequence_length) for mixer in self._mixers())

    def active_state_size(self, sequence_length: int) -> int:
        """Elements of the state read or written per token, all layers."""
        return sum(mixer.active_state_size(sequence_length) for mixer in self._mixers())


class RecallModel(RecallPreTrainedModel):
    """Embeddings, blocks and a last norm: tokens in, ``[B, T, hidden_size]`` out."""

    def __init__(self, config: RecallConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(RecallLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.gradient_checkpointing = False
        self._tied_weights_keys = {
            f"layers.{i}.attn.{name}": f"layers.{i}.attn.{first}"
            for i, layer in enumerate(self._recall_layers())
            for name, first in layer.shared.items()
        }
        self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """What mixers share within themselves, whether or not the head is tied."""
        return dict(self._tied_weights_keys)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: StateCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> RecallModelOutput:
        """Run the blocks.

        Args:
            input_ids: int64 ``[B, T]``.
            attention_mask: ``[B, T]``, or with a cache ``[B, seen + T]``; 0 for padding, which may be anywhere. Outputs
                at padding mean nothing. See ``mqar_bench.language.padding`` for what it costs.
            inputs_embeds: ``[B, T, hidden_size]`` instead of ``input_ids``.
            past_key_values: the states after the tokens before; they go on in place.
            use_cache: return the states; default ``config.use_cache`` in evaluation, False in training.
            output_hidden_states: return the input of every block, and the output.

        Returns:
            ``last_hidden_state`` ``[B, T, hidden_size]``, ``past_key_values``, ``hidden_states``, and in training
            ``aux_loss``, the mean over the tokens where padding takes the batch apart.

        Raises:
            UsageError: (a ValueError) an argument that does not fit or has no meaning here.
        """
        _refuse(kwargs)
        if (input_ids is None) == (inputs_embeds is None):
            raise UsageError("give input_ids or inputs_embeds, and not both")
        hidden = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        batch, length = hidden.shape[:2]
        cache = self._choose_cache(past_key_values, use_cache)
        groups = [list(range(batch))] if cache is None else cache.begin(batch)
        real = read_mask(attention_mask, batch, length, 0 if cache is None else cache.seen)
        parts = split(real, length, groups, causal=cache is None and not self._counts_tokens())
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        final, before, after, extra = self._run_parts(parts, hidden, cache, bool(output_hidden_states))
        if cache is not None:
            cache.groups, cache.seen = after, cache.seen + length
        return RecallModelOutput(
            last_hidden_state=final,
            past_key_values=cache,
            hidden_states=(*before, final) if output_hidden_states else None,
            aux_loss=extra,
        )

    def _choose_cache(self, past: StateCache | None, use_cache: bool | None) -> StateCache | None:
        if past is not None and not isinstance(past, StateCache):
            raise UsageError(f"past_key_values must be a StateCache, the states of mixers: got {type(past).__name__}")
        if self.gradient_checkpointing and self.training and (use_cache or past is not None):
            raise UsageError("gradient checkpointing keeps no states: give use_cache=False and no past_key_values")
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        return StateCache() if past is None and use_cache else past

    def _counts_tokens(self) -> bool:
        """Whether some mixer's addition to the training loss would count padding."""
        return self.training and any(hasattr(module, "get_auxiliary_loss") for module in self.modules())

    def _run_parts(
        self, parts: list[Part], hidden: Tensor, cache: StateCache | None, every: bool
    ) -> tuple[Tensor, list[Tensor], list[Group], Tensor | None]:
        """The output, the input of every block if asked for, the groups of the cache, and the addition to the loss."""
        whole: list[Tensor | None] = [None] * (len(self.layers) * every + 1)
        groups, extras, tokens = [], [], 0
        for part in parts:
            group = Group(part.rows)
            if cache is not None:
                source = cache.groups[part.source]
                place = {row: i for i, row in enumerate(source.rows)}
                group = source.take([place[row] for row in part.rows], part.rows)
            x = part.take(hidden)
            if x.shape[1]:
                outputs, states, extra = self._run(x, group.states, cache is not None, every)
                whole = [part.put(y, into, *hidden.shape[:2]) for y, into in zip(outputs, whole, strict=True)]
                group = Group(group.rows, states)
                tokens += x.shape[0] * x.shape[1]
                if extra is not None:
                    extras.append(extra * (x.shape[0] * x.shape[1]))
            groups.append(group)
        total = add_up(extras)
        total = None if total is None else total / tokens
        final, *before = (torch.zeros_like(hidden) if y is None else y for y in reversed(whole))  # None: all is padding
        return final, before[::-1], groups, total

    def _run(
        self, x: Tensor, states: list[State] | None, keep: bool, every: bool
    ) -> tuple[list[Tensor], list[State] | None, Tensor | None]:
        """``[rows, n, hidden_size]`` without padding: the input of every block, if asked for, and the output; the
        states; the addition to the loss."""
        before, after, extras = [], [], []
        for i, layer in enumerate(self.layers):
            if every:
                before.append(x)
            x, state, extra = layer(x, None if states is None else states[i], keep)
            after.append(state)
            if extra is not None and self.training:
                extras.append(extra)
        return [*before, self.norm(x)], after if keep else None, add_up(extras)


class RecallForCausalLM(RecallPreTrainedModel, GenerationMixin):
    """``RecallModel`` with a head, and ``generate``: greedy, sampling, beams, batches with left padding.

    Loading keeps which parameters a mixer does not train or marks ``_no_weight_decay``. transformers' ``Trainer`` reads
    only the first: to spare the others decay, give it an optimizer.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embeddings.weight"}

    def __init__(self, config: RecallConfig) -> None:
        super().__init__(config)
        self.model = RecallModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # keys and values are not what a mixer carries: the model makes its own

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: StateCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: int | Tensor | None = None,
        **kwargs: Any,
    ) -> RecallOutput:
        """Logits of the next tokens, and the loss where labels are given.

        Args:
            input_ids, attention_mask, inputs_embeds, past_key_values, use_cache, output_hidden_states: see
                ``RecallModel.forward``.
            labels: int64 ``[B, T]``, the tokens themselves, shifted inside; -100 is not counted, nor is padding, nor a
                token that only padding is before.
            logits_to_keep: logits of the last so many tokens alone, or of these places; 0 or with labels, of all.
            num_items_in_batch: divide the sum of the losses by it, as ``Trainer`` does with gradient accumulation;
                default: the number of labels that count.

        Returns:
            ``logits`` ``[B, T or fewer, vocab_size]``, ``loss`` in float32 (with what the mixers add to it in
            training, which ``aux_loss`` is), ``past_key_values`` and ``hidden_states``.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        if labels is None:
            keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            hidden = hidden[:, keep]
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            labels = _without_padding(labels, attention_mask)
            loss = self.loss_function(logits, labels, self.vocab_size, num_items_in_batch=num_items_in_batch)
            if outputs.aux_loss is not None:
                loss = loss + outputs.aux_loss
        return RecallOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            aux_loss=outputs.aux_loss,
        )


def _without_padding(labels: Tensor, mask: Tensor | None) -> Tensor:
    """Labels of padding, and of tokens that follow padding, are not counted."""
    if mask is None:
        return labels
    real = mask[:, mask.shape[1] - labels.shape[1] :].bool()
    counted = real.clone()
    counted[:, 1:] &= real[:, :-1]
    return labels.masked_fill(~counted.to(labels.device), -100)


def _refuse(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is None or value is False:
            continue
        why = {
            "position_ids": "positions are the order of the real tokens",
            "output_attentions": "a mixer need not have attention weights",
            "cu_seqlens": "sequences go side by side, with padding, not one after another",
        }.get(name, "it has no meaning here")
        raise UsageError(f"{name} is not taken, got {brief(value)}: {why}")
