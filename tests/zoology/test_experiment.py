import sys

import pytest
from typer.testing import CliRunner

from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.config import MixerSpec
from mqar_bench.zoology import load_experiment
from tests.zoology.live import checkout


def test_a_file_is_translated_whole(write):
    experiment = load_experiment(
        write(
            "configs = [config(hybrid(conv, mixer('attention.MHA', num_heads=2, dropout=0.1)), learning_rate=lr,\n"
            "                  seed=7, max_epochs=3, predictions_path='x') for lr in np.logspace(-3, -2, 2)]"
        )
    )
    assert experiment.total == 2 and experiment.refused == {}
    assert experiment.notes == {
        "TrainConfig has no field 'predictions_path': ignored, as Zoology ignores it": 2,
        "MQARConfig has no field 'train_power_a': ignored, as Zoology ignores it": 2,
    }
    first, second = experiment.configs
    assert (first.sweep, first.scale, first.mixer) == (second.sweep, "zoology", "attention")
    assert first.ignored == ()
    assert first.train.learning_rate == 1e-3 and second.train.learning_rate == 1e-2
    assert (first.train.seed, first.train.max_epochs, first.data.seed) == (7, 3, 123)
    assert (first.train.batch_size, first.train.test_batch_size) == (32, 8)
    assert first.train.decay_all and first.train.early_stopping_threshold == 0.99
    assert first.data.train[0].num_kv_pairs == 2 and first.data.train[0].power_a == 0.01
    assert (first.model.state_mixer, first.model.max_position_embeddings, first.model.embed_dropout) == (
        "identity",
        0,
        0.1,
    )
    attention = {"num_heads": 2, "bias": True, "dropout": 0.1, "out_init_std": 0.01}
    assert first.model.mixers == (
        MixerSpec(name="short_conv", options={"kernel_size": 3, "use_act": False}),
        MixerSpec(name="attention", options=attention),
    )


