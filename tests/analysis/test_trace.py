import json
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import plots
from mixers.ramnet import decode_address, record_access
from mqar_bench.analysis.trace import build_setting, choose_heads, load_trace, longest_setting, record, save_trace
from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.config import RunConfig
from mqar_bench.launching import worker
from mqar_bench.launching.progress import Lines
from mqar_bench.records.differ import origin
from mqar_bench.records.store import Store
from mqar_bench.training.data import Batch, build_data
from mqar_bench.training.loop import fit, run
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.scoring import evaluate
from mqar_bench.training.weights import load_weights, save_weights

TASK = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 24}
OPTIONS = {"order": 2, "sub_dim": 4, "top_k": 3, "read_top_k": 2, "head_v_dim": 4}


def tiny(layers=("short_conv", "ramnet"), **settings):
    mixers = [{"name": name, "options": OPTIONS | {"cape": 1} if name == "ramnet" else {}} for name in layers]
    return RunConfig.model_validate(
        {
            "sweep": "grid",
            "scale": "tiny",
            "data": {"train": [TASK], "test": [TASK, TASK | {"num_kv_pairs": 4}, TASK | {"num_kv_pairs": 3}]},
            "model": {"vocab_size": 64, "d_model": 8, "n_layers": len(layers), "mixers": mixers},
            "train": {"max_epochs": 2, "batch_size": 8, "test_batch_size": 7, "learning_rate": 0.01, "device": "cpu"}
            | settings,
        }
    )


CONFIG = tiny()


@pytest.fixture(scope="module")
def trained():
    return fit(CONFIG)


@pytest.fixture(scope="module")
def trace(trained):
    model, result = trained
    return record(model, CONFIG, result.provenance, "L16-kv4", 3, 10)


def same(a, b):
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name != "layers")


def test_fit_gives_the_model_that_the_record_scores(trained):
    model, result = trained
    assert not model.training
    assert evaluate(model, build_data(CONFIG.data), CONFIG.train, torch.device("cpu")).accuracy == result.settings
    assert run(CONFIG).epochs == result.epochs


def test_a_trace_has_the_addresses_that_the_layer_decodes(trained, trace):
    model, _ = trained
    tokens = torch.from_numpy(trace.tokens).long()
    segment = build_data(CONFIG.data).test[1]
    for name in ("tokens", "positions", "answers"):
        assert np.array_equal(getattr(trace, name), getattr(segment, name)[3:13].numpy())
    mixer, seen = model.sequence_mixers[1], []
    hook = mixer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(tokens)
        hook.remove()
        position = torch.arange(16)
        for proj, alpha, k, w, idx in (
            (mixer.k_proj, mixer.alpha_k, 3, trace.layers[1].w, trace.layers[1].w_idx),
            (mixer.q_proj, mixer.alpha_q, 2, trace.layers[1].r, trace.layers[1].r_idx),
        ):
            logits = proj(seen[0]).unflatten(-1, (2, 2, 4))
            logits[..., 1, :, :] *= 1.5 / logits[..., 1, :, :].square().mean((-1, -2), keepdim=True).sqrt()  # no CAPE
            logits = logits * alpha.exp()[:, None, None]
            weights, slots = decode_address(logits, k, "reference", position, torch.tensor([True, False]))
            if proj is mixer.q_proj:
                weights = weights / weights.sum(-1, keepdim=True)
            assert idx.shape == (10, 16, 2, k) and idx.dtype == np.uint16 and w.dtype == np.float32
            assert np.allclose(w, weights.numpy(), rtol=1e-4) and np.array_equal(idx, slots.numpy())
    assert (trace.layers[1].num_slots, trace.layers[1].gamma) == (16, 1.0)
    assert trace.layers[1].cape.tolist() == [True, False]


