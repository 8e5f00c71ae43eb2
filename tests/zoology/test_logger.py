"""The project of Weights & Biases that an experiment file asks for."""

import os

import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app

ONE = "configs = [config(mixer('attention.MHA'), max_epochs=1)]\n"
NAMES = ("WANDB_PROJECT", "WANDB_ENTITY")
ENTITY = "configs[0].logger.entity = 'hazy'\n"
OTHER = "configs.append(config(mixer('attention.MHA'), max_epochs=2))\nconfigs[1].logger.project_name = 'q'\n"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


def environment():
    return tuple(os.environ.get(name) for name in NAMES)


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("body, taken", [(ONE, ("p", None)), (ONE + ENTITY, ("p", "hazy"))], ids=["project", "both"])
def test_it_is_taken_when_runs_are_followed_there(write, body, taken):
    path = write(body)
    assert run("sweep", path, "--track", "wandb", "--dry-run")[0] == 0
    assert environment() == taken


def test_it_is_taken_of_one_run_of_the_file_too(write):
    assert run("run", "--base", f"{write(ONE)}/0", "--track", "wandb", "--dry-run")[0] == 0
    assert environment() == ("p", None)


@pytest.mark.parametrize("words", [(), ("--track", "tensorboard")], ids=["untracked", "elsewhere"])
def test_else_it_is_said_how_to_follow_them(write, words):
    code, said = run("sweep", write(ONE), "--dry-run", *words)
    assert code == 0 and environment() == (None, None)
    assert "note: they log to Weights & Biases, project p: with --track wandb, here too" in said
    assert "Weights" not in run("sweep", write(ONE), "--dry-run", "--quiet")[1]


def test_several_projects_are_a_choice_to_make(write, monkeypatch):
    path = write(ONE + ENTITY + OTHER)
    code, said = run("sweep", path, "--track", "wandb", "--dry-run")
    assert code == 2 and "several projects of Weights & Biases, hazy/p, q: choose by WANDB_PROJECT" in said
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert run("sweep", path, "--track", "wandb", "--dry-run")[0] == 0
    assert environment() == ("mine", None)
