"""Mixers as users write them: without a state, or with `step` alone; a constructor that looks into its tensors."""

import torch
from torch import nn


class Mean(nn.Module):
    """The mean of all tokens so far, times weights."""

    def __init__(self, d_model, layer_idx=None, scale: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((d_model,), scale))
        self.total = float(self.weight.detach().sum())
        self.register_buffer("offset", torch.linspace(0, 1, d_model), persistent=False)

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return x.cumsum(1) / count * self.weight + self.offset

    def state_size(self, sequence_length):
        return len(self.weight)


class RunningMean(Mean):
    """The same, which carries a state, a token at a time alone."""

    def init_state(self, batch):
        return {"sum": self.weight.new_zeros(batch, len(self.weight)), "count": self.weight.new_zeros(batch)}

    def step(self, x_t, state):
        state = {"sum": state["sum"] + x_t, "count": state["count"] + 1}
        return state["sum"] / state["count"][:, None] * self.weight + self.offset, state
