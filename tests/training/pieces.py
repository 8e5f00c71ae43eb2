"""Runs in pieces: interrupted at any call, and gone on with."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training.checkpoint import decode
from mqar_bench.training.loop import fit, run
from mqar_bench.training.session import Stopped

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]
TASK = dict(vocab_size=64, input_seq_len=16, num_kv_pairs=2)
OPTIONS = {"attention": {"dropout": 0.2}, "sliding_window_attention": {"dropout": 0.2}}

#: Where runs are interrupted: at which calls of ``stop``, one for each piece, and where that is, as (epoch, batches).
#: An epoch has three steps, then two pauses between three test batches, then one after them (but for the last epoch's).
PLACES = {
    "in the middle of an epoch": ([2], (0, 2)),
    "at an epoch's last step": ([3], (0, 3)),
    "while scoring": ([5], (0, 3)),
    "after scoring": ([6], (1, 0)),
    "at the last step": ([9], (1, 3)),
    "while scoring for the last time": ([11], (1, 3)),
    "twice": ([2, 6], (1, 2)),
    "twice while scoring": ([4, 2], (0, 3)),
}


class Plain(nn.Module):
    """A mixer from elsewhere, with no more than the contract asks for."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return x * self.scale

    def state_size(self, sequence_length):
        return 1

    active_state_size = state_size


class Restless(Plain):
    """Carries a mean and a count from one call to the next, and draws random numbers, in scoring too."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model)
        self.register_buffer("mean", torch.zeros(d_model))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.mean.lerp_(x.detach().mean((0, 1)), 0.1)
        return super().forward(x + self.mean + 0.1 * self.calls * torch.rand_like(x))

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


class Unreadable(Plain):
    """Its state is an object, which only code could restore, though not before it is trained."""

    trained = False

    def forward(self, x):
        self.trained = self.trained or len(x) > 2  # more than are tried before the first step
        return super().forward(x)

    def get_extra_state(self):
        return Path("/") if self.trained else None

    def set_extra_state(self, state):
        pass


def small(mixer="attention", device="cpu", data=None, model=None, **settings) -> RunConfig:
    """Two layers with dropout; two epochs of three batches, and three test batches."""
    specs = (MixerSpec(name=mixer, options=OPTIONS.get(mixer, {})),)
    train_task, test_task = (MQARConfig(num_examples=n, **TASK) for n in (96, 40))
    dropout = {"embed_dropout": 0.1, "resid_dropout": 0.1}
    settings = {"max_epochs": 2, "batch_size": 32, "test_batch_size": 16, "learning_rate": 1e-2, **settings}
    return RunConfig(
        data=DataConfig(**{"train": (train_task,), "test": (test_task,), **(data or {})}),
        model=ModelConfig(**{"vocab_size": 64, "d_model": 16, "mixers": specs, **dropout, **(model or {})}),
        train=TrainConfig(device=device, **settings),
    )


def stop_at(call):
    """A ``stop`` that says so when asked for the n-th time."""
    calls = iter(range(1, call + 1))
    return lambda: next(calls) == call


def stopped(config, *calls) -> bytes:
    """The checkpoint of a run interrupted at these calls of ``stop``, one for each piece."""
    checkpoint = None
    for call in calls:
        with pytest.raises(Stopped) as caught:
            run(config, checkpoint=checkpoint, stop=stop_at(call))
        checkpoint = caught.value.checkpoint
    return checkpoint


def numbers(record):
    """What may not depend on where a run was interrupted."""
    by_place = {"provenance", "seconds", "train_seconds", "tokens_per_second", "peak_memory_bytes", "resumed"}
    return record.model_dump(exclude=by_place)


def finish(config, checkpoint=None, **options):
    """What a run comes to: its record, and the numbers in it with the bytes of all weights."""
    model, record = fit(config, checkpoint=checkpoint, **options)
    weights = {name: t.cpu().numpy().tobytes() for name, t in model.state_dict().items()}
    return record, (numbers(record), weights)


@cache
def uninterrupted(config_json):
    return finish(RunConfig.model_validate_json(config_json))[1]


def place(checkpoint, config):
    tally = decode(checkpoint, config.run_id)["tally"]
    return tally["epoch"], tally["batches"]