def test_recording_does_not_change_the_forward_pass(trained, trace):
    model, _ = trained
    batch = Batch(*build_setting(CONFIG.data, "L16-kv4").batch(3, 13))
    with torch.no_grad():
        plain = model(batch.tokens, batch.positions)
        with record_access(model):
            assert torch.equal(model(batch.tokens, batch.positions), plain)
        assert torch.equal(model(batch.tokens, batch.positions), plain)
    assert np.array_equal(trace.predictions, plain.argmax(-1).numpy())
    assert trace.accuracy == (plain.argmax(-1) == batch.answers).double().mean().item()
    assert model.sequence_mixers[1].trace is None


def test_a_trace_comes_back_from_its_file(trace, tmp_path):
    save_trace(trace, tmp_path / "a" / "trace.npz")
    back = load_trace(tmp_path / "a" / "trace.npz")
    assert same(trace, back) and list(back.layers) == [1] and same(trace.layers[1], back.layers[1])
    assert back.config == CONFIG and back.shown == ((1, 0), (1, 1)) and back.setting == "L16-kv4"
    for f in fields(back.layers[1]):
        assert type(getattr(back.layers[1], f.name)) is type(getattr(trace.layers[1], f.name)), f.name
    with np.load(tmp_path / "a" / "trace.npz") as file:  # by numpy alone, as the module tells
        assert str(file["run_id"]) == CONFIG.run_id and json.loads(str(file["config"]))["mixer"] == "ramnet"
        assert (
            file["layer1.w_idx"].shape == (10, 16, 2, 3) and "torch" in json.loads(str(file["provenance"]))["versions"]
        )


def test_what_is_no_trace_is_refused_in_one_line(trace, tmp_path):
    path = tmp_path / "trace.npz"
    with pytest.raises(UsageError, match="cannot read .*trace.npz: No such file"):
        load_trace(path)
    save_trace(trace, path)
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    for damaged in (b"", b"nothing", whole[:-40], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="no trace that `mqar-bench trace` wrote"):
            load_trace(path)
    for lacking in ("config", "layer1.r", "tokens", "version"):
        np.savez(path, **{name: value for name, value in arrays.items() if name != lacking})
        with pytest.raises(UsageError, match="no trace that `mqar-bench trace` wrote"):
            load_trace(path)
    np.savez(path, **(arrays | {"tokens": np.array([print], object)}))  # would run code
    with pytest.raises(UsageError, match="no trace that `mqar-bench trace` wrote"):
        load_trace(path)
    np.savez(path, **(arrays | {"version": 2}))
    with pytest.raises(UsageError, match="version 2; this program reads 1"):
        load_trace(path)


def test_heads_to_draw_are_of_both_kinds_and_of_different_layers():
    half = np.array([True, False])
    assert choose_heads({1: half}) == ((1, 0), (1, 1))
    assert choose_heads({0: half, 3: half}) == ((0, 0), (3, 0), (0, 1), (3, 1))
    all_, none = np.array([True] * 4), np.array([False] * 4)
    assert choose_heads({0: all_, 1: none}) == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert choose_heads({i: none for i in range(27)}) == ((0, 0), (9, 0), (17, 0), (26, 0))
    assert choose_heads({2: none}) == ((2, 0), (2, 1), (2, 2), (2, 3))
    layers = {i: all_ for i in range(4)} | {i: none for i in range(4, 27)}
    assert choose_heads(layers) == ((0, 0), (3, 0), (4, 0), (26, 0))
    assert choose_heads({0: np.array([True]), 1: none}) == ((0, 0), (1, 0), (1, 1), (1, 2))


def test_the_longest_setting_is_the_one_with_most_pairs_of_the_longest():
    assert longest_setting(CONFIG.data) == "L16-kv4"


def test_slots_beyond_16_bits_keep_their_numbers():
    config = RunConfig.model_validate(
        tiny().model_dump()
        | {"model": tiny().model.model_dump() | {"mixers": [{"name": "ramnet", "options": {"order": 9}}]}}
    )
    model = LanguageModel(config.model)
    with torch.random.fork_rng(devices=[]):
        trace = record(model, config, fit(CONFIG)[1].provenance, "L16-kv2", 0, 2)
    slots = trace.layers[0].w_idx
    assert slots.dtype == np.uint32 and slots.max() > 2**16


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs a command in an empty folder that has a record of ``CONFIG``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    torch_threads = torch.get_num_threads()
    Store("results").write(run(CONFIG))
    yield lambda *words: CliRunner().invoke(app, [str(word) for word in words])
    assert torch.get_num_threads() == torch_threads


