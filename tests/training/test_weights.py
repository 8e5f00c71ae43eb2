"""A trained model in a file, and back: the same model, or one line that says why not."""

import json
import sys

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

import mixers
from mqar_bench import load_model
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.machine.software import read_project
from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult
from mqar_bench.records.weights import read_header, read_weights
from mqar_bench.training.data import build_test
from mqar_bench.training.loop import fit
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.scoring import evaluate
from mqar_bench.training.weights import encode_weights, load_weights, save_weights
from sweeps.fig3 import SMOKE_OPTIONS

TASK = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 16}
MINE = """
import torch
from torch import nn


class Shares(nn.Module):
    def __init__(self, d_model, layer_idx=None):
        super().__init__()
        self.one = nn.Linear(d_model, d_model)
        self.other = nn.Linear(d_model, d_model)
        self.other.weight = self.one.weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("view", torch.arange(6.0).view(2, 3).T.to(torch.bfloat16))
        self.register_buffer("shares_memory", self.view[0])

    def forward(self, x):
        self.steps += self.training
        return self.other(self.one(x)) * self.steps

    def state_size(self, sequence_length):
        return 0


class Remembers(Shares):
    def get_extra_state(self):
        return {"seen": 1}

    def set_extra_state(self, state):
        pass


class Sparse(Shares):
    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model)
        self.register_buffer("mask", torch.eye(2).to_sparse())
"""


