import pytest

import mixers
from mqar_bench.basics.errors import UsageError
from mqar_bench.text import prepare
from mqar_bench.training.model import LanguageModel, count_parameters
from sweeps import language
from tests.text.words import write_text


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare([write_text(folder / "one.txt", words=6000)], folder / "corpora", 300)


@pytest.fixture(scope="module")
def long_corpus(corpus):
    """As if it were longer; it is not read."""
    return corpus.model_copy(update={"tokens": dict.fromkeys(corpus.tokens, 10**6)})


@pytest.mark.parametrize("scale", language.SCALES)
def test_every_architecture_is_there_at_every_rate(long_corpus, scale):
    runs = language.configs(scale, long_corpus)
    assert {run.mixer for run in runs} == set(mixers.names()) - {"short_conv"}
    assert (
        len({run.run_id for run in runs})
        == len(runs)
        == len({r.mixer for r in runs}) * len(language.SIZES[scale].rates)
    )
    for run in runs:
        assert (run.sweep, run.scale) == ("language", scale) and run.model.vocab_size == 300
        for spec in run.model.mixers:
            mixers.build(spec.name, run.model.d_model, 0, **spec.options)


def test_a_model_of_laptop_can_be_passed_around(long_corpus):
    corpus = long_corpus.model_copy(update={"vocab_size": 2048})
    run, *_ = language.configs("laptop", corpus, ["ramnet"])
    assert 4 * count_parameters(LanguageModel(run.model)) < 5_000_000


def test_only_some_or_what_is_wrong(corpus, long_corpus):
    assert {run.mixer for run in language.configs("laptop", long_corpus, ["gla", "ramnet"])} == {"gla", "ramnet"}
    with pytest.raises(UsageError, match="no mixer 'rmnet' in the sweep language: did you mean 'ramnet'"):
        language.configs("smoke", corpus, ["rmnet"])
    with pytest.raises(UsageError, match="no scale 'laptpo' of language: did you mean 'laptop'"):
        language.configs("laptpo", corpus)
    with pytest.raises(UsageError, match="scores 64 windows of 256 tokens of the validation text, which has"):
        language.configs("laptop", corpus)