@pytest.mark.parametrize(
    ("mixer", "name", "options"),
    [
        ("mixer('slide_attn.SlidingAttn', block_size=8)", "sliding_window_attention", {"window": 9}),
        (
            "mixer('gated_delta_net.GatedDeltaNet', num_heads=2, l_max=9)",
            "gated_delta_net",
            {"head_dim": 8, "expand_v": 2},
        ),
        ("mixer('delta_net.DeltaNet')", "delta_net", {"num_heads": 4, "use_gate": False}),
        ("mixer('gla.GatedLinearAttention', num_heads=2)", "gla", {"expand_k": 0.5, "num_heads": 2}),
        ("mixer('rwkv7.RWKV7Attention', head_dim=8)", "rwkv7", {"head_dim": 8, "num_hidden_layers": 2}),
        ("mixer('rwkv7.RWKV7Attention', head_dim=None, num_heads=4)", "rwkv7", {"head_dim": 4}),
        ("mixer('rwkv7.RWKV7Attention', head_dim=None, num_heads=8 / 2)", "rwkv7", {"head_dim": 4}),
        ("mixer('h3.H3', d_state=16 / 4, head_dim=2, l_max=16)", "h3", {"d_state": 4, "head_dim": 2}),
        ("mixer('mamba2.Mamba2', d_state=8, headdim=4)", "mamba2", {"state_size": 8, "head_dim": 4, "conv_kernel": 4}),
        (
            "mixer('based.Based', num_heads=1, num_key_value_heads=1, l_max=16)",
            "based",
            {"num_heads": 1, "feature_dim": 16},
        ),
        ("mixer('based.Based', feature_name='none')", "based", {"num_heads": 12, "feature_map": "identity"}),
        (
            "mixer('based.Based', feature_name='cosformer', l_max=99)",
            "based",
            {"feature_map": "cosformer", "l_max": 99},
        ),
        (
            "mixer('based.Based', feature_name='all_poly', feature_kwargs=dict(output_dim=9, init='kaiming',"
            " learnable=False))",
            "based",
            {"feature_map": "all_poly", "num_features": 9, "poly_init": "kaiming", "learn_features": False},
        ),
        (
            "mixer('based.Based', feature_name='zoology.mixers.feature_maps.base.PosELU', feature_kwargs={})",
            "based",
            {"feature_map": "pos_elu"},
        ),
        (
            "mixer('base_conv.BaseConv', kernel_size=-1, l_max=16)",
            "long_conv",
            {"l_max": 16, "implicit_long_conv": True, "use_act": False},
        ),
        (
            "mixer('base_conv.BaseConv', kernel_size=[-1, -1], l_max=16, implicit_long_conv=False, use_act=True)",
            "long_conv",
            {"l_max": 16, "implicit_long_conv": False, "use_act": True},
        ),
        ("mixer('hyena.Hyena', l_max=16, w=10, channels=1)", "hyena", {"l_max": 16, "filter_order": 64, "w": 10}),
        ("mixer('rwkv.RWKVTimeMixer', l_max=16)", "rwkv4", {"num_hidden_layers": 12}),
        ("mixer('mamba.Mamba', d_state=8, d_conv=2)", "mamba", {"state_size": 8, "conv_kernel": 2, "dt_rank": None}),
        ("mixer('mamba.Mamba', dt_rank=3, bias=True)", "mamba", {"dt_rank": 3, "use_bias": True}),
        (
            "mixer('gsa.GatedSlotAttention', num_heads=2, num_slots=64, mode='fused_recurrent')",
            "gsa",
            {"num_heads": 2, "num_slots": 64, "use_short_conv": False, "gate_logit_normalizer": 8},
        ),
        (
            "mixer('deepseek_nsa.SparseAttention', num_heads=2, sliding_window_size=16, compress_block_size=8,"
            " selection_block_size=8, num_selected_blocks=4)",
            "sparse_attention",
            {"num_heads": 2, "kv_heads": None, "window": 17, "block_size": 8, "num_selected_blocks": 4},
        ),
        ("mixer('ttt.TTT', num_heads=2, pre_conv=False)", "ttt_linear", {"num_heads": 2, "mini_batch_size": 16}),
        ("mixer('ttt.TTT', ttt_layer_type='mlp', rope_theta=50.0)", "ttt_mlp", {"num_heads": 4, "rotary_base": 50.0}),
        ("dict(name='mixers.RAMNet', kwargs={'order': 2, 'top_k': 2})", "ramnet", {"order": 2, "top_k": 2}),
        ("dict(name='mixers.ramnet.mixer.RAMNet', kwargs={})", "ramnet", {}),
    ],
)
def test_mixers_by_name(write, mixer, name, options):
    (config,) = load_experiment(write(f"configs = [config({mixer})]")).configs
    (spec,) = config.model.mixers
    assert spec.name == name and options.items() <= spec.options.items()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "config(mixer('base_conv.BaseConv', kernel_size=-1))",
            "model.mixers.0: mixer 'long_conv', option 'l_max': Input should be a valid integer (got None)",
        ),
        ("config(conv, {'n_layers': 3})", "base_conv.BaseConv with 2 kernel sizes in layer 2"),
        ("config(mixer('hyena.Hyena', l_max=16, num_heads=2))", "hyena.Hyena with num_heads 2"),
        ("config(mixer('nowhere.Mixer', num_heads=2))", "the mixer zoology.mixers.nowhere.Mixer"),
        ("config(mixer('gla.GatedLinearAttention', clamp_min=-1.0))", "gla.GatedLinearAttention with clamp_min -1.0"),
        (
            "config(mixer('attention.MHA', num_head=1))",
            "attention.MHA with an option 'num_head', which it has not",
        ),
        ("config(hybrid())", "a Hybrid without configs"),
        ("config(dict(name='zoology.mixers.hybrid.Hybrid', kwargs={'configs': 5}))", "a Hybrid without configs"),
        ("config(mixer('rwkv7.RWKV7Attention', num_heads=0))", "num_heads must be a whole number of at least 1, got 0"),
        (
            "config(mixer('slide_attn.SlidingAttn', block_size='x'))",
            "block_size must be a whole number of at least 0, got 'x'",
        ),
        (
            "config(mixer('deepseek_nsa.SparseAttention', num_heads=2, sliding_window_size=16))",
            "num_selected_blocks must be a whole number of at least 1, got None",
        ),
        (
            "config(mixer('deepseek_nsa.SparseAttention', num_heads=2, sliding_window_size=16, compress_block_size=8,"
            " selection_block_size=4, num_selected_blocks=2))",
            "deepseek_nsa.SparseAttention with compress_block_size 8 and selection_block_size 4, which it needs equal",
        ),
        ("config(mixer('ttt.TTT', ttt_layer_type='cnn'))", "ttt.TTT with ttt_layer_type 'cnn'"),
        (
            "config(mixer('ttt.TTT', num_heads=8))",
            "model.mixers.0: mixer 'ttt_linear': d_model 16 over num_heads 8 must be at least 4, got 2",
        ),
        ("config(None)", "a model without sequence_mixer"),
        ("config(mixer('attention.MHA', num_heads=3))", "model.mixers.0: mixer 'attention': d_model 16 must be a"),
        ("config(mixer('attention.MHA'), loss_type='mse')", "input_type 'discrete' with loss_type 'mse'"),
        ("config(mixer('attention.MHA'), early_stopping_metric='valid/loss')", "early_stopping_metric 'valid/loss'"),
        ("config(mixer('attention.MHA'), {'drop_path': 0.1})", "ModelConfig.drop_path 0.1"),
        ("config(mixer('attention.MHA'), {'block_type': 'MambaBlock'})", "block_type 'MambaBlock'"),
        (
            "config(mixer('attention.MHA'), {'state_mixer': dict(name='zoology.mixers.mlp.Other')})",
            "the state mixer zoology.mixers.mlp.Other",
        ),
        (
            "config(mixer('attention.MHA'), {'state_mixer': mixer('mlp.GLU', activation=1)})",
            "the state mixer zoology.mixers.mlp.GLU with {'activation': 1}",
        ),
        (
            "config(mixer('attention.MHA'), FIXED, input_type='continuous')",
            "input_type 'continuous' with the task MQARConfig",
        ),
        (
            "config(mixer('attention.MHA'), input_type='continuous', data=continuous)",
            "input_type 'continuous' with learnable_word_embeddings, of which its inputs take no notice",
        ),
        (
            "config(mixer('attention.MHA'), FIXED, input_type='continuous', data=same_mapping)",
            "ContinuousMQARConfig with per_sequence_mapping False",
        ),
        (
            "config(mixer('attention.MHA'), FIXED, loss_type='ce_embed')",
            "loss_type 'ce_embed' with learnable_word_embeddings False: a head that is not learnt",
        ),
        ("config(mixer('mra.MRAAttention'))", "the mixer zoology.mixers.mra.MRAAttention"),
        ("config(mixer('attention.MHA'), {'vocab_size': 32})", "model.vocab_size is 32, but the task draws tokens"),
        (
            "config(mixer('attention.MHA'), data=continuous)",
            "the task ContinuousMQARConfig: ours of that kind is 'stack",
        ),
        ("config(dict(name='nowhere.Mine'))", "model.mixers.0: mixer 'nowhere.Mine'"),
        ("config(mixer('attention.MHA'), {'n_layers': 0})", "a model of 0 layers"),
        (
            "config(ModuleConfig(name='zoology.mixers.hybrid.Hybrid', kwargs={'configs': 3}))",
            "a Hybrid without configs",
        ),
        (
            "config(mixer('gated_delta_net.GatedDeltaNet', num_heads=0))",
            "num_heads must be a whole number of at least 1, got 0",
        ),
        (
            "config(mixer('slide_attn.SlidingAttn', block_size=None))",
            "block_size must be a whole number of at least 0, got None",
        ),
        ("config(mixer('gsa.GatedSlotAttention', num_kv_heads=1))", "gsa.GatedSlotAttention with num_kv_heads 1"),
        ("config(mixer('based.Based', num_heads=2))", "based.Based with num_heads 2 and num_key_value_heads 12"),
        ("config(mixer('based.Based', apply_rotary=True))", "based.Based with apply_rotary True"),
        ("config(mixer('based.Based', feature_name='exp'))", "based.Based with feature_name 'exp'"),
        (
            "config(mixer('based.Based', feature_kwargs={'temp': 2.0}))",
            "based.Based with feature_name 'taylor_exp' and feature_kwargs {'temp': 2.0}",
        ),
    ],
    ids=lambda text: text[:60],
)
def test_what_cannot_be_translated_is_refused_by_name(write, body, reason):
    experiment = load_experiment(write(f"configs = [{body}, config(mixer('attention.MHA'))]"))
    ((text, count),) = experiment.refused.items()
    assert text.startswith(reason) and count == 1 and len(experiment.configs) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("configs = []", "has no list `configs` of Zoology's TrainConfig"),
        ("configs = [1]", "has no list `configs` of Zoology's TrainConfig"),
        ("import zoology.train", "ImportError: zoology.train is not stood in for: there is zoology, zoology.config"),
        (
            "from zoology.experiments.models_repo import add_ttt",
            "ImportError: zoology.experiments is part of Zoology: no checkout",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('enough')", "SystemExit: enough"),
        (
            "configs = [ModelConfig(d_model='wide')]",
            "ValidationError: ModelConfig.d_model: Input should be a valid integer",
        ),
    ],
    ids=lambda text: text[:40],
)
def test_a_file_that_is_no_experiment_is_one_line(write, body, message):
    path = write(body)
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not any(name.partition(".")[0] == "zoology" for name in sys.modules if checkout() is None)


