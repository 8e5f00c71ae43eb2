"""What is in a checkpoint, and what is refused as one."""

import hashlib
import io
import pickle
import random
from dataclasses import asdict

import numpy as np
import pytest
import torch

from mqar_bench.config import MixerSpec
from mqar_bench.training.checkpoint import HEADER, VERSION, CheckpointError, Tally, decode, encode
from mqar_bench.training.loop import run
from tests.training.pieces import (
    small,
    stopped,
)


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
    refused(config, good.replace(HEADER % VERSION, HEADER % (VERSION + 1)), "has version 3; this program reads 2")
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
