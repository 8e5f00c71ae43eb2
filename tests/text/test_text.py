from typing import get_args

import numpy as np
import pytest
import torch

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.records.store import Store
from mqar_bench.text import Text, prepare
from mqar_bench.text.repeats import last_seen, repeats
from mqar_bench.text.task import RARE, Scored
from mqar_bench.training.data import build_data
from mqar_bench.training.device import pick_device
from mqar_bench.training.loop import fit, run
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.scoring import evaluate
from tests.text.words import write_text

L = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    path = write_text(folder / "one.txt", words=6000)
    text = path.read_text()
    start = round(0.96 * len(text))  # of the test text: words that training has not
    path.write_text(f"{text[:start]} wxyz wxyz wxyz wxyz {text[start:]}")
    return prepare([path], folder / "corpora", 300)


@pytest.fixture
def text(corpus):
    sizes = {"corpus": corpus.folder, "digest": corpus.digest, "vocab_size": corpus.vocab_size, "input_seq_len": L}
    return lambda **fields: Text(num_examples=20, **sizes, **fields)


def test_answers_are_the_next_tokens(corpus, text):
    for split in ("train", "validation", "test"):
        part, segment = corpus.part(split).tolist(), text(split=split).build(3)
        for i, (tokens, answers) in enumerate(zip(segment.tokens.tolist(), segment.answers.tolist(), strict=True)):
            assert tokens[1:] == answers[:-1]
            window = [*tokens, answers[-1]]
            starts = range(len(part) - L) if split == "train" else [i * L]
            assert any(part[s : s + L + 1] == window for s in starts)


def test_only_windows_of_the_training_text_depend_on_the_seed(text):
    def tokens(split, seed):
        return text(split=split).build(seed).tokens

    assert not torch.equal(tokens("train", 1), tokens("train", 2))
    assert torch.equal(tokens("train", 1), tokens("train", 1)) and torch.equal(tokens("test", 1), tokens("test", 2))


def last_had(window, t, count=2):
    """How many tokens ago the last of ``count`` tokens up to t + 1 were there; None if they were not."""
    wanted = window[max(0, t + 2 - count) : t + 2]
    return next((t - s for s in range(t - 1, count - 3, -1) if window[s + 2 - count : s + 2] == wanted), None)


def test_slices_are_what_they_say(corpus, text, monkeypatch):
    monkeypatch.setattr("mqar_bench.text.task.NEAR", 8)
    segments = {scored: text(split="test", scored=scored).build(1) for scored in get_args(Scored)}
    known = dict(zip(*(part.tolist() for part in corpus.bigrams), strict=True))
    seen = dict.fromkeys(segments, 0)
    for row in range(20):
        answers = {name: segment.answers[row].tolist() for name, segment in segments.items()}
        window = [*segments["all"].tokens[row].tolist(), answers["all"][-1]]
        for t in range(L):
            ago = last_had(window, t)
            hit, near = ago is not None, ago is not None and ago <= 8
            rare = hit and known.get(window[t] * corpus.vocab_size + window[t + 1], 0) < RARE
            expected = {"all": True, "hits": hit, "rare_hits": rare, "rest": not hit}
            expected |= {"copies": last_had(window, t, 3) is not None, "near_hits": near, "far_hits": hit and not near}
            expected |= {"early": t < 12, "late": t >= 12}
            assert {name: answers[name][t] == window[t + 1] for name in answers} == expected
            assert {name: answers[name][t] == -100 for name in answers} == {n: not e for n, e in expected.items()}
            seen = {name: seen[name] + found for name, found in expected.items()}
    assert all(seen.values())


def test_repeats_of_pairs_by_hand():
    windows = np.array([[1, 2, 1, 2, 1, 2], [5, 5, 5, 5, 1, 5]])
    assert repeats(windows, 6).tolist() == [[False, False, True, True, True], [False, True, True, False, False]]
    assert last_seen(windows, 6).tolist() == [[0, 0, 2, 2, 2], [0, 1, 1, 0, 0]]
    assert last_seen(windows, 6, 3).tolist() == [[0, 0, 0, 2, 2], [0, 0, 1, 0, 0]]