def test_a_kernel_size_each_layer(write):
    """That of -1 is another mixer."""
    (config,) = load_experiment(write("configs = [config(conv)]")).configs
    assert config.model.mixers == (
        MixerSpec(name="short_conv", options={"kernel_size": 3, "use_act": False}),
        MixerSpec(name="long_conv", options={"use_act": False, "l_max": 16, "implicit_long_conv": True}),
    )


@pytest.mark.parametrize("version", ["", "2"])
def test_blocks_of_mamba_are_a_norm_and_a_mixer(write, version):
    block, name = f"Mamba{version}Block", f"mamba{version}.Mamba{version}"
    options = "headdim=4, d_state=8" if version else "d_state=8"
    experiment = load_experiment(write(f"configs = [config(mixer('{name}', {options}), {{'block_type': '{block}',"
                                       " 'state_mixer': dict(name='zoology.mixers.mlp.MLP')})]"))  # fmt: skip
    (config,) = experiment.configs
    assert (config.mixer, config.model.state_mixer) == (f"mamba{version}", "identity")
    assert f"{block} becomes a block like all others, with an identity as state mixer" in experiment.notes


@pytest.mark.parametrize("value", [-1, -64, 0])
def test_positions_up_to_zero_are_none(write, value):
    body = f"configs = [config(mixer('attention.MHA'), {{'max_position_embeddings': {value}}})]"
    assert load_experiment(write(body)).configs[0].model.max_position_embeddings == 0


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        load_experiment(tmp_path / "none.py")


