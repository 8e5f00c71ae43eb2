"""Of every command: an option that takes one value is refused where it is given twice; the last is not just taken."""

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mqar_bench.cli import app


def commands(command, words=()):
    """Every command there is, with the words that lead to it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


OPTIONS = [
    pytest.param(words, option, id=" ".join((*words, option.opts[0])))
    for words, command in commands(typer.main.get_command(app))
    for option in command.params
    if option.param_type_name == "option" and not option.is_eager
]


def chosen(condition):
    return [each for each in OPTIONS if condition(each.values[1])]


SINGLE = chosen(lambda option: not (option.is_flag or option.multiple or option.count))
MANY = chosen(lambda option: option.multiple)
OPPOSED = chosen(lambda option: option.is_flag and option.secondary_opts)
FLAGS = chosen(lambda option: option.is_flag and not option.secondary_opts)


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs a command in an empty folder, where it does no more than to look at its words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda *words: CliRunner().invoke(app, [*words])


def test_there_are_options_of_every_kind():
    assert len(SINGLE) > 50 and len(MANY) >= 2 and len(OPPOSED) >= 2 and len(FLAGS) > 10
    assert {words for words, *_ in (each.values for each in SINGLE)} >= {("run",), ("results", "import"), ("perf",)}


@pytest.mark.parametrize("words, option", SINGLE)
def test_a_single_value_given_twice_is_refused(words, option, cli):
    name = option.opts[0]
    for given in ([name, "1", name, "2"], [f"{name}=1", "word", name, "2"]):
        result = cli(*words, *given)
        assert result.exit_code == 2 and result.stdout == ""
        assert result.stderr == f"error: {name} is given 2 times: 1, 2\n"


@pytest.mark.parametrize("words, option", OPPOSED)
def test_a_flag_and_its_opposite_are_refused(words, option, cli):
    result = cli(*words, option.opts[0], option.secondary_opts[0])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr == f"error: give one of {option.opts[0]} and {option.secondary_opts[0]}, and once\n"


@pytest.mark.parametrize("words, option", [*MANY, *FLAGS])
def test_what_may_be_repeated_is_not_refused(words, option, cli):
    value = () if option.is_flag else ("1",)
    result = cli(*words, option.opts[0], *value, option.opts[0], *value, "--nope=1")
    assert "given" not in result.stderr and "give one" not in result.stderr


@pytest.mark.parametrize("words", [("results",), ("results", "s"), ("results", "--scale", "demo")])
def test_where_a_command_need_not_be_named(words, cli):
    assert cli(*words, "--results", "A", "--results", "B").stderr == "error: --results is given 2 times: A, B\n"


def test_between_settings(cli):
    words = ("run", "--results", "A", "--train.seed", "5", "--results=B", "--model.d_model=8", "--results", "C")
    assert cli(*words).stderr == "error: --results is given 3 times: A, B, C\n"
    assert not list(Path().iterdir())


def test_help_is_given_all_the_same(cli):
    result = cli("sweep", "--results", "A", "--results", "B", "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout
