"""State sizes of whole models: the paper's Table 2, Zoology's way of counting, and the command that prints them."""

import json

import pytest
from typer.testing import CliRunner

from mqar_bench.analysis.state_size import count_state
from mqar_bench.cli import app
from mqar_bench.config import MixerSpec, ModelConfig
from mqar_bench.config.presets import TABLE2_LENGTH, table2

#: Active and total state as printed in Table 2 of arXiv 2602.11958.
PRINTED = {
    "Transformer++": ("50.3M", "50.3M"),
    "GLA": ("3.1M", "3.1M"),
    "HGRN2": ("3.1M", "3.1M"),
    "GDN": ("8.5M", "8.5M"),
    "Mamba2": ("12.9M", "12.9M"),
    "RAM-Net (Top-8)": ("0.4M", "28.8M"),
}


def command(*arguments):
    return CliRunner().invoke(app, ["state-size", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("name, model", table2(), ids=lambda x: x if isinstance(x, str) else "")
def test_table_2_to_the_printed_digit(name, model):
    size = count_state(model, TABLE2_LENGTH, name)
    assert (f"{size.active / 1e6:.1f}M", f"{size.total / 1e6:.1f}M") == PRINTED[name]


def test_the_command_prints_table_2():
    done = command("--preset", "table2")
    assert done.exit_code == 0
    for name, figures in PRINTED.items():
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(name + " "))
        assert all(figure in line for figure in figures)


def test_layers_are_counted_one_by_one():
    model = ModelConfig(
        d_model=16,
        n_layers=5,
        mixers=(MixerSpec(name="short_conv", options={"kernel_size": 4}), MixerSpec(name="attention")),
    )
    size = count_state(model, 10)
    assert [(layer.layers, layer.total) for layer in size.layers] == [((0, 2, 4), 48), ((1, 3), 320)]
    assert size.total == 3 * 48 + 2 * 320 and size.active == size.total


def test_a_growing_state_follows_the_length():
    model = ModelConfig(d_model=16, mixers=(MixerSpec(name="attention"),))
    assert [count_state(model, T).total for T in (1, 100)] == [64, 6400]


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("attention", {}, 2 * 64 * 100),
        ("short_conv", {"kernel_size": 3}, 64 * 3),
        ("sliding_window_attention", {"window": 16}, 2 * 64 * 16),
        ("gla", {"num_heads": 2, "expand_k": 1.0, "use_short_conv": False}, 64 * 32),
        ("delta_net", {"num_heads": 2}, 2 * 32 * 32),
        ("gated_delta_net", {"num_heads": 2, "expand_v": 1.0}, 2 * 32 * 32),
        ("rwkv7", {"head_dim": 32}, 2 * 32 * 32),
        ("mamba2", {"state_size": 16}, 2 * 64 * 16),
        ("h3", {"d_state": 16}, 64 * 16),
        ("long_conv", {"l_max": 20}, 64 * 100),
        ("hyena", {"l_max": 20}, 64 * 100),
        ("mamba", {"state_size": 16}, 2 * 64 * 16),
        ("rwkv4", {}, None),
        ("ramnet", {}, None),
        ("based", {"feature_dim": 8}, 45 * 65),
        ("based", {"feature_map": "performer"}, 16 * 65),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_zoologys_way_of_counting(name, options, expected):
    model = ModelConfig(n_layers=1, mixers=(MixerSpec(name=name, options=options),))
    size = count_state(model, 100, convention="zoology")
    assert size.total == expected and size.active is None


def test_json_and_a_changed_config():
    done = command("--model.mixers.1.name", "ramnet", "--length", "7", "--format", "json")
    (model,) = json.loads(done.stdout)
    assert model["sequence_length"] == 7 and model["layers"][1]["mixer"]["name"] == "ramnet"
    assert model["total"] == sum(len(layer["layers"]) * layer["total"] for layer in model["layers"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--preset", "table3"], "no preset named 'table3': did you mean 'table2'?"),
        (["--preset", "table2", "--base", "fig3/demo/0"], "exclude each other"),
        (["--preset", "table2", "--model.d_model", "8"], "it takes no --model.d_model"),
        (["--model.mixers.0.name", "ramnett"], "did you mean 'ramnet'?"),
        (["--model.mixers.1.options.heads", "2"], "has no option 'heads'"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_mistakes_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        app(["state-size", *arguments])
    assert error.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