def test_experiments_of_the_checkout_around_a_file_can_be_imported(tmp_path, write):
    folder = tmp_path / "zoology" / "experiments" / "a"
    folder.mkdir(parents=True)
    (folder.parent / "repo.py").write_text(
        "from zoology.config import ModuleConfig\nMHA = 'zoology.mixers.attention.MHA'\n"
    )
    write("", "head.py").rename(folder / "mine.py")
    with open(folder / "mine.py", "a") as file:
        file.write("from zoology.experiments.repo import MHA\nconfigs = [config(dict(name=MHA))]\n")
    assert len(load_experiment(folder / "mine.py").configs) == 1


def test_the_command_line_runs_a_file(write, tmp_path):
    path = write("configs = [config(mixer('nowhere.Mixer')), config(mixer('attention.MHA'), max_epochs=1)]")
    words = [str(path), "--results", str(tmp_path / "results"), "--executor", "inline"]
    result = CliRunner().invoke(app, ["sweep", *words])
    assert result.exit_code == 0, result.stderr
    assert "refused: 1 of 2 configs: the mixer zoology.mixers.nowhere.Mixer" in result.stderr
    assert "note: 1 of 2 configs: MQARConfig has no field 'train_power_a'" in result.stderr
    (name,) = (line.split()[7] for line in result.stderr.splitlines() if "its runs are those of sweep" in line)
    assert len(list((tmp_path / "results" / f"{name}-zoology").glob("*.json"))) == 1