@pytest.fixture
def undrawn(monkeypatch):
    """What is drawn is tested elsewhere."""
    monkeypatch.setattr(plots, "draw", lambda name, traces, out: [])


FOLDER = Path("figures/grid-tiny") / CONFIG.run_id


def test_the_command_trains_once_and_draws(cli, monkeypatch):
    before = Store("results").read(CONFIG)
    first = cli("trace", CONFIG.run_id[:6])
    assert first.exit_code == 0, first.stderr
    assert f"training run {CONFIG.run_id} again from its config, as its weights were not kept; it" in first.stderr
    assert "[1/1] ramnet lr=0.01 seed=123 accuracy" in first.stderr and "note:" not in first.stderr
    names = ["weights.safetensors", "trace.npz"] + [
        f"{f}.{kind}" for f in ("traces", "cache") for kind in ("pdf", "png", "csv")
    ]
    lines = first.stdout.splitlines()
    assert lines[1:] == [str(FOLDER / name) for name in names] and all(Path(line).stat().st_size for line in lines[1:])
    trace = load_trace(FOLDER / "trace.npz")
    assert lines[0] == f"accuracy {trace.accuracy:.3f} on examples 0 to 15 of L16-kv4"
    assert Store("results").read(CONFIG) == before and not list(Path("figures").rglob("*.ckpt"))
    monkeypatch.setattr(plots, "draw", lambda name, traces, out: [])
    monkeypatch.setattr("mqar_bench.training.loop.fit", None)  # whoever trains now fails
    again = cli(
        "trace", "--setting", "L16-kv2", f"results/grid-tiny/{CONFIG.run_id}.json", "--example=4", "--examples", 2
    )
    assert again.exit_code == 0 and again.stderr == ""
    trace = load_trace(FOLDER / "trace.npz")
    assert (trace.setting, trace.first, len(trace.tokens), trace.shown) == ("L16-kv2", 4, 2, ((1, 0), (1, 1)))
    one = cli("trace", CONFIG.run_id, "--heads", "1.1", "--out", "figures")
    assert one.exit_code == 0 and load_trace(FOLDER / "trace.npz").shown == ((1, 1),)


def test_weights_are_kept_where_asked_and_those_of_another_run_refused(cli, undrawn):
    first = cli("trace", CONFIG.run_id, "--weights", "mine.safetensors", "--train.seed=7", "--quiet")
    assert first.exit_code == 0 and first.stderr == ""
    (folder,) = Path("figures/adhoc-custom").iterdir()
    assert Path("mine.safetensors").exists() and not (folder / "weights.safetensors").exists()
    refused = cli("trace", CONFIG.run_id, "--weights", "mine.safetensors")
    assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
    assert f"error: mine.safetensors has the weights of run {folder.name}, not of {CONFIG.run_id}" in refused.stderr


def test_weights_that_the_run_has_kept_are_used(cli, undrawn, trained, monkeypatch):
    kept = Store("results").weights(CONFIG)
    save_weights(kept, *trained)
    monkeypatch.setattr("mqar_bench.training.loop.fit", None)  # whoever trains now fails
    result = cli("trace", CONFIG.run_id)
    assert result.exit_code == 0 and result.stdout.splitlines()[1] == str(kept)
    assert load_trace(FOLDER / "trace.npz").provenance == trained[1].provenance


def test_a_record_that_is_not_met_again_is_noted(cli, undrawn):
    known = Store("results").read(CONFIG)
    Store("results").write(known.model_copy(update={"settings": {"L16-kv2": 0.5}, "accuracy": 0.5}))
    result = cli("trace", CONFIG.run_id)
    here = origin(known.provenance)
    note = f"note: accuracy {known.accuracy:.6g} here ({here}), 0.5 in the record ({here}): it comes from another"
    assert result.exit_code == 0 and note in result.stderr


