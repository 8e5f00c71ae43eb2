"""What a run needs of a mixer is asked for before its first step; and asking changes nothing."""

import random
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mixers
from mixers import MixerError, SequenceMixer
from mixers.base import RecurrentMixer
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.config.overrides import parse_config
from mqar_bench.launching.executor import Task
from mqar_bench.launching.worker import execute
from mqar_bench.training import contract, loop
from mqar_bench.training.data import build_data
from mqar_bench.training.loop import run
from mqar_bench.training.model import LanguageModel

TRAIN, TEST = ({"vocab_size": 64, "input_seq_len": n, "num_kv_pairs": 2, "num_examples": 64} for n in (16, 32))


def config(mixer: str = "Mine", **train) -> RunConfig:
    """Two layers of a mixer, trained on 16 tokens and scored on 32 as well."""
    return RunConfig.model_validate(
        {
            "data": {"train": [TRAIN], "test": [TRAIN, TEST]},
            "model": {"vocab_size": 64, "d_model": 8, "mixers": [{"name": "short_conv"}, {"name": f"mixers.{mixer}"}]},
            "train": {"max_epochs": 1, "batch_size": 32, "device": "cpu", **train},
        }
    )


class Plain(nn.Module):
    """A mixer from elsewhere, which says no more than it must."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return x * self.scale

    def state_size(self, sequence_length):
        return 1


class OneOfOurs(SequenceMixer):
    """As the README has it, but for what is not asked for in training."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.scale = nn.Parameter(torch.ones(d_model))

    forward, state_size = Plain.forward, Plain.state_size


class Unloadable(Plain):
    def get_extra_state(self):
        return {"calls": 1}


def raises(*_):
    raise IndexError("theirs")


def only_in_training(self, x):
    return x * self.scale if self.training else raises()


def only_short(self, x):
    return x * self.scale[None, None].expand(1, 16, -1)


def says(value):
    return lambda self, *_: value


