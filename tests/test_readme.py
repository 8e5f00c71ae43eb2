"""What the README shows of a user's own files and commands, done as it is printed there."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from transformers import set_seed
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.records.store import Store
from tests.text.words import write_text

README = (Path(__file__).parents[1] / "README.md").read_text()


def section(title):
    """The text of a section."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def files(text):
    """The Python files that a text shows, by the name in their first line."""
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return {found[1]: block for block in blocks if (found := re.match(r"# (\w+\.py)\n", block))}


def commands(text):
    """The words of each command that a text shows, after the program's name."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["mqar-bench"]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to be in; what is imported from it is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def test_own_sweeps_figures_and_tasks(folder):
    text = section("Your own sweeps, figures and tasks")
    assert set(files(text)) == {"my_tasks.py", "my_sweep.py", "my_figure.py"}
    for name, content in files(text).items():
        (folder / name).write_text(content)
    said = {}
    for words in commands(text):
        inline = ["--executor", "inline"] if words[0] == "sweep" else []
        result = CliRunner().invoke(app, [*words, *inline])
        assert result.exit_code == 0, (words, result.stdout, result.stderr)
        said[words[0]] = result.stdout
    assert set(said) == {"tasks", "run", "sweep", "results", "plot"}
    assert said["tasks"].startswith("The last token was there before") and "label" in said["tasks"]
    assert "4 done" in said["sweep"] and said["results"].count("done") == 4
    assert said["plot"].split() == [f"figures/my_figure.{kind}" for kind in ("pdf", "png", "csv")]
    records = Store("results").results()[0]
    assert [record.status for record in records] == ["done"] * 6
    assert all(record.config.data.test[0].name == "my_tasks.Induction" for record in records)


def test_it_is_a_task_that_can_be_solved(folder):
    (folder / "my_tasks.py").write_text(files(section("Your own sweeps, figures and tasks"))["my_tasks.py"])
    sys.path.append(str(folder))
    import my_tasks  # type: ignore[import-not-found]

    segment = my_tasks.Induction(num_examples=50).build(1)
    for tokens, (position,), (answer,) in zip(
        segment.tokens.tolist(), segment.positions.tolist(), segment.answers.tolist(), strict=True
    ):
        assert position == 15 and tokens[tokens.index(tokens[position]) + 1] == answer


def test_a_study_in_python(folder, capsys):
    (script,) = files(section("In Python")).values()
    exec(compile(script, "my_study.py", "exec"), {})
    said = capsys.readouterr()
    assert [line[:5] for line in said.err.splitlines()] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert said.out.count("attention") == said.out.count("gla") == 2
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["curves.csv", "curves.pdf", "curves.png"]
    exec(compile(script, "my_study.py", "exec"), {})
    assert capsys.readouterr().err == ""  # all of it is done


def test_a_language_model(folder, capsys):
    script = files(section("Language models"))["my_language_model.py"]
    exec(compile(script, "my_language_model.py", "exec"), {})
    rows = re.findall(r"\[([\d, ]+)\]", capsys.readouterr().out)
    assert rows and all(len(row.split(",")) == 8 for row in rows)


def test_a_trained_language_model_writes(folder, capsys):
    write_text(folder / "plays.txt", words=6000)
    words = "language plays.txt --scale smoke --vocab-size 300 --mixer ramnet --executor inline --export models"
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    script = files(section("Language models"))["write.py"]
    set_seed(0)
    exec(compile(script, "write.py", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("ROMEO:") and len(said) > 30
