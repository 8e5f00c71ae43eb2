import json

import pytest
import torch
from torch import nn

import mixers
from mixers import registry
from mqar_bench.config import RunConfig
from mqar_bench.config.overrides import (
    UsageError,
    apply_overrides,
    parse_config,
    parse_pairs,
    read_config,
)
from mqar_bench.config.settings import argument_docs, fields


def test_values_reach_where_the_path_says():
    config = apply_overrides(
        RunConfig(),
        [
            ("train.learning_rate", "1e-2"),
            ("train.grad_clip", "null"),
            ("train.device", "cpu"),
            ("data.test.0.num_examples", "10"),
            ("data.shuffle", "true"),
            ("model.mixers.1", '{"name": "ramnet"}'),
            ("model.mixers.1.options.top_k", "4"),
            ("sweep", "2024"),
        ],
    )
    assert (config.train.learning_rate, config.train.grad_clip, config.train.device) == (1e-2, None, "cpu")
    assert config.data.test[0].num_examples == 10 and config.data.shuffle is True
    assert config.model.mixers[1].options == {"top_k": 4}
    assert config.sweep == "2024"  # a name may look like a number
    assert RunConfig().model.mixers[1].name == "attention"  # and nothing else was changed


def test_settings_that_only_hold_together_can_be_given_in_any_order():
    pairs = [("data.test.0.input_seq_len", "16"), ("data.test.0.num_kv_pairs", "2")]
    assert apply_overrides(RunConfig(), pairs) == apply_overrides(RunConfig(), pairs[::-1])


