"""What follows the sequence mixer in a block and mixes each position's features: Zoology's as it starts, or SwiGLU."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from mqar_bench.config import ModelConfig
from mqar_bench.training.embeddings import INIT_STD


class MLP(nn.Module):
    """Two linear layers with GELU between them; Zoology's default state mixer."""

    def __init__(self, d_model: int, hidden_size: int, n_layers: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, hidden_size)
        self.fc2 = nn.Linear(hidden_size, d_model)
        _start(n_layers, self.fc1, scaled=self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GLU(nn.Module):
    """``fc3(fc1(x) * gelu(fc2(x)))``, Zoology's gated linear unit.

    Zoology scales down the first weights of every layer called ``fc2``, meaning the last one of its MLP; here that is
    the gate, and so it is in this one.
    """

    def __init__(self, d_model: int, hidden_size: int, n_layers: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, hidden_size)
        self.fc2 = nn.Linear(d_model, hidden_size)
        self.fc3 = nn.Linear(hidden_size, d_model)
        _start(n_layers, self.fc1, self.fc3, scaled=self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.fc1(x) * F.gelu(self.fc2(x)))


class SwiGLU(nn.Module):
    """``down_proj(act(gate_proj(x)) * up_proj(x))``; names as in fla's GatedMLP.

    Its weights are left as torch draws them.

    Args:
        hidden_size: of what goes in and comes out.
        intermediate_size: of what is between.
        act: of the gate.

    Source: Shazeer 2020, arXiv 2002.05202.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, act: Callable[[Tensor], Tensor] = F.silu) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


def make_state_mixer(config: ModelConfig) -> nn.Module:
    """That of one block: ``[B, T, d_model]`` in and out; the identity, too, where there is to be none."""
    kinds: dict[str, type[MLP] | type[GLU]] = {"mlp": MLP, "glu": GLU}
    if config.state_mixer in ("identity", "none"):
        return nn.Identity()
    if config.state_mixer == "swiglu":
        swiglu = SwiGLU(config.d_model, hidden_size(config))
        for weight in swiglu.parameters():
            nn.init.normal_(weight, std=INIT_STD)
        return swiglu
    return kinds[config.state_mixer](config.d_model, hidden_size(config), config.n_layers)


def hidden_size(config: ModelConfig) -> int:
    """Width of what is between the layers of an MLP or GLU; 0 where there is none."""
    if config.state_mixer in ("identity", "none"):
        return 0
    return config.mlp_hidden_size or config.d_model * config.mlp_hidden_mult


def _start(n_layers: int, *layers: nn.Linear, scaled: nn.Linear) -> None:
    for layer in layers:
        nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.normal_(scaled.weight, std=INIT_STD / math.sqrt(2 * n_layers))
    for layer in (*layers, scaled):
        nn.init.zeros_(layer.bias)
