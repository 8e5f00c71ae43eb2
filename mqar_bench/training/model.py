"""The language model around the mixers: Zoology's, or with RMSNorm and SwiGLU; logits at supervised positions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mixers
from mixers.layers import RMSNorm
from mqar_bench.config import ModelConfig
from mqar_bench.training.embeddings import INIT_STD, Pairs, make_embeddings
from mqar_bench.training.state_mixers import make_state_mixer


class ModelState(NamedTuple):
    """What a model carries from a piece of a sequence to the next: how many tokens it has read, and what each layer's
    sequence mixer carries. Nothing else of them is kept."""

    seen: int
    layers: tuple[mixers.State, ...]


class Block(nn.Module):
    """Sequence mixer, then state mixer, each behind a norm; carries (hidden, residual) as Zoology's block does.

    With the identity as state mixer the normalised residual itself is added back: that is Zoology's model. With none
    there is no second half.
    """

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        spec = config.mixers[layer_idx % len(config.mixers)]
        self.sequence_mixer = mixers.build(spec.name, config.d_model, layer_idx, **spec.options)
        self.state_mixer = make_state_mixer(config)
        self.dropout1 = nn.Dropout(config.embed_dropout if layer_idx == 0 else config.resid_dropout)
        self.dropout2 = nn.Dropout(config.resid_dropout)
        self.norm1 = make_norm(config)
        self.norm2 = None if config.state_mixer == "none" else make_norm(config)

    def mix(
        self, hidden: Tensor, residual: Tensor | None, mixer: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The first half, with another form of the sequence mixer if one is given."""
        dropped = self.dropout1(hidden)
        residual = dropped if residual is None else dropped + residual
        return (self.sequence_mixer if mixer is None else mixer)(self.norm1(residual)), residual

    def update(self, hidden: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """The second half."""
        if self.norm2 is None:
            return hidden, residual
        residual = self.dropout2(hidden) + residual
        return self.state_mixer(self.norm2(residual)), residual


class LanguageModel(nn.Module):
    """Token ids in, logits out. Initialises embeddings, norms and state mixers; a sequence mixer keeps the weights it
    came with. The head is the embeddings, but for those that are not learnt: then it has weights of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = make_embeddings(config.vocab_size, config.d_model, config.embedding_init_type)
        self.word_embeddings.requires_grad_(config.learnable_word_embeddings)
        self.position_embeddings: nn.Embedding | None = None
        if config.max_position_embeddings:
            self.position_embeddings = make_embeddings(config.max_position_embeddings, config.d_model)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.n_layers))
        self.drop_f = nn.Dropout(config.resid_dropout)
        self.ln_f = make_norm(config, config.layer_norm_epsilon)
        self.pairs = Pairs(config.d_model) if config.input_type == "continuous" else None
        self.lm_head: nn.Linear | None = None
        if self.pairs is None and not config.learnable_word_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
            nn.init.normal_(self.lm_head.weight, std=INIT_STD)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Logits of the whole sequence, or at ``positions`` only.

        Args:
            tokens: int64 ``[B, T]``.
            positions: int64 ``[B, P]``; what follows the last mixer is then computed there alone.

        Returns:
            ``[B, T, vocab]``, or ``[B, P, vocab]``; with ``input_type`` continuous, ``vocab // 2 + 1`` logits each.
        """
        return self._read(tokens, positions, 0, self.sequence_mixers)

    def prefill(
        self, tokens: Tensor, state: ModelState | None = None, positions: Tensor | None = None
    ) -> tuple[Tensor, ModelState]:
        """``forward`` of a piece of a sequence, and what is to be carried to the next piece.

        Args:
            tokens: int64 ``[B, T]``, T at least 1.
            state: as it was returned for the pieces before; None at the beginning. Go on with the one returned: this
                one may be changed in place if gradients are off.
            positions: int64 ``[B, P]``, within the piece; P may be 0.

        Raises:
            ValueError: the sequence is longer than there are learned positions.
            TypeError: a mixer from elsewhere has no ``prefill``, and no ``step`` to replace it.
        """
        seen, T = 0 if state is None else state.seen, tokens.shape[1]
        if self.position_embeddings is not None and seen + T > self.position_embeddings.num_embeddings:
            limit = self.position_embeddings.num_embeddings
            raise ValueError(f"the model has learned positions of {limit} tokens, and is to read {seen + T}")
        after: list[mixers.State] = []

        def carry(mixer: mixers.SequenceMixer, before: mixers.State | None) -> Callable[[Tensor], Tensor]:
            def mix(x: Tensor) -> Tensor:
                y, carried = find_prefill(mixer)(x, before)
                after.append(carried)
                return y

            return mix

        layers = (None,) * len(self.blocks) if state is None else state.layers
        carrying = [carry(mixer, before) for mixer, before in zip(self.sequence_mixers, layers, strict=True)]
        logits = self._read(tokens, positions, seen, carrying)
        return logits, ModelState(seen + T, tuple(after))

    def _read(
        self, tokens: Tensor, positions: Tensor | None, seen: int, sequence_mixers: Sequence[Callable[[Tensor], Tensor]]
    ) -> Tensor:
        """Logits of tokens that come after ``seen`` others, through these in place of the sequence mixers."""
        embeddings = self.word_embeddings.weight
        hidden = self.word_embeddings(tokens) if self.pairs is None else self.pairs.embed(tokens, embeddings)
        if self.position_embeddings is not None:
            hidden = hidden + self.position_embeddings.weight[seen : seen + tokens.shape[1]]
        residual: Tensor | None = None
        for block, mixer in zip(self.blocks, sequence_mixers, strict=True):
            hidden, residual = block.mix(hidden, residual, mixer)
            if block is self.blocks[-1] and positions is not None:
                hidden, residual = at_positions(hidden, positions), at_positions(residual, positions)
            hidden, residual = block.update(hidden, residual)
        assert residual is not None
        final = self.ln_f(self.drop_f(hidden) + residual)
        if self.pairs is not None:
            return self.pairs.answer(final, embeddings)
        return F.linear(final, embeddings if self.lm_head is None else self.lm_head.weight)

    @property
    def blocks(self) -> list[Block]:
        return cast(list[Block], list(self.layers))

    @property
    def sequence_mixers(self) -> list[mixers.SequenceMixer]:
        return [block.sequence_mixer for block in self.blocks]

    def set_training_progress(self, progress: float) -> None:
        """Tell the mixers which fraction of training is done, for those with a schedule of their own."""
        for mixer in self.sequence_mixers:
            if hasattr(mixer, "set_training_progress"):  # a mixer from elsewhere need not have it
                mixer.set_training_progress(progress)

    def auxiliary_loss(self) -> Tensor | None:
        """Sum of the ``get_auxiliary_loss()`` of all modules that have one (Zoology's convention), or None."""
        return add_up(auxiliary_losses(self))

    def state_size(self, sequence_length: int) -> int:
        """Elements carried per sequence after ``sequence_length`` tokens, all layers."""
        return sum(m.state_size(sequence_length) for m in self.sequence_mixers)

    def active_state_size(self, sequence_length: int) -> int | None:
        """Elements read or written per token, all layers; None where a mixer from elsewhere does not say."""
        if not all(hasattr(mixer, "active_state_size") for mixer in self.sequence_mixers):
            return None
        return sum(mixer.active_state_size(sequence_length) for mixer in self.sequence_mixers)


def make_norm(config: ModelConfig, epsilon: float = 1e-5) -> nn.LayerNorm | RMSNorm:
    """What is before a mixer, or the head: a LayerNorm with this epsilon, or an RMSNorm with the config's."""
    if config.norm == "rms":
        return RMSNorm(config.d_model, config.layer_norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=epsilon)


def find_prefill(mixer: nn.Module) -> Callable[[Tensor, mixers.State | None], tuple[Tensor, mixers.State]]:
    """How a mixer reads a piece and keeps its state; one from elsewhere need not have ``prefill``, only ``step``.

    Raises:
        TypeError: it has neither.
    """
    if callable(own := getattr(mixer, "prefill", None)):
        return cast(Callable[[Tensor, mixers.State | None], tuple[Tensor, mixers.State]], own)
    if not all(callable(getattr(mixer, name, None)) for name in ("step", "init_state")):
        raise TypeError(f"{type(mixer).__name__} carries no state: it has no prefill, nor step and init_state")
    return partial(mixers.SequenceMixer.prefill, cast(mixers.SequenceMixer, mixer))


def auxiliary_losses(module: nn.Module) -> list[Tensor]:
    """What the modules in it, itself too, add to the training loss; of those that do."""
    return [getter() for m in module.modules() if callable(getter := getattr(m, "get_auxiliary_loss", None))]


def add_up(losses: Sequence[Tensor]) -> Tensor | None:
    """Their sum; None of none."""
    return sum(losses[1:], losses[0]) if losses else None


def at_positions(x: Tensor, positions: Tensor) -> Tensor:
    """``[B, T, D]`` gathered at ``[B, P]`` -> ``[B, P, D]``."""
    return x.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def supervised_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy of ``[B, P, vocab]`` against ``[B, P]``: the dense loss with its ignored labels left out.

    In float32 at least.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.flatten(0, 1).to(wide), answers.flatten())


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