def test_a_record_that_differs_by_rounding_alone_is_not_noted(cli, undrawn):
    known = Store("results").read(CONFIG)
    epochs = [epoch.model_copy(update={"loss": epoch.loss * (1 + 1e-6)}) for epoch in known.epochs]
    Store("results").write(known.model_copy(update={"epochs": tuple(epochs)}))
    result = cli("trace", CONFIG.run_id)
    assert result.exit_code == 0 and "note: " not in result.stderr


def test_an_interrupted_training_goes_on_to_the_same_weights(cli, monkeypatch, undrawn, trained):
    with monkeypatch.context() as patched:
        patched.setattr(worker, "SAVE_SECONDS", 0)
        patched.setattr(Lines, "progress", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        result = cli("trace", CONFIG.run_id)
    assert result.exit_code == 130 and result.stderr.endswith("interrupted: the same command resumes\n")
    assert len(list(Path("figures").rglob("*.ckpt"))) == 1 and not (FOLDER / "weights.safetensors").exists()
    resumed = cli("trace", CONFIG.run_id)
    assert resumed.exit_code == 0 and "scratch" not in resumed.stderr and not list(Path("figures").rglob("*.ckpt"))
    back, _ = load_weights(FOLDER / "weights.safetensors", "cpu", CONFIG)
    for name, value in trained[0].state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_a_run_that_diverges_is_said(cli):
    result = cli("trace", CONFIG.run_id, "--train.learning_rate", "1e30")
    assert result.exit_code == 1 and "the run failed: the loss is" in result.stderr and "Traceback" not in result.stderr


def test_figures_are_drawn_again_from_the_file_alone(cli, trace, monkeypatch):
    save_trace(trace, Path("trace.npz"))
    drawn = []

    def make_figure(name, traces, columns):
        return SimpleNamespace(save=lambda out: drawn.append((name, traces, out)) or [])

    monkeypatch.setattr(plots, "make_figure", make_figure)
    assert cli("plot", "traces", "--trace", "trace.npz", "--out", "here").exit_code == 0
    assert cli("plot", "cache", "--trace", "trace.npz", "--trace", "trace.npz").exit_code == 0
    assert [(name, len(traces), out) for name, traces, out in drawn] == [
        ("traces", 1, Path("here")),
        ("cache", 2, Path("figures")),
    ]
    assert all(same(other, trace) for _, traces, *_ in drawn for other in traces)
    assert cli("plot", "cache").stderr == (
        "error: the figure cache is drawn from --trace FILE, as `mqar-bench trace` writes it\n"
    )
    assert "is drawn from records: there is no --trace to it" in cli("plot", "fig3", "--trace", "trace.npz").stderr


@pytest.mark.parametrize(
    "words, message",
    [
        ("--model.mixers.1.name attention", "has no RAM-Net to trace: its mixers are short_conv, attention"),
        ("abc", "no file and no record 'abc' in results"),
        ("ID --base grid/tiny/0", "exclude each other"),
        ("ID --setting L16-kv5", "no test setting 'L16-kv5': did you mean 'L16-kv"),
        ("ID --heads 1.2", "no RAM-Net head '1.2', as layer.head: there is 1.0, 1.1"),
        ("ID --heads 0.0", "no RAM-Net head '0.0'"),
        ("ID --examples 25", "L16-kv4 has examples 0 to 23: there are no 25 from 0 on"),
        ("ID --example 24", "L16-kv4 has examples 0 to 23: there are no 1 from 24 on"),
        ("ID --exampls 3", "no option --exampls; did you mean --example"),
        ("ID --train.lr 3", "no setting 'train.lr'"),
        ("ID stray", "unexpected argument 'stray'"),
        ("ID --weights results", "cannot read results: Is a directory"),
        ("ID --out results/grid-tiny/ID.json", "cannot write to results/grid-tiny/"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(cli, words, message, monkeypatch):
    monkeypatch.setattr("mqar_bench.training.loop.fit", None)
    result = cli("trace", *words.replace("ID", CONFIG.run_id).split())
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and result.stdout == ""
    assert message in result.stderr