#: The parts of the contract: what a mixer is like that breaks it, and what is said of it. Those marked * are found out
#: by a command that is given the mixer, too, without running it.
BROKEN = {
    "*no forward": (OneOfOurs, {"forward": SequenceMixer.forward}, " does not implement forward"),
    "*no forward at all": (Plain, {"forward": nn.Module.forward}, " does not implement forward"),
    "*no mix": (RecurrentMixer, {"state_size": Plain.state_size}, " does not implement mix"),
    "*no state_size": (OneOfOurs, {"state_size": SequenceMixer.state_size}, " does not implement state_size"),
    "*state_size None": (Plain, {"state_size": None}, " does not implement state_size"),
    "*state_size a number": (Plain, {"state_size": 16}, ": state_size must be a method, got 16"),
    "*state_size unfit": (Plain, {"state_size": says(10.5)}, ": state_size(32) must be a number of elements, got 10.5"),
    "*state_size negative": (Plain, {"state_size": says(-1)}, ": state_size(32) must be a number of elements, got -1"),
    "*state_size text": (Plain, {"state_size": says("5")}, ": state_size(32) must be a number of elements, got '5'"),
    "*active_state_size None": (Plain, {"active_state_size": None}, " does not implement active_state_size"),
    "*active_state_size nothing": (
        *(Plain, {"active_state_size": says(None)}),
        ": active_state_size(32) must be a number of elements, got None",
    ),
    "state_size without length": (Plain, {"state_size": lambda self: 1}, ": state_size(32) raised TypeError: "),
    "state_size raises": (Plain, {"state_size": raises}, ": state_size(32) raised IndexError: theirs"),
    "active_state_size raises": (
        *(OneOfOurs, {"active_state_size": raises}),
        ": active_state_size(32) raised IndexError: theirs",
    ),
    "forward gives a tuple": (Plain, {"forward": lambda self, x: (x, None)}, ": forward must return a tensor, got ("),
    "forward gives another shape": (
        *(Plain, {"forward": lambda self, x: x[:1]}),
        ": forward must return [2, 16, 8] of float32 or less, got [1, 16, 8] of torch.float32",
    ),
    "forward gives another type": (
        *(Plain, {"forward": lambda self, x: x.double() * self.scale}),
        ": forward must return [2, 16, 8] of float32 or less, got [2, 16, 8] of torch.float64",
    ),
    "forward gives integers": (Plain, {"forward": lambda self, x: x.int()}, "got [2, 16, 8] of torch.int32"),
    "forward gives no gradient": (
        *(Plain, {"forward": torch.no_grad()(Plain.forward)}),
        ": forward gives no gradient, so that its parameters would not be trained",
    ),
    "forward fails in scoring": (
        *(Plain, {"forward": only_in_training}),
        ": forward, when scoring [1, 32, 8], raised IndexError: theirs",
    ),
    "forward fails on longer sequences": (
        *(Plain, {"forward": only_short}),
        ": forward, when scoring [1, 32, 8], raised RuntimeError: The size of tensor a (32) must match",
    ),
    "set_training_progress fails": (
        *(Plain, {"set_training_progress": raises}),
        ": set_training_progress(0.0) raised IndexError: theirs",
    ),
    "set_training_progress a number": (
        *(Plain, {"set_training_progress": 0.5}),
        ": set_training_progress(0.0) raised TypeError: 'float' object is not callable",
    ),
    "get_auxiliary_loss fails": (
        *(Plain, {"get_auxiliary_loss": raises}),
        ": get_auxiliary_loss() raised IndexError: theirs",
    ),
    "get_auxiliary_loss several numbers": (
        *(Plain, {"get_auxiliary_loss": lambda self: self.scale}),
        ": get_auxiliary_loss() must be one number, got ",
    ),
    "get_auxiliary_loss none": (
        *(Plain, {"get_auxiliary_loss": says(None)}),
        ": get_auxiliary_loss() must be one number, got None",
    ),
    "state_dict fails": (Plain, {"state_dict": raises}, ": state_dict() raised IndexError: theirs"),
    "state_dict holds an object": (
        *(Plain, {"get_extra_state": says(Path("/"))}),
        r": the run cannot be saved: _extra_state in its state_dict is of type ",
    ),
    "state_dict not to be loaded": (
        Unloadable,
        {},
        ": load_state_dict, given what a checkpoint holds, raised RuntimeError: ",
    ),
    "parameters that never come": (
        *(Plain, {"__init__": lambda self, d_model, layer_idx=None: lazy(self)}),
        ": counting its parameters after forward raised ValueError: ",
    ),
}


def lazy(mixer):
    Plain.__init__(mixer, 8)
    mixer.unused = nn.LazyLinear(8)


@pytest.fixture
def add(monkeypatch):
    """Makes a mixer known as ``mixers.Mine``."""

    def add(base, members=None, name="Mine"):
        kind = type(name, (base,), members or {})
        monkeypatch.setattr(mixers, name, kind, raising=False)
        return kind

    return add


@pytest.mark.parametrize("part", BROKEN)
def test_what_is_missing_or_wrong_is_told_before_the_first_step_in_one_line(part, add, monkeypatch):
    base, members, message = BROKEN[part]
    add(base, members)
    monkeypatch.setattr(loop, "training_loss", lambda *_: pytest.fail("trained"))
    events = []
    execute(Task(config()), 1, events.append)
    (record,) = events
    assert record.status == "failed" and "\n" not in record.error
    assert record.error.startswith("MixerError: model.mixers.1: mixer 'mixers.Mine'") and message in record.error
    assert len(record.error) < 400


@pytest.mark.parametrize("part", BROKEN)
def test_a_command_that_is_given_the_mixer_refuses_what_needs_no_computing(part, add):
    base, members, message = BROKEN[part]
    add(base, members)
    values = config().model_dump(mode="json")
    if part.startswith("*"):
        with pytest.raises(UsageError, match="^" + re.escape(f"model.mixers.1: mixer 'mixers.Mine'{message}")):
            parse_config(values)
    else:
        assert parse_config(values) == config()


def test_what_fails_in_a_training_step_fails_with_its_own_error(add):
    add(Plain, {"forward": raises})
    with pytest.raises(IndexError, match="^theirs$"):
        run(config())


