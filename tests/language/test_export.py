"""What ``mqar-bench language`` has trained as a folder for transformers: the same model, with its tokenizer."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import mixers
from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.language import RecallForCausalLM, as_recall, export
from mqar_bench.language.export import export_best
from mqar_bench.launching import launch
from mqar_bench.records.store import Store
from mqar_bench.tasks import MQARConfig
from mqar_bench.text import prepare, read_corpus
from mqar_bench.training.model import LanguageModel, count_parameters
from mqar_bench.training.weights import load_model
from sweeps import language
from sweeps.fig3 import SMOKE_OPTIONS
from tests.text.words import write_text


def untrained(name="attention", **changes):
    spec = MixerSpec(name=name, options=SMOKE_OPTIONS.get(name, {}))
    form = {"norm": "rms", "state_mixer": "swiglu", "mlp_hidden_size": 20, "layer_norm_epsilon": 1e-3} | changes
    config = ModelConfig(vocab_size=29, d_model=16, n_layers=3, mixers=(MixerSpec(name="short_conv"), spec), **form)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LanguageModel(config).eval()


@pytest.mark.parametrize("name", mixers.names())
def test_a_model_of_every_mixer_is_the_same_by_both_conventions(name):
    model = untrained(name).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)  # so that norms have weights too
    drawn = torch.get_rng_state()
    recall = as_recall(model.float()).double()
    assert torch.equal(torch.get_rng_state(), drawn) and not recall.training
    tokens = torch.randint(29, (2, 13), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(recall(tokens).logits, model.double()(tokens))
    assert recall.state_size(13) == model.state_size(13)


def test_a_model_without_mlps_is_the_same_by_both_conventions():
    model = untrained("mamba2", state_mixer="none").double()
    recall, tokens = as_recall(model.float()).double(), torch.arange(18).view(2, 9)
    assert recall.config.intermediate_size == 0 and recall.num_parameters() == count_parameters(model)
    with torch.no_grad():
        torch.testing.assert_close(recall(tokens).logits, model.double()(tokens))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with a trained run of two mixers, and its corpus beside it."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = prepare([write_text(folder / "one.txt", words=6000)], folder / "corpora", 300)
    store = Store(folder / "results")
    summary = launch(language.configs("smoke", corpus, ["ramnet", "gla"]), store, "inline", save_weights=True)
    assert len(summary.done) == 2
    return store, {result.config.mixer: result for result in summary.done}, corpus


def test_a_trained_model_is_loaded_by_the_auto_classes_and_writes(trained, tmp_path):
    store, results, corpus = trained
    folders = export_best(results.values(), store, tmp_path / "models")
    assert folders == {name: tmp_path / "models" / name for name in ("ramnet", "gla")}
    model = AutoModelForCausalLM.from_pretrained(folders["ramnet"])
    tokenizer = AutoTokenizer.from_pretrained(folders["ramnet"])
    assert type(model) is RecallForCausalLM and model.config.max_position_embeddings == 32
    before = load_model(store.weights(results["ramnet"].config))
    tokens = torch.from_numpy(corpus.part("test")[:40].astype("int64"))[None]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, before(tokens))
    text = tokenizer.decode(tokens[0])
    assert tokenizer(text)["input_ids"] == tokens[0].tolist() == corpus.tokenizer().encode(text).ids
    prompts = tokenizer(["abc ", text[:30]], padding=True, return_tensors="pt")
    written = model.generate(**prompts, max_new_tokens=5, do_sample=False, eos_token_id=None)
    assert written.shape == (2, prompts["input_ids"].shape[1] + 5)
    alone = tokenizer("abc ", return_tensors="pt")
    single = model.generate(**alone, max_new_tokens=5, do_sample=False, eos_token_id=None)
    assert tokenizer.decode(single[0]) == tokenizer.decode(written[0], skip_special_tokens=True)


def test_of_several_runs_the_best_on_validation_text_is_written(trained, tmp_path):
    store, results, _ = trained
    result = results["gla"]

    def beside(**update):
        epochs = tuple(e.model_copy(update=update) for e in result.epochs)
        return result.model_copy(update={"run_id": "x", "epochs": epochs})

    loss = result.epochs[-1].guide_loss
    worse = beside(accuracy=1.0, losses={"validation-all-L32": loss + 1})  # though right more often
    assert set(export_best([worse, result], store, tmp_path)) == {"gla"}
    before = beside(accuracy=-1.0, losses={})  # of when no losses were kept
    assert set(export_best([before, result], store, tmp_path)) == {"gla"}
    with pytest.raises(UsageError, match="^the weights of run x, the best of gla, are not in .*--retrain-without"):
        export_best([worse], store, tmp_path)


def test_what_cannot_be_exported_is_said_in_one_line(trained, tmp_path):
    store, results, corpus = trained
    weights = store.weights(results["gla"].config)
    aside = Path(corpus.folder).rename(tmp_path / "aside")
    read_corpus.cache_clear()
    with pytest.raises(UsageError, match="^the tokenizer of run .* is with its corpus: there is no corpus in"):
        export(weights, tmp_path / "model")
    shutil.move(aside, corpus.folder)
    assert not (tmp_path / "model").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="^cannot write a model to .*file: File exists$"):
        export(weights, tmp_path / "file")
    result = CliRunner().invoke(app, ["language", "--export", str(tmp_path / "file")])
    assert result.exit_code == 2 and result.stderr.endswith("file is a file: give a folder\n")
    with pytest.raises(UsageError, match="^there|cannot read"):
        export(tmp_path / "none.safetensors", tmp_path / "model")
    with pytest.raises(
        UsageError, match="^RecallForCausalLM's model has model.state_mixer 'swiglu' or 'none', and this one 'mlp'"
    ):
        as_recall(untrained(state_mixer="mlp"))
    with pytest.raises(UsageError, match="^RecallForCausalLM's model has model.norm 'rms', and this one 'layer'"):
        as_recall(untrained(norm="layer"))


def test_a_run_on_no_text_has_no_tokenizer(tmp_path):
    task = MQARConfig(vocab_size=32, num_examples=16, input_seq_len=16, num_kv_pairs=2)
    run = RunConfig(
        data=DataConfig(train=(task,), test=(task,)),
        model=ModelConfig(vocab_size=32, d_model=8, norm="rms", state_mixer="swiglu"),
        train=TrainConfig(max_epochs=1, batch_size=16),
    )
    store = Store(tmp_path)
    assert len(launch([run], store, "inline", save_weights=True).done) == 1
    with pytest.raises(UsageError, match=f"^run {run.run_id} is of multiquery_ar, which has no tokenizer"):
        export(store.weights(run), tmp_path / "model")
