"""The command that checks a mixer of the user's own: what it prints, its exit code, and mistakes."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.contract.check import PROPERTIES

ROOT = Path(__file__).parents[2]
LEAKS = "\n\nclass Leaks(Mine):\n    def forward(self, x):\n        return super().forward(x).roll(-1, 1)\n"


def example():
    """The mixer that the README tells to write."""
    return re.search(r"```python\n# my_mixers\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]


@pytest.fixture
def check(tmp_path, monkeypatch):
    (tmp_path / "my_mixers.py").write_text(example() + LEAKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda *words: CliRunner().invoke(app, ["check", *words])
    sys.modules.pop("my_mixers", None)


def test_the_mixer_of_the_readme_is_ok_in_everything(check):
    result = check("my_mixers.Mine", "--options", '{"width": 32}', "--d-model", "24")
    assert result.exit_code == 0, result.output
    title, _, *lines, _, verdict = result.stdout.splitlines()
    assert title == "my_mixers.Mine (width=32) of width 24, checked in float64 on the CPU"
    assert [line.split()[0] for line in lines] == ["ok"] * len(PROPERTIES)
    assert verdict == f"my_mixers.Mine keeps the contract: {len(PROPERTIES)} ok"


def test_what_fails_is_told_and_is_the_exit_code(check):
    result = check("my_mixers.Leaks")
    assert result.exit_code == 1
    assert "output at token 0 depends on token 1, by its gradient (in eval mode, T 2)" in result.stdout
    assert result.stdout.endswith("\nmy_mixers.Leaks breaks the contract: causal, step\n")


def test_json_is_the_same_for_programs(check):
    result = check("my_mixers.Leaks", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["failed"] == ["causal", "step"] and found["d_model"] == 16 and found["dtype"] == "float64"
    assert found["mixer"] == "my_mixers.Leaks" and found["options"] == {}
    assert [each["name"] for each in found["properties"]] == [each.name for each in PROPERTIES]
    assert {each["mark"] for each in found["properties"]} == {"ok", "FAILED"}


@pytest.mark.parametrize(
    "words, message",
    [
        (["my_mixers.Yours"], "module 'my_mixers' has no 'Yours'"),
        (["ramnt"], "no mixer named 'ramnt': did you mean 'ramnet'"),
        (["my_mixers.Mine", "--options", '{"widht": 3}'], "has no option 'widht'; did you mean 'width'"),
        (["my_mixers.Mine", "--options", "wide"], "options: Input should be an object (got wide)"),
        (["my_mixers.Mine", "--options", "[1]"], "options: Input should be an object"),
        (["my_mixers.Mine", "--options", '{"width": 1, "width": 2}'], "options: 'width' is given twice"),
        (["my_mixers.Mine", "--options", '{"d_model": 1}'], "d_model is no option: the model sets it"),
        (["attention", "--options", '{"num_heads": 3}', "--d-model", "16"], "must be a multiple of num_heads 3"),
    ],
)
def test_mistakes(check, words, message):
    result = check(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and result.stdout == ""
    assert message in result.stderr
