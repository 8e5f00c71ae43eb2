"""A mixer of the user's own among the baselines: from the check to the figures, in a folder without records."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.cli.compare import RATES, sweep_of
from mqar_bench.cli.compared import _bound
from mqar_bench.config import RunConfig
from mqar_bench.records import baselines
from mqar_bench.records.result import ScreenRecord
from mqar_bench.records.store import Store
from sweeps.fig3 import DEMO_RATES, LAPTOP_RATES
from tests.cli.test_check_cli import LEAKS, example
from tests.plots.records import CONV, record
from tests.test_readme import commands, section

BROKEN = "\n\nclass Raises(Mine):\n    def forward(self, x):\n        raise RuntimeError('broken')\n"
PAIRS = (2, 4)
TASKS = [
    {"vocab_size": 64, "input_seq_len": 4 * n, "num_kv_pairs": n, "num_examples": 32} for n in PAIRS
]  # fmt: skip
SIZES = ["--sizes", '[{"width": 4}, {"width": 8}]']
FAST, RATES_TRIED = ["--executor", "inline", "--d-model", "8", "--scale", "tiny"], ["--rates", "[1e-3, 1e-2]"]


def baseline(mixer, state, accuracies, seed=124, screened=True, tasks=TASKS, **options):
    """The record of a run that never was, on tasks of a fraction of a second."""
    run = RunConfig.model_validate(
        {
            "sweep": "fig3",
            "scale": "tiny",
            "data": {"train": TASKS[:1], "validation": TASKS[:1], "test": tasks, "seed": seed},
            "model": {"vocab_size": 64, "d_model": 8, "mixers": [CONV, {"name": mixer, "options": options}]},
            "train": {"max_epochs": 4, "batch_size": 16, "learning_rate": 0.01, "seed": seed},
        }
    )
    settings = {f"L{t['input_seq_len']}-kv{t['num_kv_pairs']}": a for t, a in zip(tasks, accuracies, strict=False)}
    screen = ScreenRecord(epochs=2, keep=1, rivals={"0.01": 0.5, "0.1": 0.4}, seed=123) if screened else None
    return record(run, sum(settings.values()) / len(settings), state=state, settings=settings, screen=screen)


def fill(**values):
    return [
        baseline("gla", 60, (0.95, 0.85), **values),
        baseline("gla", 60, (0.95, 0.849), seed=125, **values),
        baseline("ramnet", 100, (1, 0.92), **values),
        baseline("ramnet", 100, (1, 0.93), seed=125, **values),
        baseline("attention", 1000, (1, 1), **values),
    ]


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """Puts baselines of a scale ``tiny`` in place of those of the package."""
    monkeypatch.setattr(baselines, "FOLDER", tmp_path / "shipped")
    monkeypatch.setattr(baselines, "SCALES", ("tiny",))
    (tmp_path / "shipped").mkdir()

    def put(records):
        (tmp_path / "shipped/baselines-tiny.json").write_text(baselines.write_baselines(records))

    put(fill())
    return put


@pytest.fixture
def compare(ship, tmp_path, monkeypatch):
    """The command, in a folder that has nothing but the user's file."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_mixers.py").write_text(example() + LEAKS + BROKEN)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda *words: CliRunner().invoke(
        app, ["compare", *words, *FAST, *([] if "--rates" in words else RATES_TRIED)]
    )
    sys.modules.pop("my_mixers", None)


