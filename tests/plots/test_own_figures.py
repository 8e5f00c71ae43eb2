"""Figures of the user's own, by file and by dotted name, in a folder of their own."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mqar_bench.basics.modules import locate
from mqar_bench.cli import app
from mqar_bench.records.store import Store
from tests.plots.records import config, record

HEAD = """
import matplotlib.pyplot as plt
import pandas as pd

"""
LINE = HEAD.count("\n") + 1  # the first of what follows it
TABLE = "def table(frame):\n    return frame[['sweep', 'scale', 'accuracy']]\n"
FIGURE = "def figure(points):\n    fig, ax = plt.subplots()\n    ax.plot(points['accuracy'])\n    return fig\n"


@pytest.fixture
def plot(tmp_path, monkeypatch):
    """Draws a figure in an empty folder but for the records given; what it has imported is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def call(*words, records=()):
        for each in records:
            Store("results").write(each)
        return CliRunner().invoke(app, ["plot", *words])

    yield call
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(body, path="my_figure.py"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(HEAD + body)


def of(sweep, accuracy=0.5, scale="demo"):
    return record(config("ramnet", sweep=sweep, scale=scale), accuracy)


def test_it_is_drawn_from_every_sweep_and_named_after_its_file(plot):
    write(TABLE + FIGURE)
    result = plot("my_figure.py", "--out", "out", records=[of("fig3"), of("mine", 0.7)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [f"out/my_figure.{kind}" for kind in ("pdf", "png", "csv")]
    assert set(pd.read_csv("out/my_figure.csv")["sweep"]) == {"fig3", "mine"}
    assert plot("my_figure.py", "--sweep", "mine").exit_code == 0
    assert set(pd.read_csv("figures/my_figure.csv")["sweep"]) == {"mine"}
    first = Path("out/my_figure.png").read_bytes()
    assert plot("./my_figure.py", "--out", "out").exit_code == 0 and Path("out/my_figure.png").read_bytes() == first


def test_a_dotted_name_and_two_columns(plot):
    write("", "my_package/__init__.py")
    write(TABLE + FIGURE.replace("(points)", "(points, columns=1)", 1).replace("s()", "s(figsize=(columns, 1))"))
    Path("my_figure.py").rename("my_package/my_figure.py")
    assert plot("my_package.my_figure", "--columns", "2", records=[of("fig3")]).exit_code == 0
    two = Path("figures/my_figure.png").read_bytes()
    assert plot("my_package.my_figure").exit_code == 0 and Path("figures/my_figure.png").read_bytes() != two


def test_it_says_whose_records_it_shows(plot):
    write("def configs(): pass\n", "deep/my_sweep.py")
    write("SWEEPS = ('gamma', 'my_sweep.py')\n" + TABLE + FIGURE, "deep/my_figure.py")
    nothing = plot("deep/my_figure.py", records=[of("fig3")])
    assert nothing.exit_code == 2
    assert "error: no records of gamma or deep/my_sweep.py in results: `mqar-bench sweep gamma" in nothing.stderr
    own = locate("deep/my_sweep.py").folder_name
    assert plot("deep/my_figure.py", records=[of(own, 0.6)]).exit_code == 0
    assert pd.read_csv("figures/my_figure.csv")["sweep"].tolist() == [own]
    none = plot("fig3", "--sweep", "deep/my_sweep.py", "--scale", "laptop")
    assert none.exit_code == 2 and "no records at scale laptop" in none.stderr
    Path("deep/other.py").touch()
    none = plot("fig3", "--sweep", "deep/other.py")
    assert "no records of deep/other.py in results: `mqar-bench sweep deep/other.py` makes some" in none.stderr


@pytest.mark.parametrize("shows", [True, False])
def test_it_can_show_the_short_runs_of_a_screening(plot, shows):
    write(f"SCREENING = {shows}\n" + TABLE + FIGURE)
    records = [of("mine"), of("mine", 0.2, scale="demo-screen")]
    for words in ((), ("--scale", "demo")):
        assert plot("my_figure.py", *words, records=records).exit_code == 0
        assert pd.read_csv("figures/my_figure.csv")["scale"].tolist() == ["demo-screen" if shows else "demo"]


CASES = {
    "syntax": ("x = (\n", ":{0}: SyntaxError: '(' was never closed"),
    "import": ("import no_such_thing\n", ":{0}: ModuleNotFoundError: No module named 'no_such_thing'"),
    "no table": (FIGURE, " has no function table: a figure has table(frame) and figure(points)"),
    "no figure": (TABLE, " has no function figure"),
    "sweeps": (
        "SWEEPS = 'fig3'\n" + TABLE + FIGURE,
        ": SWEEPS must be a tuple of names, such as ('fig3',), got 'fig3'",
    ),
    "no sweep": ("SWEEPS = ('x.py',)\n" + TABLE + FIGURE, ": SWEEPS has 'x.py': there is no file x.py"),
    "no column": ("def table(frame):\n    return frame['acuracy']\n" + FIGURE, ":{1}: KeyError: 'acuracy'"),
    "theirs": ("def table(frame):\n    raise ValueError('of mine')\n" + FIGURE, ":{1}: ValueError: of mine"),
    "no frame": ("def table(frame):\n    pass\n" + FIGURE, ":{0}: table must return a pandas DataFrame, got None"),
    "no picture": (
        "def figure(points):\n    return 3\n" + TABLE,
        ":{0}: figure must return a matplotlib Figure, got int 3",
    ),
    "in figure": ("def figure(points):\n    return 1 / 0\n" + TABLE, ":{1}: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_with_its_place(plot, case):
    body, message = CASES[case]
    write(body)
    result = plot("my_figure.py", records=[of("mine")])
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1, result.output
    assert result.stderr.startswith("error: my_figure.py") and message.format(LINE, LINE + 1) in result.stderr


def test_what_our_own_code_refuses_is_said_as_for_our_figures(plot):
    write("from plots.select import select_points, tabulate\n" + FIGURE)
    with open("my_figure.py", "a") as file:
        file.write("def table(frame):\n    return tabulate(list(select_points(frame, ['mixer'])), frame, 'mine')\n")
    result = plot("my_figure.py", records=[of("mine", None)])
    assert result.stderr.splitlines()[-1] == (
        "error: nothing to draw: there is no finished run; start one with `mqar-bench sweep mine --scale demo`"
    )


@pytest.mark.parametrize(
    "words, message",
    [
        ("none.py", "there is no file none.py"),
        ("my_figure", "no figure named 'my_figure': did you mean the file my_figure.py?"),
        ("no_such.figure", "there is no module 'no_such'"),
        ("my_figure.py --columns 2", "comes in one width only: leave out --columns 2"),
        ("my_figure.py --scale paper", "no records at scale paper"),
        ("my_figure.py --sweep miine", "no sweep named 'miine': did you mean 'mine'?"),
        ("my_figure.py --trace none.npz", "cannot read none.npz"),
    ],
)
def test_a_mistake_on_the_command_line(plot, words, message):
    write(TABLE + FIGURE)
    result = plot(*words.split(), records=[of("mine")])
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1, result.output
    assert result.stderr.startswith("error: ") and message in result.stderr
