"""What follows the sequence mixer in a block and mixes each position's features: Zoology's, from its start."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from mqar_bench.config import ModelConfig
from mqar_bench.training.embeddings import INIT_STD


class MLP(nn.Module):
    """Two linear layers with GELU between them; Zoology's default state mixer."""

    def __init__(self, d_model: int, hidden_mult: int, n_layers: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_model * hidden_mult)
        self.fc2 = nn.Linear(d_model * hidden_mult, d_model)
        _start(n_layers, self.fc1, scaled=self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GLU(nn.Module):
    """``fc3(fc1(x) * gelu(fc2(x)))``, Zoology's gated linear unit.

    Zoology scales down the first weights of every layer called ``fc2``, meaning the last one of its MLP; here that is
    the gate, and so it is in this one.
    """

    def __init__(self, d_model: int, hidden_mult: int, n_layers: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_model * hidden_mult)
        self.fc2 = nn.Linear(d_model, d_model * hidden_mult)
        self.fc3 = nn.Linear(d_model * hidden_mult, d_model)
        _start(n_layers, self.fc1, self.fc3, scaled=self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.fc1(x) * F.gelu(self.fc2(x)))


def make_state_mixer(config: ModelConfig) -> nn.Module:
    """That of one block: ``[B, T, d_model]`` in and out."""
    kinds: dict[str, type[MLP] | type[GLU]] = {"mlp": MLP, "glu": GLU}
    if config.state_mixer == "identity":
        return nn.Identity()
    return kinds[config.state_mixer](config.d_model, config.mlp_hidden_mult, config.n_layers)


def _start(n_layers: int, *layers: nn.Linear, scaled: nn.Linear) -> None:
    for layer in layers:
        nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.normal_(scaled.weight, std=INIT_STD / math.sqrt(2 * n_layers))
    for layer in (*layers, scaled):
        nn.init.zeros_(layer.bias)