def test_from_the_check_to_the_figures(compare):
    result = compare("my_mixers.Mine", *SIZES, "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("my_mixers.Mine keeps the contract: 18 ok") == 2
    assert "screening: 4 short runs" in result.stderr and "in full: 4 runs" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "my_mixers.Mine at tiny beside 3 architectures: 4 epochs in batches of 16"
    recall = next(line for line in lines if line.startswith("size") and "rank" in line)
    assert "capacity" in recall
    # two layers: a convolution carries 3 inputs of width 8, and the state is the width squared
    assert [line.split()[:2] for line in lines if line.startswith("width=") and ":" not in line][:2] == [
        ["width=4", str(2 * 8 + 16)], ["width=8", str(2 * 8 + 64)],
    ]  # fmt: skip
    assert any(line.startswith("width=8: below: gla") and "not tested" in line for line in lines)
    folder = "figures/compare-my_mixers.Mine-tiny"
    assert lines[-6:] == [f"{folder}/{name}.{kind}" for name in ("fig3", "capacity") for kind in ("pdf", "png", "csv")]
    for name in ("fig3", "capacity"):
        rows = (baselines.Path(folder) / f"{name}.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == [
            "attention",
            "gla",
            "my_mixers.Mine",
            "my_mixers.Mine",
            "ramnet",
        ]


def test_the_runs_are_those_that_select_would_do_and_other_commands_find_them(compare):
    assert compare("my_mixers.Mine", "--skip-check", "--seeds", "2", "--options", '{"width": 4}').exit_code == 0
    done = Store("results").results("compare-my_mixers.Mine", "tiny")[0]
    assert sorted(r.config.train.seed for r in done) == [124, 125] == sorted(r.config.data.seed for r in done)
    assert {(r.screen.epochs, r.screen.seed, len(r.screen.rivals)) for r in done} == {(2, 123, 2)}
    assert len(Store("results").results("compare-my_mixers.Mine", "tiny-screen")[0]) == 2
    shown = CliRunner().invoke(app, ["results", "compare-my_mixers.Mine", "--scale", "tiny"])
    assert shown.exit_code == 0 and shown.stdout.count("done") == 2
    told = CliRunner().invoke(app, ["show", done[0].run_id])
    assert told.exit_code == 0 and "my_mixers.Mine" in told.stdout
    drawn = CliRunner().invoke(app, ["plot", "curves", "--sweep", "compare-my_mixers.Mine", "--scale", "tiny"])
    assert drawn.exit_code == 0, drawn.stderr


def test_the_same_command_goes_on_and_says_the_same(compare):
    words = ("my_mixers.Mine", "--options", '{"width": 4}', "--skip-check", "--seeds", "1")
    stopped = compare(*words, "--time-budget", "0.001s")
    assert stopped.exit_code == 3 and "the same command goes on" in stopped.stderr and stopped.stdout == ""
    first = compare(*words)
    assert first.exit_code == 0, first.output
    paths = list(baselines.Path("results").rglob("*.json"))
    written = {path: path.stat().st_mtime_ns for path in paths}
    again = compare(*words)
    assert again.exit_code == 0 and again.stdout == first.stdout
    assert "all of it was done before: --force" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in paths} == written
    assert compare(*words[:-1], "2").exit_code == 0  # one more seed: what is done is left
    assert {path: path.stat().st_mtime_ns for path in paths} == written


def test_json_has_every_number(compare):
    result = compare("my_mixers.Mine", *SIZES, "--seeds", "2", "--skip-check", "--quiet", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["mixer"], found["scale"], found["checked"], found["measure"]) == (
        "my_mixers.Mine", "tiny", False, "capacity",
    )  # fmt: skip
    assert [size["options"] for size in found["sizes"]] == [{"width": 4}, {"width": 8}]
    small, large = found["sizes"]
    assert (small["state_size"], large["state_size"]) == (32, 80) and large["seeds"] == 2
    assert small["best"] is None and small["rank"] == 1  # no baseline is so small
    assert [(each["mixer"], each["basis"], each["state_sizes"]) for each in large["against"]] == [
        ("gla", "less", [60]), ("ramnet", "more", [100]),
    ]  # fmt: skip
    assert (large["rank"], large["of"], large["best"]) == (2, 2, "gla")
    assert large["to_best"] == {k: large["against"][0][k] for k in ("ratio", "low", "high")}
    assert large["to_best"]["ratio"] == pytest.approx(large["capacity"] / large["against"][0]["capacity"])
    assert {"train_seconds", "tokens_per_second", "num_parameters", "converged", "edge"} <= set(large)
    assert all(baselines.Path(path).is_file() for path in found["figures"])


def test_what_breaks_the_contract_is_told_as_check_tells_it(compare):
    checked = CliRunner().invoke(app, ["check", "my_mixers.Leaks"])
    result = compare("my_mixers.Leaks")
    assert result.exit_code == checked.exit_code == 1 and result.stdout == checked.stdout
    assert "my_mixers.Leaks breaks the contract: causal, step" in result.stdout
    assert "--skip-check trains it nevertheless" in result.stderr
    assert not baselines.Path("results").exists()
    nevertheless = compare("my_mixers.Leaks", "--skip-check", "--seeds", "1", "--options", '{"width": 4}')
    assert nevertheless.exit_code == 0
    assert "note: the contract was not checked (--skip-check)" in nevertheless.stdout


def test_a_mixer_that_fails_in_training_has_no_place(compare):
    result = compare("my_mixers.Raises", "--skip-check", "--seeds", "1")
    assert result.exit_code == 1 and "RuntimeError: broken" in result.stdout
    assert "no run is done, so there is nothing to compare" in result.stderr
    assert not baselines.Path("figures").exists()


def test_where_the_baselines_differ_it_is_said(compare, ship):
    ship(fill(screened=False))
    result = compare("my_mixers.Mine", "--skip-check", "--seeds", "1", "--options", '{"width": 8}')
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stdout.splitlines() if line.startswith("note: ")]
    assert any(note.startswith("note: torch ") and note.endswith(" here, unknown of the baselines") for note in notes)
    assert any("the baselines' rates were not screened" in note for note in notes)
    assert any("trained on" in note and note.endswith("the baselines on cpu") for note in notes)


def test_without_a_capacity_it_is_accuracy_and_the_figure_says_why(compare, ship):
    ship([baseline("gla", 60, (0.95,), tasks=TASKS[:1]), baseline("ramnet", 70, (0.97,), tasks=TASKS[:1])])
    result = compare("my_mixers.Mine", "--skip-check", "--seeds", "1", "--options", '{"width": 8}')
    assert result.exit_code == 0, result.output
    assert "note: no figure capacity: nothing to draw: a capacity takes test settings of MQAR" in result.stdout
    assert "3 of 3" in result.stdout and "note: baselines of one seed" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("fig3.csv")


