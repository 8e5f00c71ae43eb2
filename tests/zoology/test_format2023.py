"""Files in the format of 2023, whose data are drawn by a function that they name."""

import pytest

from mqar_bench.basics.errors import UsageError
from mqar_bench.tasks import AssociativeRecallConfig, MQARConfig
from mqar_bench.zoology import load_experiment

SIZES = "num_train_examples=96, num_test_examples=32, vocab_size=64, input_seq_len=16, batch_size=32"
SINGLE = "zoology.data.associative_recall.multiquery_ar"
RECALL = "zoology.data.associative_recall.associative_recall"
NOTE = "the format of 2023: its examples were shuffled anew every epoch, here the order of the batches is"


def body(builder, sizes=SIZES):
    return (
        f"from zoology.config import FunctionConfig\ndata = DataConfig({sizes}, builder={builder})\n"
        "configs = [config(mixer('attention.MHA'), {'vocab_size': 8192}, max_epochs=1)]"
    )


def named(name=SINGLE, **kwargs):
    return repr({"name": name, "kwargs": kwargs})


@pytest.mark.parametrize(
    "builder",
    [
        named(num_kv_pairs=2),
        named("zoology.data.multiquery_ar.multiquery_ar", num_kv_pairs=2),
        f"FunctionConfig(name={SINGLE!r}, kwargs={{'num_kv_pairs': 2}})",
    ],
    ids=["dictionary", "other module", "class"],
)
def test_one_task_by_its_function(write, builder):
    experiment = load_experiment(write(body(builder)))
    (run,) = experiment.configs
    task = MQARConfig(vocab_size=64, input_seq_len=16, num_kv_pairs=2, num_examples=96)
    assert run.data.train == (task,) and run.data.test == (task.model_copy(update={"num_examples": 32}),)
    assert (run.data.seed, run.data.shuffle, run.train.batch_size, run.train.test_batch_size) == (0, True, 32, 32)
    assert experiment.notes == {NOTE: 1} and experiment.refused == {} and run.ignored == ()


def test_its_arguments_and_defaults(write):
    given = named(train_power_a=1.0, test_power_a=0.5, random_non_queries=False)
    (run,) = load_experiment(write(body(given, "seed=3, batch_size=(8, 4), caching=False, cache_dir='x'"))).configs
    common = {"vocab_size": 8192, "input_seq_len": 64, "num_kv_pairs": 4, "random_non_queries": False}
    assert run.data.train == (MQARConfig(num_examples=10_000, power_a=1.0, **common),)
    assert run.data.test == (MQARConfig(num_examples=1_000, power_a=0.5, **common),)
    assert (run.data.seed, run.train.batch_size, run.train.test_batch_size) == (3, 8, 4)


@pytest.mark.parametrize(
    "given, ours",
    [
        ({}, {"num_kv_pairs": 4, "num_queries": 3}),
        (
            {"num_kv_pairs": 7, "num_queries": 1, "random_non_queries": False},
            {"num_kv_pairs": 7, "num_queries": 1, "random_non_queries": False},
        ),
    ],
    ids=["defaults", "a single query"],
)
def test_recall_of_few_keys(write, given, ours):
    experiment = load_experiment(write(body(named(RECALL, **given))))
    (run,) = experiment.configs
    task = AssociativeRecallConfig(vocab_size=64, input_seq_len=15, num_examples=96, **ours)
    assert run.data.train == (task,) and run.data.test == (task.model_copy(update={"num_examples": 32}),)
    assert run.data.shuffle and experiment.refused == {}
    assert experiment.notes == {
        NOTE: 1,
        "associative_recall: Zoology's labels lie one position before their queries, here at them": 1,
    }


