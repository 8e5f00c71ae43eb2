"""A run in pieces equals the run in one piece, to the bit; and what is no checkpoint is refused."""

import hashlib
import io
import pickle
import random
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mixers
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training import data as task_data
from mqar_bench.training.checkpoint import HEADER, VERSION, CheckpointError, Tally, decode, encode
from mqar_bench.training.data import build_data
from mqar_bench.training.loop import fit, run
from mqar_bench.training.session import Divergence, Stopped

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


@pytest.fixture
def mine(monkeypatch):
    for mixer in (Plain, Restless, Unreadable):
        monkeypatch.setattr(mixers, mixer.__name__, mixer, raising=False)


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


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mixer", mixers.names())
def test_a_run_in_pieces_equals_the_run_in_one_piece(mixer, device, where):
    config = small(mixer, device)
    calls, expected_place = PLACES[where]
    checkpoint = stopped(config, *calls)
    assert place(checkpoint, config) == expected_place
    record, end = finish(config, checkpoint)
    assert end == uninterrupted(config.model_dump_json()) and record.resumed == len(calls)


TWO_TASKS = (MQARConfig(num_examples=40, **TASK), MQARConfig(num_examples=50, **{**TASK, "input_seq_len": 32}))
VARIANTS = {
    "shuffle": small(data={"train": TWO_TASKS, "shuffle": True}),
    "fresh": small(data={"train": TWO_TASKS, "fresh": True}),
    "shuffle and fresh": small(data={"train": TWO_TASKS, "shuffle": True, "fresh": True}),
    "Zoology's sampler": small(data={"train": TWO_TASKS, "sampler": "zoology"}),
    "cosine by step": small(schedule="cosine_step", warmup_fraction=0.4, grad_clip=0.1),
    "annealed slots": small("ramnet", max_epochs=3),
    "bfloat16": small(precision="bfloat16"),
    "MLP and positions": small(model={"state_mixer": "mlp", "max_position_embeddings": 16}),
    "early stopping": small(early_stopping_threshold=-1.0),
    "one step": small(max_epochs=1, batch_size=96),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("device", DEVICES)
def test_every_checkpoint_of_a_run_leads_to_the_same_end(variant, device):
    config = VARIANTS[variant]
    config = config.model_copy(update={"train": config.train.model_copy(update={"device": device})})
    saved = []
    record, end = finish(config, save=saved.append, save_every=0)
    assert finish(config)[1] == end, "saving changes nothing"
    epochs, batches = len(record.epochs), record.steps // len(record.epochs)
    after_scoring = epochs - 1  # nothing is saved once the run is over
    assert len(saved) == epochs * batches + after_scoring
    assert epochs == (1 if variant == "early stopping" else config.train.max_epochs)
    for checkpoint in saved:
        assert finish(config, checkpoint)[1] == end


def test_what_an_own_mixer_keeps_in_its_state_goes_on_too(mine):
    """Scoring changes it as well: what is repeated after a stop within must begin as it did the first time."""
    config = small("mixers.Restless")
    record = run(config)
    for call in range(1, 12):
        assert numbers(run(config, checkpoint=stopped(config, call))) == numbers(record), call


def test_a_state_that_cannot_be_read_back_is_found_out_when_saving(mine):
    config = small("mixers.Unreadable")
    message = r"cannot be saved: layers.0.sequence_mixer._extra_state in the model's state_dict is of type \w*Path, and"
    with pytest.raises(TypeError, match=message):
        run(config, save=pytest.fail, save_every=0)
    with pytest.raises(TypeError, match=message):
        run(config, stop=lambda: True)
    assert run(config, save=pytest.fail, stop=lambda: False).status == "done"  # until then it does no harm


def with_header(payload):
    return HEADER % VERSION + hashlib.sha256(payload).digest() + payload


def saved_by_torch(value, **options):
    torch.save(value, buffer := io.BytesIO(), **options)
    return buffer.getvalue()


def refused(config, checkpoint, message):
    """It is refused with one line, and nothing is trained."""

    def trained():
        pytest.fail("trained")

    with pytest.raises(CheckpointError, match=message) as caught:
        run(config, checkpoint=checkpoint, stop=trained)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_cut_off_or_damaged_anywhere_is_refused():
    config = small("short_conv")
    good = stopped(config, 2)
    assert run(config, checkpoint=good).status == "done"
    for length in (0, 1, len(HEADER % VERSION) - 1):
        refused(config, good[:length], "not a checkpoint of mqar-bench, or only the start of one")
    for length in (len(HEADER % VERSION), 40, 1000, len(good) // 2, len(good) - 1):
        refused(config, good[:length], "cut off or damaged")
    for at in range(len(HEADER % VERSION), len(good), len(good) // 20):
        refused(config, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], "cut off or damaged")
    refused(config, good + b"\0", "cut off or damaged")


def test_what_is_not_a_checkpoint_of_this_run_is_refused():
    config = small("short_conv")
    good = stopped(config, 2)
    refused(config, b"\x80\x02" + bytes(100), "not a checkpoint of mqar-bench")
    refused(config, saved_by_torch(decode(good, config.run_id)), "not a checkpoint of mqar-bench")
    refused(config, good.replace(HEADER % VERSION, HEADER % (VERSION + 1)), "has version 2; this program reads 1")
    refused(config, with_header(saved_by_torch([1, 2])), "something else than a run's tensors and plain values")
    refused(config, with_header(b"no archive"), "something else than a run's tensors and plain values")
    other = small("short_conv", seed=7)
    refused(other, good, f"is of run {config.run_id}, not of {other.run_id}")
    assert run(config.model_copy(update={"sweep": "renamed"}), checkpoint=good).resumed == 1  # the same run


def test_what_does_not_fit_the_model_or_the_device_is_refused(monkeypatch):
    config = small("short_conv")
    good = stopped(config, 2)

    def changed(change):
        found = decode(good, config.run_id)
        change(found)
        return encode(found)

    def larger(found):
        found["model"]["ln_f.weight"] = torch.ones(17)

    refused(config, changed(larger), "does not fit the run: RuntimeError: Error.* size mismatch")
    refused(config, changed(lambda f: f["model"].popitem()), "does not fit the run: .*Missing key")
    refused(config, changed(lambda f: f["optimizer"]["param_groups"].pop()), "does not fit the run: ValueError")
    refused(config, changed(lambda f: f["tally"].pop("step")), "does not fit the run: KeyError: .step")
    refused(config, changed(lambda f: f["tally"].update(epochs=[{"loss": 1.0}])), "does not fit the run: Validation")
    refused(config, changed(lambda f: f.pop("optimizer")), "does not fit the run: KeyError")
    on_gpu = changed(lambda f: f["random"].update(cuda=torch.zeros(16, dtype=torch.uint8)))
    refused(config, on_gpu, "has random states of cpu and cuda, but this run draws from cpu")


class Evil:
    """Pickled, an instruction to make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    config = small("short_conv")
    path = tmp_path / "executed"
    found = decode(stopped(config, 2), config.run_id)
    evil = Evil(str(path))
    payloads = [
        pickle.dumps(evil, 2),
        saved_by_torch(evil),
        saved_by_torch(evil, _use_new_zipfile_serialization=False),
        saved_by_torch(found | {"more": evil}),
        saved_by_torch(found | {"run_id": evil}),
    ]
    for payload in payloads:
        refused(config, payload, "not a checkpoint of mqar-bench")
        refused(config, with_header(payload), "something else than a run's tensors and plain values")
        assert not path.exists()
    pickle.loads(payloads[0])
    assert path.exists(), "it would have"


def test_global_random_states_are_left_alone():
    config = small()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    good = stopped(config, 5)
    assert states() == before
    run(config, checkpoint=good)
    assert states() == before
    refused(config, good[:-1], "damaged")
    assert states() == before


class Clock:
    """In place of the system's: ten seconds pass at a pause, ``slow`` ones while saving, ``setup`` ones for data."""

    def __init__(self, monkeypatch, config, slow=0.0, setup=0.0):
        self.now, self.slow, self.config, self.saved = 100.0, slow, config, []
        data = build_data(config.data)

        def shared_data(_):
            self.now += setup
            return data

        monkeypatch.setattr(task_data, "shared_data", shared_data)
        for clock in ("monotonic", "perf_counter"):
            monkeypatch.setattr(time, clock, lambda: self.now)

    def stop(self):
        self.now += 10
        return False

    def save(self, checkpoint):
        self.saved.append(checkpoint)
        self.now += self.slow

    @property
    def places(self):
        return [place(checkpoint, self.config) for checkpoint in self.saved]

    def times(self, checkpoint):
        tally = decode(checkpoint, self.config.run_id)["tally"]
        return tally["seconds"], tally["train_seconds"]


@pytest.mark.parametrize("slow", [0.0, 100.0])
def test_save_every_counts_from_the_start_and_from_the_end_of_the_last(monkeypatch, slow):
    config = small("short_conv")
    clock = Clock(monkeypatch, config, slow)
    run(config, save=clock.save, save_every=25, stop=clock.stop)
    assert clock.places == [(0, 3), (1, 0), (1, 3)]  # at 30, 60 and 90 s; 40 and 50 are within scoring
    clock = Clock(monkeypatch, config)
    run(config, save=clock.save, save_every=60, stop=clock.stop)
    assert clock.places == [(1, 0)]
    run(config, save=pytest.fail, save_every=91, stop=clock.stop)
    clock = Clock(monkeypatch, config)
    run(config, save=clock.save, stop=clock.stop)
    assert clock.places == [(0, 3), (1, 0), (1, 3)], "every 30 s by default"


def test_stop_is_asked_at_every_pause_and_not_once_the_run_is_over():
    asked = []
    run(small("short_conv"), stop=lambda: asked.append(None))
    assert len(asked) == 2 * (3 + 2) + 1
    asked.clear()
    run(small("short_conv", early_stopping_threshold=-1.0), stop=lambda: asked.append(None))
    assert len(asked) == 3 + 2


def test_stopping_does_not_save_as_well():
    with pytest.raises(Stopped):
        run(small("short_conv"), save=pytest.fail, save_every=0, stop=lambda: True)


def test_stopped_says_how_far_it_is_and_travels_between_processes():
    for call, step in ((1, 1), (5, 3), (6, 3), (9, 6)):
        with pytest.raises(Stopped, match=f"^stopped after step {step}$") as caught:
            run(small("short_conv"), stop=stop_at(call))
        sent = pickle.loads(pickle.dumps(caught.value))
        for error in (caught.value, sent):
            assert (error.step, error.fraction) == (step, step / 6) and str(error) == f"stopped after step {step}"
        assert sent.checkpoint == caught.value.checkpoint


def test_times_are_sums_over_the_pieces(monkeypatch):
    """All but training, so building, scoring and saving too, is in the seconds alone; work done twice counts twice."""
    config = small("short_conv")
    clock = Clock(monkeypatch, config, slow=100.0, setup=1000.0)
    record = run(config, save=clock.save, save_every=0, stop=clock.stop)
    assert (record.seconds, record.train_seconds) == (1000 + 11 * 10 + 7 * 100, 6 * 10)
    assert clock.times(clock.saved[0]) == (1010, 10)
    assert clock.times(clock.saved[3]) == (1000 + 6 * 10 + 3 * 100, 30)  # after scoring
    record = run(config, checkpoint=clock.saved[3], stop=clock.stop)
    assert (record.seconds, record.train_seconds) == (1360 + 1000 + 5 * 10, 60)
    assert record.tokens_per_second == 2 * 96 * 16 / 60
    with pytest.raises(Stopped) as caught:
        asked = iter(range(1, 6))
        run(config, stop=lambda: clock.stop() or next(asked) == 5)  # while scoring
    assert clock.times(caught.value.checkpoint) == (1050, 30)


def test_a_record_says_when_the_first_piece_began_and_how_many_there_were():
    config = small("short_conv")
    found = decode(stopped(config, 2), config.run_id)
    found["tally"].update(started_at="2020-01-01T00:00:00+00:00", resumed=4)
    record = run(config, checkpoint=encode(found))
    assert record.provenance.started_at == "2020-01-01T00:00:00+00:00" and record.resumed == 5


def test_divergence_names_the_step_of_the_whole_run():
    config = small("short_conv", learning_rate=1e30)
    with pytest.raises(Divergence, match=r"at step 1 \(epoch 0\)"):
        run(config, checkpoint=stopped(config, 1))


def test_the_size_of_a_checkpoint_is_that_of_weights_and_moments():
    """d_model 64 and a vocabulary of 8192: 6.6 MB."""
    specs = (MixerSpec(name="short_conv"), MixerSpec(name="attention"))
    config = small(model={"vocab_size": 8192, "d_model": 64, "mixers": specs})
    checkpoint = stopped(config, 1)
    weights = decode(checkpoint, config.run_id)["model"]
    expected = 3 * 4 * sum(t.numel() for t in weights.values())
    assert expected == 6_551_808 and expected < len(checkpoint) < expected + 40_000


def test_everything_in_a_tally_is_saved():
    config = small("short_conv")
    tally = decode(stopped(config, 8), config.run_id)["tally"]
    assert tally.keys() == asdict(Tally("", 1)).keys()
    assert (tally["total_steps"], tally["step"], tally["tokens"], tally["resumed"]) == (6, 5, 5 * 32 * 16, 0)
    assert [epoch["epoch"] for epoch in tally["epochs"]] == [0] and tally["loss_sum"] > 0


def test_a_run_goes_on_without_building_what_it_has_trained_on(monkeypatch):
    config = small("short_conv", data={"fresh": True})
    data = build_data(config.data)
    checkpoint = stopped(config, 9)
    monkeypatch.setattr(MQARConfig, "build", lambda *_, **__: pytest.fail("built"))
    assert run(config, checkpoint=checkpoint, data=data).steps == 6