def test_a_registered_mixer_is_told_apart_from_the_baseline(compare):
    result = compare("gla", "--skip-check", "--seeds", "1", "--options", '{"num_heads": 1, "gate_low_rank_dim": 4}')
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("gla (yours) at tiny")


def test_sweeps_have_names_of_folders_and_no_two_mixers_share_one():
    assert sweep_of("my_mixers.Mine") == "compare-my_mixers.Mine"
    long = [f"a.{letter * 150}" for letter in "ab"] + ["a.Größe", "a.Grösse", "a.Gr-e"]
    names = [RunConfig(sweep=sweep_of(name)).sweep for name in long]
    assert len(set(names)) == len(names)


def test_the_rates_reach_from_the_lowest_to_the_highest_of_any_baseline():
    tried = [rate for grid in (DEMO_RATES, LAPTOP_RATES) for rates in grid.values() for rate in rates]
    assert (min(RATES), max(RATES)) == (min(tried), max(tried))


@pytest.mark.parametrize(
    "words, message",
    [
        (["my_mixers.Yours"], "module 'my_mixers' has no 'Yours'"),
        (["ramnt"], "no mixer named 'ramnt': did you mean 'ramnet'"),
        (["my_mixers.Mine", "--options", '{"widht": 3}'], "has no option 'widht'; did you mean 'width'"),
        (["my_mixers.Mine", "--sizes", '[{"width": 2}, {"widht": 3}]'], "has no option 'widht'; did you mean 'width'"),
        (["my_mixers.Mine", "--sizes", '{"width": 3}'], "--sizes must be a JSON list"),
        (["my_mixers.Mine", "--sizes", "wide"], "--sizes must be a JSON list, such as [{"),
        (["my_mixers.Mine", "--sizes", "[]"], "not an empty one"),
        (["my_mixers.Mine", "--sizes", "[3]"], "--sizes: entry 0 must be an object of options, got 3"),
        (["my_mixers.Mine", "--sizes", '[{"d_model": 3}]'], "--sizes: entry 0: options: d_model is no option"),
        (["my_mixers.Mine", "--sizes", '[{"width": 3, "width": 4}]'], "--sizes: 'width' is given twice"),
        (["my_mixers.Mine", "--sizes", '[{}, {"width": 3}, {}]'], "--sizes: entry 2 is {}, with the options of one"),
        (["my_mixers.Mine", "--skip-check", "--options", '{"width": "x"}'], "option 'width': Input should be a valid"),
        (["my_mixers.Mine", "--seeds", "0"], "--seeds"),
    ],
)
def test_mistakes(compare, words, message):
    result = compare(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and result.stdout == ""
    assert message in result.stderr and not baselines.Path("results").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--rates", "[0]"], "--rates: a learning rate is a number above 0, got 0"),
        (["--rates", "[true]"], "got true"),
        (["--rates", "[1, 1]"], "--rates: 1 is given twice"),
        (["--rates", "0.1"], "--rates must be a JSON list, such as [3e-3, 1e-2]"),
        (["--scale", "paper"], "no baselines at scale 'paper': there is demo, laptop"),
    ],
)
def test_mistakes_in_how_it_is_trained(words, message):
    result = CliRunner().invoke(app, ["compare", "gla", *words])
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from mqar_bench.cli import app\n"
        "result = CliRunner().invoke(app, ['compare', '--help'])\n"
        "print(result.exit_code, {'torch', 'pandas', 'ray', 'matplotlib'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 set()\n"


@pytest.mark.parametrize(
    "ours, theirs, sign",
    [
        ("", "", ""),
        ("below", "", "< "),
        ("", "above", "< "),
        ("above", "", "> "),
        ("", "below", "> "),
        ("below", "below", "~ "),
        ("", "both", "~ "),
    ],
)
def test_a_ratio_to_a_bound_is_one(ours, theirs, sign):
    assert _bound(ours, theirs) == sign


def test_a_state_that_grows_is_said_to(compare):
    result = compare("attention", "--skip-check", "--seeds", "1", "--rates", "[1e-2]")
    assert result.exit_code == 0, result.output
    assert "note: by default: its state grows with the sequence, and is counted after 16 tokens" in result.stdout


def test_the_readme_shows_the_command_and_its_table(compare):
    text = section("Your own mixer on the plot")
    (words,) = [words for words in commands(text) if words[0] == "compare"]
    words = [word for word in words[1:] if word not in ("--scale", "laptop")]  # a tiny one is given here
    printed = compare(*words, "--skip-check", "--seeds", "1")
    assert printed.exit_code == 0, printed.output
    headers = [line.split() for line in printed.stdout.splitlines() if line.startswith("size ")]
    assert len(headers) == 2
    shown = [line.split() for line in text.splitlines() if line.startswith("size ")]
    assert shown == headers
