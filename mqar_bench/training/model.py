"""The language model around the mixers: Zoology's, with logits at supervised positions only."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mixers
from mqar_bench.config import ModelConfig

INIT_STD = 0.02


class MLP(nn.Module):
    """Two linear layers with GELU between them; Zoology's default state mixer."""

    def __init__(self, d_model: int, hidden_mult: int, n_layers: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_model * hidden_mult)
        self.fc2 = nn.Linear(d_model * hidden_mult, d_model)
        nn.init.normal_(self.fc1.weight, std=INIT_STD)
        nn.init.normal_(self.fc2.weight, std=INIT_STD / math.sqrt(2 * n_layers))
        for layer in (self.fc1, self.fc2):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Sequence mixer, then state mixer, each behind a norm; carries (hidden, residual) as Zoology's block does.

    With the identity as state mixer the normalised residual itself is added back: that is Zoology's model.
    """

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        spec = config.mixers[layer_idx % len(config.mixers)]
        self.sequence_mixer = mixers.build(spec.name, config.d_model, layer_idx, **spec.options)
        self.state_mixer: nn.Module = nn.Identity()
        if config.state_mixer == "mlp":
            self.state_mixer = MLP(config.d_model, config.mlp_hidden_mult, config.n_layers)
        self.dropout1 = nn.Dropout(config.embed_dropout if layer_idx == 0 else config.resid_dropout)
        self.dropout2 = nn.Dropout(config.resid_dropout)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)

    def mix(self, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        dropped = self.dropout1(hidden)
        residual = dropped if residual is None else dropped + residual
        return self.sequence_mixer(self.norm1(residual)), residual

    def update(self, hidden: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        residual = self.dropout2(hidden) + residual
        return self.state_mixer(self.norm2(residual)), residual


class LanguageModel(nn.Module):
    """Token ids in, logits out. Initialises embeddings, norms and MLPs; a mixer keeps the weights it came with."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.word_embeddings.weight, std=INIT_STD)
        self.position_embeddings: nn.Embedding | None = None
        if config.max_position_embeddings:
            self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.d_model)
            nn.init.normal_(self.position_embeddings.weight, std=INIT_STD)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.n_layers))
        self.drop_f = nn.Dropout(config.resid_dropout)
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Logits of the whole sequence, or at ``positions`` only.

        Args:
            tokens: int64 ``[B, T]``.
            positions: int64 ``[B, P]``; what follows the last mixer is then computed there alone.

        Returns:
            ``[B, T, vocab]``, or ``[B, P, vocab]``.
        """
        hidden = self.word_embeddings(tokens)
        if self.position_embeddings is not None:
            hidden = hidden + self.position_embeddings.weight[: tokens.shape[1]]
        residual: Tensor | None = None
        for block in self.blocks:
            hidden, residual = block.mix(hidden, residual)
            if block is self.blocks[-1] and positions is not None:
                hidden, residual = at_positions(hidden, positions), at_positions(residual, positions)
            hidden, residual = block.update(hidden, residual)
        assert residual is not None
        return F.linear(self.ln_f(self.drop_f(hidden) + residual), self.word_embeddings.weight)

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
        losses = auxiliary_losses(self)
        return sum(losses[1:], losses[0]) if losses else None

    def state_size(self, sequence_length: int) -> int:
        """Elements carried per sequence after ``sequence_length`` tokens, all layers."""
        return sum(m.state_size(sequence_length) for m in self.sequence_mixers)

    def active_state_size(self, sequence_length: int) -> int | None:
        """Elements read or written per token, all layers; None where a mixer from elsewhere does not say."""
        if not all(hasattr(mixer, "active_state_size") for mixer in self.sequence_mixers):
            return None
        return sum(mixer.active_state_size(sequence_length) for mixer in self.sequence_mixers)


def auxiliary_losses(module: nn.Module) -> list[Tensor]:
    """What the modules in it, itself too, add to the training loss; of those that do."""
    return [getter() for m in module.modules() if callable(getter := getattr(m, "get_auxiliary_loss", None))]


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