@pytest.mark.parametrize(
    "pairs, label",
    [
        ([("model.mixers.1.name", "ramnet")], "ramnet"),
        ([("model.mixers", '[{"name": "linear_attention"}]')], "linear_attention"),
        ([("model.mixers.1.name", "ramnet"), ("mixer", "mine")], "mine"),
        ([("model.d_model", "32")], "label"),
    ],
)
def test_the_label_follows_the_mixers(pairs, label):
    assert apply_overrides(RunConfig(mixer="label"), pairs).mixer == label


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("train.learning_rate", "-1", "^train.learning_rate: Input should be greater than 0 .got -1.$"),
        ("train.learning_rate", "fast", "train.learning_rate: .* unable to parse .* .got fast.$"),
        ("train.learning_rat", "1", "no setting 'train.learning_rat'; did you mean 'train.learning_rate'"),
        ("tran.learning_rate", "1", "did you mean 'train.learning_rate'"),
        ("learning_rate", "1", "did you mean 'train.learning_rate'"),
        ("model.mixrs.1.options.top_k", "1", "did you mean 'model.mixers.1.options.top_k'"),
        ("model.qqqq", "1", "model has vocab_size, d_model"),
        ("qqqq", "1", "a run has sweep, scale, mixer, data, model, train"),
        ("train.device", "gpu", "train.device: Input should be 'auto', 'cpu' or 'cuda' .got gpu.$"),
        ("train.learning_rate.x", "1", "train.learning_rate is a single value"),
        ("train", "3", "train: Input should be an object with fields"),
        ("model.mixers.2.name", "ramnet", "model.mixers has 2 entries .0, 1.; .* --model.mixers"),
        ("data.test.1.num_examples", "10", "data.test has 1 entry .0.;"),
        ("data.test.-1.num_examples", "10", "data.test has 1 entry"),
        ("data.test.0.num_kv_pairs", "32", "data.test.0: num_kv_pairs=32 needs"),
        ("model.vocab_size", "30", "^model.vocab_size is 30, but the task"),
        ("model.mixers", "[]", "model.mixers: List should have at least 1 item"),
        ("model.mixers", '[{"nme": "ramnet"}]', "model.mixers.0.*(required|nme)"),
        ("model", '{"d_modle": 3}', "did you mean 'model.d_model'"),
        ("model.mixers.1.name", "ramnt", "model.mixers.1: no mixer named 'ramnt': did you mean 'ramnet'"),
        ("model.mixers.1.options.num_head", "1", "'attention' has no option 'num_head'; did you mean 'num_heads'"),
        ("model.mixers.1.options.num_heads", "two", "option 'num_heads': Input should be a valid integer"),
        ("model.mixers.1.options.num_heads", "3", "must be a multiple of num_heads 3"),
        ("model.mixers.1.options.num_heads.x", "3", "num_heads"),
        ("d_model", "3", "no setting 'd_model'; did you mean 'model.d_model'"),
        ("model.mixers.01.name", "ramnet", "model.mixers has 2 entries"),
        ("model.mixers." + "9" * 5000, "1", "model.mixers has 2 entries"),
        ("model.mixers.1.options.", "1", "^model.mixers.1.options.: a name is missing after model.mixers.1.options$"),
        ("model.mixers.1.options", "[" * 100_000, "^model.mixers.1.options: Input should be an object"),
        ("model.mixers.1.options", '{"num_heads": 1e400}', "'num_heads' must be JSON"),
        ("model.mixers.1.options", '{"\\ud800": 1}', "^model.mixers.1.options: .*ud800.* must be JSON"),
        ("model.mixers.1.name", "mixers.SequenceMixer", "'mixers.SequenceMixer' does not implement forward$"),
        ("model.d_model", "true", "^model.d_model: Input should be a number .got true.$"),
        (
            "model.d_model",
            "1000000000",
            "^model.d_model: Input should be less than or equal to 65536 .got 1000000000.$",
        ),
        ("train.seed", "[[1], 2]", "^train.seed: .* .got a list of 2.$"),
        ("train.seed", "1\n2", r"^train.seed: .* .got '1\\n2'.$"),
        ("mixer", "x" * 1000, "^mixer: String should have at most 200 characters .got 'xxx"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(path, value, message):
    with pytest.raises(UsageError, match=message) as error:
        apply_overrides(RunConfig(), [(path, value)])
    assert "\n" not in str(error.value)


def test_a_mixer_that_its_device_cannot_run_is_refused():
    values = {"model": {"mixers": [{"name": "ramnet", "options": {"backend": "cpu"}}]}}
    for device in ("auto", "cpu"):
        assert parse_config({**values, "train": {"device": device}}).train.device == device
    with pytest.raises(UsageError, match="^model.mixers.0: RAM-Net's cpu engine takes .*cuda"):
        parse_config({**values, "train": {"device": "cuda"}})


def test_a_mixer_that_says_nothing_of_its_state_is_refused(monkeypatch):
    class Stateless(nn.Module):
        def __init__(self, d_model, layer_idx=None):
            super().__init__()

        def forward(self, x):
            return x

    monkeypatch.setitem(registry._REGISTRY, "stateless", Stateless)
    with pytest.raises(UsageError, match="^model.mixers.0: mixer 'stateless' does not implement state_size$"):
        parse_config({"model": {"mixers": [{"name": "stateless"}]}})


def test_what_a_mixer_says_is_cut_to_one_line(monkeypatch):
    class Talker(nn.Module):
        def __init__(self, d_model, layer_idx=None):
            raise ValueError("two\nlines " + "x" * 1000)

    monkeypatch.setitem(registry._REGISTRY, "talker", Talker)
    with pytest.raises(UsageError, match="^model.mixers.0: mixer 'talker': two lines x+[.]{3}$") as error:
        parse_config({"model": {"mixers": [{"name": "talker"}]}})
    assert len(str(error.value)) < 400


def test_trying_the_mixers_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    apply_overrides(RunConfig(), [("model.mixers.1.name", "ramnet")])
    assert torch.equal(torch.get_rng_state(), before)


def test_pairs():
    assert parse_pairs(["--a.b", "1", "--c.d=x=y", "--e.f", "-1"]) == [("a.b", "1"), ("c.d", "x=y"), ("e.f", "-1")]
    for arguments, message in (
        (["x"], "unexpected argument 'x'"),
        (["--a.b"], "--a.b needs a value"),
        (["--a.b", "--c.d", "1"], "--a.b needs a value"),
        (["--froce"], "did you mean --force"),
        (["-a.b", "1"], "unexpected argument '-a.b'"),
        (["--"], "unexpected argument '--'"),
        (["--=1"], "unexpected argument '--=1'"),
        (["--a.b" + "x" * 1000, "1"], "no setting 'a.bxxx"),
        (["--a.\x1b[31m", "1"], r"no setting 'a.\\x1b.31m'"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_pairs(arguments, ["--force"])


#: Some of what `mqar-bench run` takes besides settings.
OPTIONS = ["--base", "--config", "--results", "--executor", "--force", "--quiet", "--dry-run", "--retries"]
PATHS = [setting.path.replace(".N.", ".0.") for setting in fields() if not setting.path.endswith("NAME")]


def refused(*words):
    with pytest.raises(UsageError) as error:
        apply_overrides(RunConfig(), parse_pairs(words, OPTIONS))
    return str(error.value)


@pytest.mark.parametrize(
    "path", sorted({path for path in PATHS if path.rpartition(".")[2] not in RunConfig.model_fields})
)
def test_the_last_part_of_a_setting_alone_suggests_the_whole_of_it(path):
    leaf = path.rpartition(".")[2]
    message = refused(f"--{leaf}", "5")
    assert message.startswith(f"no setting '{leaf}'; did you mean '") and f"{path!r}" in message


@pytest.mark.parametrize("name", mixers.names())
def test_an_option_of_a_mixer_alone_suggests_where_it_goes(name):
    known = {path.rpartition(".")[2] for path in PATHS}
    for option in {option.name for option in mixers.describe(name)} - known:
        assert f"did you mean 'model.mixers.1.options.{option}'?" in refused(f"--{option}", "5")


@pytest.mark.parametrize(
    "word, message",
    [
        ("seed", "no setting 'seed'; did you mean 'train.seed' or 'data.seed'?"),
        ("seeds", "no setting 'seeds'; did you mean 'train.seed' or 'data.seed'?"),
        ("learning-rate", "no setting 'learning-rate'; did you mean 'train.learning_rate'?"),
        ("batch-sise", "no setting 'batch-sise'; did you mean 'train.batch_size'?"),
        ("trian", "no setting 'trian'; did you mean 'train'?"),
        ("foo.seed", "no setting 'foo.seed'; did you mean 'train.seed' or 'data.seed'?"),
        ("bases", "no option --bases; did you mean --base?"),
        ("dry_run", "no option --dry_run; did you mean --dry-run?"),
        ("retrys", "no option --retrys; did you mean --retries?"),
    ],
)
def test_of_options_and_settings_the_nearest_is_suggested(word, message):
    assert refused(f"--{word}", "5") == message


@pytest.mark.parametrize("path", PATHS)
def test_a_setting_given_twice_is_refused(path):
    for second in (["--" + path, "2"], [f"--{path}=1"]):
        assert refused(f"--{path}", "1", *second) == f"--{path} is given twice: 1 and {second[-1][-1]}"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--train.seed", "1", "--train", '{"seed": 2}'], "--train would replace --train.seed, which is given before"),
        (["--model.mixers.1.name", "gla", "--model", "{}"], "--model would replace --model.mixers.1.name, which is"),
        (["--train", '{"seed": 2}', "--train.seed", "1"], "--train.seed is given twice: --train has it too"),
        (
            ["--model.mixers", '[{"name": "gla", "options": {"num_heads": 1}}]']
            + ["--model.mixers.0.options.num_heads", "2"],
            "--model.mixers.0.options.num_heads is given twice: --model.mixers has it too",
        ),
        (["--train", '{"seed": 1, "seed": 2}'], "--train: 'seed' is given twice in one object: 1 and 2"),
        (["--data.test", '[{"name": "jrt", "name": "jrt"}]'], "--data.test: 'name' is given twice in one object"),
    ],
)
def test_a_setting_given_twice_in_different_ways_is_refused(words, message):
    assert refused(*words).startswith(message)


def test_a_part_may_be_changed_of_what_is_given_as_a_whole():
    words = ["--model.mixers", '[{"name": "gla"}]', "--model.mixers.0.options.num_heads", "2"]
    words += ["--train", '{"max_epochs": 2}', "--train.seed", "1", "--train.batch_size", "8"]
    config = apply_overrides(RunConfig(), parse_pairs(words))
    assert config.model.mixers[0].options == {"num_heads": 2} and (config.train.max_epochs, config.train.seed) == (2, 1)


def test_config_files(tmp_path):
    file = tmp_path / "c.json"
    for values in ({"train": {"seed": 5}}, {"config": {"train": {"seed": 5}}, "status": "done"}):
        file.write_text(json.dumps(values))
        config = read_config(file)
        assert (config.train.seed, config.mixer) == (5, "attention")
    for text, message in (
        ("{", "is not JSON"),
        ("[1]", "a config is a JSON object"),
        ('{"tran": {}}', "no setting 'tran'; did you mean 'train'"),
        ('{"model": {"d_model": -1}}', "model.d_model: Input should be greater"),
        ("[" * 100_000, "is not JSON: maximum recursion depth"),
        ("1" * 5000, "is not JSON"),
        ("NaN", "a config is a JSON object, not NaN"),
        ('{"train": {"seed": 1, "seed": 2}}', "'seed' is given twice in one object: 1 and 2"),
        ('{"train": {}, "train": {"seed": 2}}', "'train' is given twice in one object: an object and an object"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=message) as error:
            read_config(file)
        assert str(file) in str(error.value) and "\n" not in str(error.value)
    for data in (b"\xff", b'{"train": {}}\xff', b"\xef\xbb"):
        file.write_bytes(data)
        with pytest.raises(UsageError, match="is not JSON"):
            read_config(file)
    file.write_bytes(b"\xef\xbb\xbf{}")  # a byte order mark
    assert read_config(file) == RunConfig()
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.json")
    with pytest.raises(UsageError, match="Is a directory"):
        read_config(tmp_path)


def test_every_listed_setting_can_be_set():
    """Its path and its default are taken as they are listed, and give the default config."""
    listed = {setting.path: setting for setting in fields()}
    assert listed["train.schedule"].choices == ("cosine_epoch", "cosine_step", "constant")
    assert listed["train.learning_rate"].default == "0.001" and listed["train.learning_rate"].description
    assert listed["data.test.N.num_kv_pairs"].description.startswith("K, pairs")  # from the docstring
    pairs = [
        (setting.path.replace(".N.", ".0."), setting.default)
        for setting in listed.values()
        if setting.default
        and not setting.path.startswith(tuple(f"data.{part}.N" for part in ("train", "validation", "test")))
    ]
    assert len(pairs) > 25
    assert apply_overrides(RunConfig(), pairs) == RunConfig()


def test_the_first_validation_setting_needs_no_json():
    config = apply_overrides(RunConfig(), [("data.validation.0.num_kv_pairs", "8")])
    assert [task.num_kv_pairs for task in config.data.validation] == [8]
    with pytest.raises(UsageError, match="data.validation has 0 entries"):
        apply_overrides(RunConfig(), [("data.validation.1.num_kv_pairs", "8")])


def test_argument_docs():
    class Documented:
        """One line.

        Args:
            a: what a is,
                in two lines.
            b, c (int): both.

        Returns:
            d: not an argument.
        """

    assert argument_docs(Documented) == {"a": "what a is, in two lines.", "b": "both.", "c": "both."}
    assert argument_docs(int) == {}


def test_parse_config_fills_the_label_in():
    assert parse_config({"model": {"mixers": [{"name": "ramnet"}]}}).mixer == "ramnet"
    assert parse_config({}) == RunConfig()
