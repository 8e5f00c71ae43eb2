"""Our runs as experiment files for Zoology, and back."""

import pytest

import sweeps
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import SegmentsConfig
from mqar_bench.tasks import CircuitsConfig, CompositionalConfig, ForgettingConfig, MQARConfig, StackedConfig, Task
from mqar_bench.zoology import export, load_experiment


def test_export_comes_back_as_it_was(tmp_path):
    runs = [run for run in sweeps.load("fig3", "paper") if run.train.learning_rate == 1e-2]
    (tmp_path / "exported.py").write_text(export(runs, "fig3"))
    experiment = load_experiment(tmp_path / "exported.py")
    assert experiment.refused == {} and experiment.notes == {} and len(experiment.configs) == len(runs)
    for ours, back in zip(runs, experiment.configs, strict=True):
        assert back.data == ours.data
        assert back.train == ours.train.model_copy(update={"decay_all": True})
        added = {"anneal_steps": 22624} if ours.mixer == "ramnet" else {}
        mixers = [
            s.model_copy(update={"options": s.options | (added if s.name == "ramnet" else {})})
            for s in ours.model.mixers
        ]
        assert back.model == ours.model.model_copy(update={"mixers": tuple(mixers)})


def there_and_back(run, tmp_path):
    """As an experiment file, read again."""
    (tmp_path / "exported.py").write_text(export([run], "mine"))
    experiment = load_experiment(tmp_path / "exported.py")
    assert experiment.refused == {} and experiment.notes == {}
    (back,) = experiment.configs
    assert back.data == run.data and back.train == run.train
    return back


@pytest.mark.parametrize(
    "given, ours",
    [
        ("{'state_mixer': mixer('mlp.GLU', hidden_mult=3)}", {"state_mixer": "glu", "mlp_hidden_mult": 3}),
        ("{'state_mixer': mixer('mlp.GLU')}", {"state_mixer": "glu", "mlp_hidden_mult": 1}),
        ("{'embedding_init_type': 'spherical'}", {"embedding_init_type": "spherical"}),
        ("{'embedding_init_type': 'normal'}", {"embedding_init_type": "normal"}),
        ("{'learnable_word_embeddings': False}", {"learnable_word_embeddings": False}),
    ],
)
def test_what_a_model_may_have_goes_both_ways(tmp_path, write, given, ours):
    plain, run = load_experiment(
        write(f"configs = [config(mixer('attention.MHA'), given) for given in ({{}}, {given})]")
    ).configs
    assert run.model == plain.model.model_copy(update=ours) and run.run_id != plain.run_id
    assert there_and_back(run, tmp_path).model == run.model


def test_the_loss_by_embeddings_is_that_of_a_tied_head(write):
    experiment = load_experiment(
        write("configs = [config(mixer('attention.MHA'), loss_type=loss) for loss in ('ce', 'ce_embed')]")
    )
    assert len(experiment.configs) == 1 and experiment.notes["the same run as another config"] == 1


def test_continuous_inputs_go_both_ways(tmp_path, write):
    """Keys are half of the model's vocabulary, up to the most that a token can say."""
    body = "configs = [config(mixer('attention.MHA'), FIXED | {'vocab_size': n, 'max_position_embeddings': 4},"
    experiment = load_experiment(write(body + " input_type='continuous', data=continuous) for n in (34, 8192)]"))
    small, large = experiment.configs
    assert experiment.notes["continuous inputs: 4095 keys and as many values, of a vocabulary of 8192"] == 1
    for run, keys in ((small, 17), (large, 4095)):
        assert run.data.train == (StackedConfig(vocab_size=(keys + 1) ** 2, num_kv_pairs=8, num_passes=2),)
        model = run.model
        assert (model.input_type, model.learnable_word_embeddings, model.vocab_size) == ("continuous", False, 2 * keys)
        assert model.max_position_embeddings == 0  # which Zoology does not add then
        assert there_and_back(run, tmp_path).model == model