def tiny(*names, **changes):
    specs = [{"name": name, "options": SMOKE_OPTIONS.get(name, {})} for name in names]
    return RunConfig.model_validate(
        {
            "data": {"train": [TASK], "test": [TASK, TASK | {"num_kv_pairs": 4}]},
            "model": {"vocab_size": 64, "d_model": 16, "n_layers": len(specs), "mixers": specs} | changes,
            "train": {"max_epochs": 1, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"},
        }
    )


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mixers_to_keep.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mixers_to_keep"
    sys.modules.pop("mixers_to_keep", None)


@pytest.fixture(scope="module")
def trained():
    return fit(tiny("short_conv", "attention"), keep=True)


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "a" / "b.safetensors"
    save_weights(path, *trained)
    return path


@pytest.mark.parametrize("name", mixers.names())
def test_a_trained_model_comes_back(name, tmp_path):
    config = tiny("short_conv", name, state_mixer="mlp", max_position_embeddings=16)
    model, result = fit(config, keep=True)
    save_weights(tmp_path / "x.safetensors", model, result)
    before = torch.get_rng_state()
    back = load_model(tmp_path / "x.safetensors")
    assert torch.equal(torch.get_rng_state(), before) and not back.training
    state = model.state_dict()
    assert state.keys() == back.state_dict().keys()
    for key, value in back.state_dict().items():
        assert value.dtype == state[key].dtype and torch.equal(value, state[key]), key
    tokens = build_test(config.data).test[0].inputs
    logits = back(tokens)
    assert torch.equal(logits, model(tokens)) and (logits.shape, logits.dtype) == ((16, 16, 64), torch.float32)
    assert evaluate(back, build_test(config.data), config.train, torch.device("cpu")).accuracy == result.settings


def test_what_shares_memory_is_written_under_each_name_and_shared_again(mine, tmp_path):
    model, result = fit(tiny(f"{mine}.Shares"), keep=True)
    path = tmp_path / "x.safetensors"
    save_weights(path, model, result)
    state = safetensors.torch.load_file(path)
    assert state.keys() == model.state_dict().keys()
    mixer = "layers.0.sequence_mixer."
    assert torch.equal(state[f"{mixer}one.weight"], state[f"{mixer}other.weight"])
    assert state[f"{mixer}steps"].dtype == torch.int64 and state[f"{mixer}steps"] == 1
    assert state[f"{mixer}view"].dtype == torch.bfloat16 and state[f"{mixer}view"].tolist() == [[0, 3], [1, 4], [2, 5]]
    back = load_model(path)
    shared = back.sequence_mixers[0]
    assert shared.one.weight is shared.other.weight and shared.steps == 1
    tokens = build_test(result.config.data).test[0].inputs
    assert torch.equal(back(tokens), model(tokens))


@pytest.mark.parametrize("name, what", [("Remembers", "_extra_state in its state_dict is a dict"), ("Sparse", "mask")])
def test_what_cannot_be_kept_is_found_out_before_the_first_step(mine, name, what):
    config = tiny(f"{mine}.{name}")
    with pytest.raises(mixers.MixerError, match=f"model.mixers.0: mixer '{mine}.{name}': {what}.*only plain tensors"):
        fit(config, lambda _: pytest.fail("trained"), keep=True)
    fit(config)  # and is no matter where nothing is kept


def test_the_file_explains_itself_to_whatever_reads_the_form(trained, file):
    _, result = trained
    with safetensors.safe_open(file, "pt") as opened:
        metadata, names = opened.metadata(), set(opened.keys())
    assert names == trained[0].state_dict().keys()
    assert metadata["run_id"] == result.run_id and metadata["version"] == read_project().version
    assert RunConfig.model_validate_json(metadata["config"]) == result.config
    weights, data = read_weights(file)
    assert weights == read_header(file) and weights.result == result and data == encode_weights(*trained)


def test_weights_of_another_run_are_refused(trained, file):
    config = trained[1].config
    relisted = config.model_copy(update={"sweep": "elsewhere"})
    assert load_weights(file, "cpu", relisted)[1].config == config  # the same run under another name
    other = tiny("short_conv", "gla")
    with pytest.raises(UsageError, match=f"weights of run {config.run_id}, not of {other.run_id}"):
        load_weights(file, "cpu", other)


def one_line(file, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_model(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(file))


def test_what_is_damaged_is_one_line(trained, file):
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    start = 8 + int.from_bytes(whole[:8], "little")
    for content in (b"", b"nothing", b"{" * 99, whole[:7], whole[:-1], whole[: len(whole) // 2], whole[:start]):
        file.write_bytes(content)
        one_line(file, "no file of weights, or it is cut off or damaged")
        with pytest.raises(UsageError, match="cut off or damaged"):
            read_header(file)
    for content in (bytes(flipped), whole.replace(b"F32", b"I32", 1), whole + b"\0"):
        file.write_bytes(content)
        one_line(file, "no file of weights, or it is cut off or damaged")


def test_what_is_another_kind_of_file_is_one_line(trained, file, tmp_path):
    one_line(tmp_path / "none.safetensors", "cannot read .*none.safetensors: No such file")
    one_line(tmp_path, "cannot read .*: Is a directory")
    torch.save({"model": trained[0]}, file)  # would run code, if it were asked to
    one_line(file, "no file of weights")
    safetensors.torch.save_file({"a": torch.zeros(2)}, file)
    one_line(file, "does not say which run its tensors are of")


def rewrite(file, trained, change=None, **metadata):
    """The file with another header, as somebody else may write it."""
    with safetensors.safe_open(file, "pt") as opened:
        written = opened.metadata() | metadata
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    safetensors.torch.save_file(state, file, written)


def test_a_header_of_another_version_or_run_is_one_line(trained, file):
    rewrite(file, trained, mqar_bench_weights="9")
    one_line(file, "weights of version 9; this program reads 1")
    rewrite(file, trained, mqar_bench_weights="1", config=tiny("gla").model_dump_json())
    one_line(file, "do not say which run they are of: its config does not give its run_id")
    rewrite(file, trained, record="[]")
    one_line(file, "cut off or damaged")


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_weights_of_another_shape_are_one_line(trained, tmp_path, change):
    model, result = trained
    other = LanguageModel(result.config.model)
    if change == "missing":
        del other.ln_f.bias
    elif change == "more":
        other.extra = nn.Parameter(torch.zeros(1))
    else:
        other.ln_f.bias = nn.Parameter(torch.zeros(3))
    path = tmp_path / "x.safetensors"
    save_weights(path, other, result)
    what = {"missing": "ln_f.bias is missing", "more": "it has no extra", "shape": r"ln_f.bias has shape \[3\], and"}
    one_line(path, f"do not fit the model: {what[change]}")


def test_a_mixer_that_is_not_there_is_one_line(mine, tmp_path):
    model, result = fit(tiny(f"{mine}.Shares"))
    save_weights(tmp_path / "x.safetensors", model, result)
    del sys.modules[mine].Shares
    one_line(tmp_path / "x.safetensors", f"cannot be built: mixer '{mine}.Shares': module '{mine}' has no 'Shares'")


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there_is_one_line(file):
    with pytest.raises(UsageError, match="torch sees no CUDA device; use cpu or auto"):
        load_model(file, "cuda")
    assert next(load_model(file, "auto").parameters()).device.type == "cpu"


def test_the_header_has_the_record_as_it_was(trained, file):
    with safetensors.safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    values = json.loads(metadata["record"]) | {"run_id": metadata["run_id"], "config": json.loads(metadata["config"])}
    assert RunResult.model_validate(values) == trained[1]