def test_where_no_checkpoint_is_due_the_state_may_be_anything(add):
    add(Plain, {"get_extra_state": says(Path("/"))})
    assert run(config()).status == "done"
    for due in ({"save": lambda _: None}, {"stop": lambda: False}):
        with pytest.raises(MixerError, match="cannot be saved: _extra_state in its state_dict is of type "):
            run(config(), **due)


def in_place(self, x):
    return x.mul_(2) * self.scale


def in_chunks(self, x):
    assert x.shape[1] % 16 == 0, "chunks of 16"
    return x * self.scale


def locked(self, d_model, layer_idx=None):
    Plain.__init__(self, d_model)
    self.lock = threading.Lock()


def empty(self, d_model, layer_idx=None):
    nn.Module.__init__(self)


#: Mixers that are to be taken: beyond the contract, or odd, but nothing that a run needs is missing.
TAKEN = {
    "one from elsewhere": (Plain, {}, (1, None)),
    "one of ours without active_state_size": (OneOfOurs, {}, (1, 1)),
    "sizes of numpy's": (Plain, {"state_size": lambda self, n: np.int64(n)}, (32, None)),
    "a size that is whole": (Plain, {"state_size": says(4.0), "active_state_size": says(2.0)}, (4, 2)),
    "half the precision": (Plain, {"forward": lambda self, x: (x * self.scale).bfloat16()}, (1, None)),
    "writes over its input": (Plain, {"forward": in_place}, (1, None)),
    "wants whole chunks": (Plain, {"forward": in_chunks}, (1, None)),
    "cannot be copied": (Plain, {"__init__": locked}, (1, None)),
    "nothing to train": (Plain, {"__init__": empty, "forward": lambda self, x: torch.zeros_like(x)}, (1, None)),
    "a loss that is a plain number": (Plain, {"get_auxiliary_loss": says(0.5)}, (1, None)),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", TAKEN)
def test_what_no_run_needs_is_not_asked_for(kind, precision, add):
    base, members, sizes = TAKEN[kind]
    add(base, members)
    assert parse_config(config().model_dump(mode="json")) == config()
    events = []
    execute(Task(config(precision=precision)), 1, events.append)
    record = events[-1]
    assert record.status == "done", record.traceback
    convolution = 8 * 2
    total, active = sizes
    assert record.state_size == convolution + total
    assert record.active_state_size == (None if active is None else convolution + active)


def restless(self, x):
    """Counts its calls, keeps a mean, and draws from every generator there is."""
    self.calls = getattr(self, "calls", 0) + 1
    self.scale.data.add_(0.01)
    noise = random.random() + np.random.rand() + torch.rand_like(x)
    return x * self.scale * self.calls * noise


def test_asking_changes_no_number_of_a_run(add, monkeypatch):
    add(Plain, {"forward": restless})

    def numbers():
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        return run(config(max_epochs=2)).epochs

    asked = numbers()
    monkeypatch.setattr(loop, "check_model", lambda *_, **__: None)
    assert asked == numbers()


def test_asking_does_not_compile_what_is_compiled(add):
    """Other shapes than those of training would make it another program, with other bits."""
    shapes = []

    def backend(graph, inputs):
        shapes.extend(each.shape for each in inputs if isinstance(each, torch.Tensor) and each.dim() == 3)
        return graph.forward

    add(Plain, {"forward": torch.compile(lambda self, x: x * self.scale, backend=backend)})
    torch._dynamo.reset()
    assert run(config()).status == "done"
    assert shapes[0] == (32, 16, 8), shapes


@pytest.mark.parametrize("name", mixers.names())
def test_what_is_tested_in_this_package_is_not_tried_again(name, monkeypatch):
    monkeypatch.setattr(contract, "_rehearse", lambda *_: pytest.fail("tried"))
    values = config().model_dump(mode="json")
    values["model"]["mixers"] = [{"name": name}]
    chosen = RunConfig.model_validate(values)
    with torch.random.fork_rng():
        contract.check_model(LanguageModel(chosen.model), chosen, build_data(chosen.data), saved=True)
