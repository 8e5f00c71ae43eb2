"""lm-evaluation-harness takes a model as it is, offline: scores, tasks of a file, texts that it lets go on."""

import json

import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedTokenizerFast

import mixers
from mqar_bench.language import RecallConfig, RecallForCausalLM
from mqar_bench.text import prepare
from mqar_bench.text.corpus import END_OF_TEXT
from sweeps.fig3 import SMOKE_OPTIONS
from tests.text.words import write_text


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A text and its tokenizer."""
    folder = tmp_path_factory.mktemp("words")
    path = write_text(folder / "one.txt")
    special = {"eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT, "padding_side": "left"}
    tokenizer = prepare([path], folder / "corpora", 300).tokenizer()
    return path.read_text(), PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def load(name, tokenizer, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RecallForCausalLM(
            RecallConfig(
                vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, max_position_embeddings=64,
                mixers=[{"name": "short_conv"}, {"name": name, "options": SMOKE_OPTIONS.get(name, {})}],
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
    return HFLM(pretrained=model.eval(), tokenizer=tokenizer, device="cpu", **options)


def request(kind, *arguments):
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


@pytest.mark.parametrize("name", mixers.names())
def test_a_continuation_has_the_likelihood_that_the_model_gives_it(name, words):
    text, tokenizer = words
    said = text.split(" ")
    pairs = [(" ".join(said[i:j]), " " + " ".join(said[j:k])) for i, j, k in ((0, 4, 7), (20, 21, 29), (40, 52, 53))]
    lm = load(name, tokenizer, batch_size=3)
    scored = lm.loglikelihood([request("loglikelihood", *pair) for pair in pairs], disable_tqdm=True)
    for (context, continuation), (likelihood, is_greedy) in zip(pairs, scored, strict=True):
        start, whole = (len(tokenizer(part)["input_ids"]) for part in (context, context + continuation))
        tokens = tokenizer(context + continuation, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = lm.model(tokens).logits[0, start - 1 : whole - 1].log_softmax(-1)
        expected = logits.gather(1, tokens[0, start:, None]).sum().item()
        assert likelihood == pytest.approx(expected, rel=1e-5)
        assert is_greedy == torch.equal(logits.argmax(-1), tokens[0, start:])


def test_a_task_of_a_file_is_scored(words, tmp_path):
    text, tokenizer = words
    lines = [line for line in text.split(". ") if len(line.split()) > 3][:6]
    (tmp_path / "lines.json").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    task = {
        "task": "last_word", "dataset_path": "json", "output_type": "loglikelihood", "test_split": "train",
        "dataset_kwargs": {"data_files": str(tmp_path / "lines.json"), "cache_dir": str(tmp_path / "cache")},
        "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}", "doc_to_target": "{{' '+text.split(' ')[-1]}}",
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
    }  # fmt: skip
    lm = load("ramnet", tokenizer, batch_size=2)
    results = simple_evaluate(model=lm, tasks=[task], bootstrap_iters=0)["results"]["last_word"]
    halves = [(" ".join(said[:-1]), " " + said[-1]) for said in (line.split(" ") for line in lines)]
    scored = lm.loglikelihood([request("loglikelihood", *half) for half in halves], disable_tqdm=True)
    mean = sum(likelihood for likelihood, _ in scored) / len(lines)
    assert results["perplexity,none"] == pytest.approx(torch.tensor(-mean).exp().item(), rel=1e-5)
    assert results["acc,none"] == sum(is_greedy for _, is_greedy in scored) / len(lines)


def test_a_text_goes_on_as_generate_writes_it(words):
    text, tokenizer = words
    lm = load("ramnet", tokenizer, batch_size=2)
    prompts = [text[:12], text[50:80]]
    wanted = {"until": ["never in this text"], "max_gen_toks": 6, "do_sample": False}
    written = lm.generate_until([request("generate_until", prompt, wanted) for prompt in prompts], disable_tqdm=True)
    for prompt, continuation in zip(prompts, written, strict=True):
        tokens = tokenizer(prompt, return_tensors="pt")
        whole = lm.model.generate(**tokens, max_new_tokens=6, do_sample=False)[0, tokens["input_ids"].shape[1] :]
        assert continuation == tokenizer.decode(whole, skip_special_tokens=True)
