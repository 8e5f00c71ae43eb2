"""Fields that we have not: what a file gives them for, and what the Zoology that it lies in says of them."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.records.store import Store
from mqar_bench.zoology import load_experiment, shim

PLAIN = "configs = [config(mixer('attention.MHA'), max_epochs=1)]"


@pytest.fixture
def fork(tmp_path, write):
    """Writes a file into a Zoology whose classes are those of ours with other fields: text, or None for no such.

    The source of these is not to be executed.
    """

    def fork(body, modules=None, **changes):
        package = tmp_path / "zoology"
        (package / "experiments").mkdir(parents=True, exist_ok=True)
        for name, text in {"config.py": source(changes), **(modules or {})}.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(text + "\nraise RuntimeError('executed')\n")
        return write(body).rename(package / "experiments" / "mine.py")

    return fork


def source(changes):
    text = ["from pydantic import BaseModel, Field\n\nclass BaseConfig(BaseModel):\n    pass\n"]
    for kind in (shim.ModuleConfig, shim.DataSegmentConfig, shim.DataConfig, shim.ModelConfig, shim.TrainConfig):
        fields = {
            name: "..." if field.is_required() else repr(field.default) for name, field in kind.model_fields.items()
        }
        fields |= changes.get(kind.__name__, {})
        lines = [f"    {name}: object{'' if v == '...' else f' = {v}'}" for name, v in fields.items() if v is not None]
        text.append("\n".join([f"class {kind.__name__}(BaseConfig):", *lines]))
    return "\n\n".join(text)


#: An experiment with something unknown in it, and its name; the class in the fork that may have it.
UNKNOWN = {
    "training": ("configs = [config(mixer('attention.MHA'), warm_up=3)]", "TrainConfig", "warm_up", "3"),
    "data": (
        "data = DataConfig(train_configs=data.train_configs, test_configs=data.test_configs, train_batch_size=128)\n"
        + PLAIN,
        "DataConfig", "train_batch_size", "128",
    ),
    "model": ("configs = [config(mixer('attention.MHA'), {'scratch': 'add'})]", "ModelConfig", "scratch", "'add'"),
    "segment": (
        "data.test_configs[0] = MQARConfig(vocab_size=64, input_seq_len=16, num_kv_pairs=2, noise=0.5)\n" + PLAIN,
        "MQARConfig", "noise", "0.5",
    ),
    "module": ("configs = [config(mixer('attention.MHA') | {'kwarg': 1})]", "ModuleConfig", "kwarg", "1"),
    "module in a hybrid": (
        "configs = [config(hybrid(mixer('attention.MHA') | {'kwarg': 1}))]", "ModuleConfig", "kwarg", "1",
    ),
    "state mixer": (
        "configs = [config(mixer('attention.MHA'), {'state_mixer': dict(name='torch.nn.Identity', kwarg=1)})]",
        "ModuleConfig", "kwarg", "1",
    ),
    "hybrid": (
        "h = hybrid(mixer('attention.MHA'))\nh.kwargs['order'] = 2\nconfigs = [config(h)]",
        "hybrid.Hybrid", "order", "2",
    ),
    "strict mixer": (
        "configs = [config(mixer('attention.MHA', rotary=True))]", "attention.MHA", "rotary", "True"
    ),
    "lenient mixer": (
        "configs = [config(mixer('delta_net.DeltaNet', num_head=2))]", "delta_net.DeltaNet", "num_head", "2"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_unknown_is_refused_by_name(write, what):
    body, owner, name, _ = UNKNOWN[what]
    experiment = load_experiment(write(body))
    ((reason, count),) = experiment.refused.items()
    assert count == 1 and not experiment.configs and reason.startswith(f"{owner} with a")
    assert f" {name!r}, which it has not" in reason and reason.endswith("; --ignore-unknown-fields leaves such out")


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_unknown_is_left_out_where_that_is_asked_for_and_the_run_says_so(write, what):
    body, owner, name, value = UNKNOWN[what]
    experiment = load_experiment(write(body), ignore_unknown=True)
    (run,) = experiment.configs
    assert run.ignored == (f"{owner}.{name}={value}",) and experiment.refused == {}
    assert experiment.notes[f"{owner}.{name} is left out, as --ignore-unknown-fields says"] == 1
    if what in ("training", "model", "module"):
        (plain,) = load_experiment(write("configs = [config(mixer('attention.MHA'))]")).configs
        assert run.run_id == plain.run_id and plain.ignored == ()


@pytest.mark.parametrize("what", ["training", "data", "model"])
def test_what_the_fork_has_is_refused_as_such(fork, what):
    body, owner, name, _ = UNKNOWN[what]
    path = fork(body, **{owner: {name: "None"}})
    ((reason, _),) = load_experiment(path).refused.items()
    assert reason.startswith(f"{owner} with a field {name!r}, which the file's own Zoology has and we have not")
    assert load_experiment(path, ignore_unknown=True).configs[0].ignored


def test_all_that_is_unknown_of_a_class_is_named_at_once(fork):
    body = "configs = [config(mixer('attention.MHA'), dict(transformer='scratch', scratch='add', d_modle=8))]"
    ((reason, _),) = load_experiment(
        fork(body, ModelConfig={"transformer": "'normal'", "scratch": "None"})
    ).refused.items()
    assert reason == (
        "ModelConfig with fields 'transformer', 'scratch', which the file's own Zoology has and we have not, and"
        " a field 'd_modle', which it has not (did you mean 'd_model'?); --ignore-unknown-fields leaves such out"
    )


def test_fields_of_a_fork_at_its_defaults_are_noted(fork):
    for given in ("{}", "{'transformer': 'normal'}"):
        body = f"configs = [config(mixer('attention.MHA'), {given})]"
        experiment = load_experiment(fork(body, ModelConfig={"transformer": "'normal'", "made": "f()"}))
        assert experiment.configs and experiment.configs[0].ignored == ()
        more = "ModelConfig has more in the file's own Zoology, taken to change nothing where not given: "
        assert experiment.notes[f"{more}transformer='normal', made"] == 1


@pytest.mark.parametrize(
    "where, noted", [("alone", "ignored, as Zoology ignores it"), ("lacks", "ignored, as Zoology ignores it"),
                     ("has", "is left out: no result depends on it")],
)  # fmt: skip
def test_where_predictions_are_kept_changes_no_result(write, fork, where, noted):
    body = PLAIN.replace("max_epochs", "predictions_path='x', collect_predictions=True, max_epochs")
    mine = {"predictions_path": "None", "collect_predictions": "False"} if where == "has" else {}
    experiment = load_experiment(write(body) if where == "alone" else fork(body, TrainConfig=mine))
    assert (
        experiment.configs[0].ignored == ()
        and sum(note.startswith("TrainConfig") and noted in note for note in experiment.notes) == 2
    )


def test_what_zoology_drops_counts_where_a_fork_has_it(fork):
    drops = {"data/multiquery_ar.py": "class MQARConfig(DataSegmentConfig):\n    num_kv_pairs: int = 8"}
    assert (
        "MQARConfig has no field 'train_power_a': ignored, as Zoology ignores it"
        in load_experiment(fork(PLAIN, drops)).notes
    )
    has = {"data/multiquery_ar.py": "class MQARConfig(DataSegmentConfig):\n    train_power_a: float = 0.01"}
    ((reason, _),) = load_experiment(fork(PLAIN, has)).refused.items()
    assert reason.startswith("MQARConfig with a field 'train_power_a', which the file's own Zoology has")


@pytest.mark.parametrize(
    "changes, path, value",
    [
        ({"ModelConfig": {"n_layers": "3"}}, "model.n_layers", 3),
        ({"ModelConfig": {"n_layers": "Field(3, ge=1)"}}, "model.n_layers", 3),
        ({"ModelConfig": {"n_layers": "Field(default=3)"}}, "model.n_layers", 3),
        ({"ModelConfig": {"embed_dropout": "0.0"}}, "model.embed_dropout", 0.0),
        ({"TrainConfig": {"seed": "-0 or 7"}}, None, "TrainConfig.seed, whose default in the file's own Zoology"),
        ({"TrainConfig": {"seed": "7"}}, "train.seed", 7),
        ({"DataConfig": {"seed": "0"}}, "data.seed", 0),
        ({"DataSegmentConfig": {"num_examples": "50"}}, "data.test.0.num_examples", 50),
    ],
    ids=["plain", "field", "named", "number", "unreadable", "training", "data", "inherited"],
)
def test_what_a_file_leaves_out_has_the_default_of_its_fork(fork, changes, path, value):
    body = "data.test_configs[0] = MQARConfig(vocab_size=64, input_seq_len=16, num_kv_pairs=2)\n" + PLAIN
    task = {"data/multiquery_ar.py": "class MQARConfig(DataSegmentConfig):\n    num_kv_pairs: int = 8"}
    experiment = load_experiment(fork(body, task, **changes))
    if path is None:
        assert [reason.startswith(value) for reason in experiment.refused] == [True]
        return
    found = experiment.configs[0].model_dump()
    for part in path.split("."):
        found = found[int(part)] if part.isdigit() else found[part]
    assert found == value and sum("its default in the file's own Zoology" in note for note in experiment.notes) == 1


def test_a_state_mixer_by_default_of_the_fork(fork):
    mixer = "ModuleConfig(name='torch.nn.Identity', kwargs={})"
    body = (
        "model = ModelConfig(vocab_size=64, d_model=16, sequence_mixer=mixer('attention.MHA'))\n"
        "configs = [TrainConfig(data=data, model=model)]"
    )
    assert load_experiment(fork(body)).configs[0].model.state_mixer == "mlp"
    assert load_experiment(fork(body, ModelConfig={"state_mixer": mixer})).configs[0].model.state_mixer == "identity"


def test_options_of_a_mixer_that_are_left_out_have_the_defaults_of_the_fork(fork):
    mixers = {
        "mixers/attention.py": "class MHA:\n    def __init__(self, d_model, num_heads: int = 4, *, bias=False): ..."
    }
    experiment = load_experiment(fork(PLAIN, mixers))
    (spec,) = experiment.configs[0].model.mixers
    assert (spec.options["num_heads"], spec.options["bias"], spec.options["dropout"]) == (4, False, 0.0)
    assert experiment.notes["attention.MHA.num_heads is 4, its default in the file's own Zoology"] == 1
    swallowed = {
        "mixers/slide_attn.py": "class SlidingAttn:\n    def __init__(self, d_model, attention_dropout=0.0): ..."
    }
    body = "configs = [config(mixer('slide_attn.SlidingAttn', block_size=4, attention_dropout=0.1))]"
    assert "slide_attn.SlidingAttn has no option 'attention_dropout': ignored" in str(load_experiment(fork(body)).notes)
    ((reason, _),) = load_experiment(fork(body, swallowed)).refused.items()
    assert reason.startswith("slide_attn.SlidingAttn with an option 'attention_dropout', which the file's own Zoology")


def test_a_field_under_another_name_in_the_fork_is_not_ours(fork):
    path = fork(PLAIN, DataConfig={"batch_size": None, "train_batch_size": "512"})
    ((reason, _),) = load_experiment(path).refused.items()
    assert reason == (
        "DataConfig with no field 'batch_size' in the file's own Zoology, but 'train_batch_size', which we have not;"
        " --ignore-unknown-fields takes DataConfig.batch_size=(32, 8)"
    )
    (run,) = load_experiment(path, ignore_unknown=True).configs
    assert run.ignored == ("DataConfig.train_batch_size, in place of which DataConfig.batch_size=(32, 8)",)


def test_a_field_that_the_fork_lacks_is_noted_where_it_counts(fork):
    experiment = load_experiment(fork(PLAIN, ModelConfig={"d_model": None, "layer_norm_epsilon": None}))
    assert (
        "ModelConfig has no 'd_model' in the file's own Zoology, which drops such fields: here they count"
        in experiment.notes
    )


def test_a_class_of_the_files_own_is_no_class_of_ours(write):
    for base, body in (
        ("TrainConfig", "[Mine(data=data, model=ModelConfig())]"),
        ("ModelConfig", "[TrainConfig(data=data, model=Mine())]"),
    ):
        path = write(f"class Mine({base}):\n    d_model: int = 8\nconfigs = {body}")
        assert list(load_experiment(path).refused) == ["the class Mine, which is no class of Zoology"]


def test_a_fork_that_cannot_be_read_is_one_line(fork):
    path = fork(PLAIN)
    config = path.parents[1] / "config.py"
    config.write_text("x = 1\nclass ModelConfig(:\n")
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    assert str(caught.value).startswith(f"{config}:2: it would say which fields there are, but cannot be read: ")


@pytest.mark.parametrize("place", ["mine.py", "scripts/deep/mine.py", "zoology/mine.py"])
def test_a_checkout_is_found_from_anywhere_in_it(fork, tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    fork("configs = [config(conv, {'scratch': 1})]", ModelConfig={"scratch": "0"}).rename(path)
    ((reason, _),) = load_experiment(path).refused.items()
    assert "which the file's own Zoology has" in reason


def test_records_say_what_was_left_out(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = CliRunner()
    both = PLAIN.replace("]", ", config(mixer('attention.MHA'), {'scratch': 'add'}, max_epochs=1)]")
    words = ["sweep", str(write(both)), "--executor", "inline", "--quiet"]
    first = cli.invoke(app, words)
    assert first.exit_code == 0 and "refused: 1 of 2 configs: ModelConfig with a field 'scratch'" in first.stderr
    (record,) = Store("results").results()[0]
    assert record.config.ignored == ()
    assert cli.invoke(app, [*words, "--ignore-unknown-fields"]).exit_code == 0  # what is the same run, and done
    (marked,) = Store("results").results()[0]
    assert marked.config.ignored == ("ModelConfig.scratch='add'",) and marked.run_id == record.run_id
    assert marked == record.model_copy(update={"config": marked.config})
    (row,) = json.loads(cli.invoke(app, ["results", "--format", "json"]).stdout)
    assert row["ignored"] == "ModelConfig.scratch='add'"
    drawn = cli.invoke(app, ["plot", "fig3", "--sweep", record.config.sweep])
    assert "note: 1 of 1 runs leave out ModelConfig.scratch='add'" in drawn.stderr
    assert pd.read_csv("figures/fig3.csv")["runs"].tolist() == [1]
    assert cli.invoke(app, words).exit_code == 0 and Store("results").results()[0] == [marked]


def test_the_flag_is_for_files():
    result = CliRunner().invoke(app, ["sweep", "fig3", "--scale", "smoke", "--ignore-unknown-fields"])
    assert result.exit_code == 2
    assert result.stderr == "error: --ignore-unknown-fields is for experiment files of Zoology; 'fig3' is none\n"