def test_several_segments_are_in_order_and_every_key_is_asked_for(write):
    kwargs = "{'train_configs': [ARConfig(num_examples=9, num_kv_pairs=2, num_queries=1), ARConfig(input_seq_len=32)],"
    kwargs += "'test_configs': [ARConfig(num_kv_pairs=8, random_non_queries=False)]}"
    builder = f"dict(name='zoology.data.ar_extrapolate.ar_extrapolate', kwargs={kwargs})"
    path = write("from zoology.data.ar_extrapolate import ARConfig\n" + body(builder, "vocab_size=128"))
    experiment = load_experiment(path)
    (run,) = experiment.configs
    assert run.data.train == (
        MQARConfig(vocab_size=128, num_examples=9, num_kv_pairs=2),
        MQARConfig(vocab_size=128, num_examples=1000, num_kv_pairs=4, input_seq_len=32),
    )
    assert run.data.test == (MQARConfig(vocab_size=128, num_examples=1000, num_kv_pairs=8, random_non_queries=False),)
    assert not run.data.shuffle and experiment.notes == {}


@pytest.mark.parametrize(
    "builder, sizes, reason",
    [
        (named(RECALL, train_power_a=1.0), SIZES, "associative_recall with an option 'train_power_a', which it has"),
        (named(RECALL, num_kv_pairs=8, num_queries=1), SIZES, "num_kv_pairs=8 needs 2 * num_kv_pairs + num_queries = "),
        (named("zoology.data.lego.lego", n_var=3), SIZES, "data in the format of 2023 by zoology.data.lego.lego"),
        ("None", SIZES, "data in the format of 2023 without a builder"),
        (named(num_queries=3), SIZES, "multiquery_ar with an option 'num_queries', which it has not; --ignore-unknown"),
        (named(), SIZES + ", num_kv_pairs=2", "DataConfig with a field 'num_kv_pairs', which it has not; --ignore-unk"),
        (named("zoology.data.ar_extrapolate.ar_extrapolate"), SIZES, "ar_extrapolate without a list of its train_conf"),
        (named(), SIZES + ", train_configs=[], test_configs=[]", "DataConfig with fields 'num_train_examples', 'num_t"),
    ],
    ids=[
        "recall's argument",
        "recall's sizes",
        "other task",
        "none",
        "argument",
        "field",
        "no segments",
        "both formats",
    ],
)
def test_what_has_no_counterpart_is_refused(write, builder, sizes, reason):
    experiment = load_experiment(write(body(builder, sizes)))
    ((text, count),) = experiment.refused.items()
    assert text.startswith(reason) and count == 1 and experiment.configs == ()


def test_data_of_no_format_lack_what_todays_has(write):
    with pytest.raises(UsageError, match=r"mine.py:\d+: ValidationError: DataConfig.train_configs: Field required$"):
        load_experiment(write("data = DataConfig(vocab_size=64)"))


def test_data_may_be_given_as_a_dictionary(write):
    text = body(named(num_kv_pairs=2)).replace("data = DataConfig(", "data = dict(")
    assert load_experiment(write(text)).configs == load_experiment(write(body(named(num_kv_pairs=2)))).configs


@pytest.mark.parametrize("old", [True, False], ids=["of 2023", "of today"])
def test_the_checkout_of_such_a_file_has_the_last_word_where_it_is_as_old(write, tmp_path, old):
    package = tmp_path / "zoology"
    (package / "data").mkdir(parents=True)
    (package / "experiments").mkdir()
    fields = "    builder: object = None\n    seed: int = 5" if old else "    train_configs: list\n    seed: int = 6"
    (package / "config.py").write_text(f"class DataConfig:\n    batch_size: int = 32\n{fields}\n")
    count = "num_train_examples" if old else "num_examples"
    (package / "data" / "associative_recall.py").write_text(f"def multiquery_ar({count}=1, num_kv_pairs: int = 3): ...")
    (run,) = load_experiment(write(body(named())).rename(package / "experiments" / "mine.py")).configs
    assert (run.data.seed, run.data.train[0].num_kv_pairs) == ((5, 3) if old else (0, 4))