def test_another_text_in_the_folder_is_refused(text):
    task = text().model_copy(update={"digest": "0" * 12})
    with pytest.raises(ValueError, match="and the run is of 000000000000 of 300 tokens"):
        task.build(1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "train", "scored": "hits"}, "scored must be all of the training text, got 'hits'"),
        ({"input_seq_len": 0}, "input_seq_len must be at least 1, got 0"),
        ({"corpus": "nowhere"}, "there is no corpus in nowhere: mqar-bench language"),
        ({"split": "test", "input_seq_len": 100_000}, "the test text has 0 windows of 100000, not 1"),
        ({"input_seq_len": 100_000}, "tokens, too few for windows of 100000"),
    ],
    ids=["scored", "length", "nowhere", "windows", "long"],
)
def test_refuses(corpus, fields, message):
    sizes = {"corpus": corpus.folder, "digest": corpus.digest, "vocab_size": corpus.vocab_size, "num_examples": 1}
    with pytest.raises(ValueError, match=message):
        Text(**sizes | fields).build(1)


def config(text, **train):
    return RunConfig(
        data=DataConfig(
            train=(text(),),
            validation=(text(split="validation"),),
            test=tuple(text(split="test", scored=scored) for scored in ("all", "hits", "rest")),
            fresh=True,
        ),
        model=ModelConfig(vocab_size=300, d_model=8, mixers=(MixerSpec(name="short_conv"),), embed_dropout=0),
        train=TrainConfig(batch_size=10, early_stopping_threshold=None, device="cpu", **train),
    )


def test_losses_are_means_over_the_tokens_that_count(text):
    one = config(text)
    model, data = LanguageModel(one.model), build_data(one.data)
    scores = evaluate(model, data, one.train, pick_device("cpu"))
    with torch.no_grad():
        segment = data.test[0]
        logits = model(segment.tokens.long()).log_softmax(-1)
        lost = -logits.gather(-1, segment.answers.long().unsqueeze(-1)).squeeze(-1)
        right = logits.argmax(-1) == segment.answers
    names = list(scores.loss)
    assert names == ["test-all-L24", "test-hits-L24", "test-rest-L24"] == list(scores.accuracy)
    for name, part in zip(names, data.test, strict=True):
        counted = part.answers != -100
        assert scores.loss[name] == pytest.approx(lost[counted].mean().item(), rel=1e-5)
        assert scores.accuracy[name] == pytest.approx(right[counted].float().mean().item())


def test_a_run_keeps_its_losses_and_its_record_needs_no_text(text, tmp_path):
    result = run(config(text, max_epochs=3, learning_rate=1e-2))
    assert result.losses.keys() == result.settings.keys() and 0 < result.losses["test-all-L24"] < np.log(300)
    kept = [epoch.losses["validation-all-L24"] for epoch in result.epochs]
    assert sorted(kept, reverse=True) == kept and result.epochs[-1].guide_loss == kept[-1]
    assert ("perplexity of test-all-L24", f"{np.exp(result.losses['test-all-L24']):.4g}") in result.facts()
    store = Store(tmp_path)
    store.write(result)
    (again,), _ = store.results()
    assert again.losses == result.losses and again.epochs == result.epochs and again.run_id == result.run_id
    assert again.config.data.test[1].label == "test-hits-L24"


def test_without_validation_text_the_last_scoring_is_the_test(text):
    one = config(text, max_epochs=2)
    one = one.model_copy(update={"data": one.data.model_copy(update={"validation": ()})})
    model, result = fit(one)
    assert (
        result.losses
        == result.epochs[-1].losses
        == evaluate(model, build_data(one.data), one.train, pick_device("cpu")).loss
    )
    assert result.epochs[-1].guide_loss == pytest.approx(np.mean(list(result.losses.values())))
