"""Runs of a fraction of a second, and mixers that go wrong."""

from mqar_bench.config import RunConfig
from mqar_bench.launching.executor import Task
from mqar_bench.launching.worker import execute
from mqar_bench.records.result import RunResult

MIXERS = """
import os
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, d_model, layer_idx=None, gain: float = 1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.full((d_model,), gain))

    def forward(self, x):
        return x * self.scale

    def state_size(self, sequence_length):
        return 1

    active_state_size = state_size


class Broken(Base):
    def forward(self, x):
        raise RuntimeError("this mixer\\nis broken")


class Dies(Base):
    def forward(self, x):
        os._exit(1)


class Interrupts(Base):
    def forward(self, x):
        raise KeyboardInterrupt
"""


def tiny(mixer="attention", rate=1e-2, epochs=1, **options) -> RunConfig:
    task = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 64}
    return RunConfig.model_validate(
        {
            "sweep": "tiny",
            "data": {"train": [task], "test": [task]},
            "model": {"vocab_size": 64, "d_model": 8, "mixers": [{"name": mixer, "options": options}]},
            "train": {"max_epochs": epochs, "batch_size": 32, "learning_rate": rate, "device": "cpu"},
        }
    )


def executed(config, threads=1) -> RunResult:
    """The record of a run, made in this process."""
    events = []
    execute(Task(config), threads, events.append)
    return events[-1]