def test_other_tasks_go_both_ways(tmp_path, write):
    experiment = load_experiment(
        write(
            "from zoology.data.forgetting_mqar import ForgettingMQARConfig as F\n"
            "from zoology.data.compositional_mqar import CompositionalMQARConfig as C\n"
            "sizes = dict(vocab_size=64, input_seq_len=32, num_kv_pairs=4)\n"
            "data = DataConfig(train_configs=[F(num_updates=3, power_a=0.1, **sizes), C(**sizes)],\n"
            "                  test_configs=[F(num_updates=0, **sizes)])\n"
            "configs = [config(mixer('attention.MHA'), early_stopping_metric=None)]\n"
        )
    )
    (run,) = experiment.configs
    sizes = {"vocab_size": 64, "input_seq_len": 32, "num_kv_pairs": 4}
    assert run.data.train == (ForgettingConfig(num_updates=3, power_a=0.1, **sizes), CompositionalConfig(**sizes))
    assert run.data.test == (MQARConfig(**sizes),)  # nothing is forgotten
    (note,) = experiment.notes
    assert note.startswith("forgetting: an update never repeats")
    (tmp_path / "exported.py").write_text(export([run], "mine"))
    (back,) = load_experiment(tmp_path / "exported.py").configs
    assert back.data == run.data


def test_circuits_go_both_ways(tmp_path, write):
    kinds = ["Parity", "Majority", "VocabMajority", "CumulativeParity", "CumulativeMajority"]
    (run,) = load_experiment(
        write(
            f"from zoology.data.circuits import {', '.join(kind + 'Config' for kind in kinds)}\n"
            "sizes = dict(vocab_size=11, num_examples=7, input_seq_len=9)\n"
            f"data = DataConfig(train_configs=[{', '.join(kind + 'Config(**sizes)' for kind in kinds)}],\n"
            "                  test_configs=[CumulativeMajorityConfig(), ParityConfig()])\n"
            "configs = [config(mixer('attention.MHA'), early_stopping_metric=None)]\n"
        )
    ).configs
    names = ["parity", "majority", "vocab_majority", "cumulative_parity", "cumulative_majority"]
    assert run.data.train == tuple(
        CircuitsConfig(
            circuit=name,
            num_examples=7,
            input_seq_len=8 if name == "cumulative_parity" else 9,  # so many tokens
            num_symbols=10 if name == "vocab_majority" else 2,
        )
        for name in names
    )
    assert run.data.test == (CircuitsConfig(circuit="cumulative_majority", input_seq_len=16), CircuitsConfig())
    assert there_and_back(run, tmp_path).model == run.model


@pytest.mark.parametrize(
    "task, message",
    [
        (StackedConfig(), "has the task 'stacked'; Zoology has multiquery_ar, forgetting, compositional, circuits$"),
        (CompositionalConfig(input_seq_len=65), "has input_seq_len=65; Zoology's must be even$"),
    ],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_export_refuses_what_zoology_cannot_draw(task, message):
    run = sweeps.load("fig3", "paper")[0]
    with pytest.raises(UsageError, match=message):
        export([run.model_copy(update={"data": run.data.model_copy(update={"test": (task,)})})], "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "rms"}, "^Zoology has no model.norm but layer, and run .* has rms"),
        ({"state_mixer": "swiglu"}, "^Zoology has no state mixer 'swiglu', as run .* has: identity, mlp, glu$"),
    ],
    ids=["rms", "swiglu"],
)
def test_export_refuses_another_model(change, message):
    run = sweeps.load("fig3", "paper")[0]
    with pytest.raises(UsageError, match=message):
        export([run.model_copy(update={"model": run.model.model_copy(update=change)})], "mine")


def test_export_refuses_another_protocol():
    with pytest.raises(UsageError, match="^Zoology has no train.schedule but cosine_epoch, and run .* has cosine_step"):
        export(sweeps.load("fig3", "demo"), "fig3")
    run = sweeps.load("fig3", "paper")[0]
    train = run.train.model_copy(update={"segments": SegmentsConfig(size=64)})
    with pytest.raises(UsageError, match="^Zoology has no train.segments but none, and run .* has some: export"):
        export([run.model_copy(update={"train": train})], "fig3")
