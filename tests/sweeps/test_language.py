import pytest

import mixers
from mqar_bench.basics.errors import UsageError
from mqar_bench.language import preset
from mqar_bench.language.export import recall_config
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


@pytest.mark.parametrize("scale", sorted({*language.SCALES} - {"paper"}))
def test_every_architecture_is_there_at_every_rate(long_corpus, scale):
    runs = language.configs(scale, long_corpus)
    assert {run.mixer for run in runs} == set(mixers.names()) - {"short_conv"}
    assert len({run.run_id for run in runs}) == len(runs)
    assert set(language.HIGHER_RATES) <= {run.mixer for run in runs}
    usual, higher = language.SIZES[scale].rates, language.HIGHER_RATES if scale == "laptop" else {}
    for name in mixers.names():
        rates = tuple(run.train.learning_rate for run in runs if run.mixer == name)
        assert name == "short_conv" or rates == higher.get(name, usual)
    for run in runs:
        assert (run.sweep, run.scale) == ("language", scale) and run.model.vocab_size == 300
        for spec in run.model.mixers:
            mixers.build(spec.name, run.model.d_model, 0, **spec.options)


def test_the_models_of_paper_are_those_of_table_2(long_corpus):
    corpus = long_corpus.model_copy(update={"vocab_size": 32000, "tokens": dict.fromkeys(long_corpus.tokens, 10**8)})
    runs = language.configs("paper", corpus)
    kinds = ("transformer", "gla", "hgrn2", "gated-delta-net", "mamba2", "ramnet")
    for run, kind in zip(runs, kinds, strict=True):
        ours = recall_config(run.model).to_dict()
        theirs = preset(f"{kind}-340m", bos_token_id=None, eos_token_id=None).to_dict()
        assert ours == theirs
        assert run.data.epoch_tokens * run.train.max_epochs == pytest.approx(1e10, rel=1e-3)


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
