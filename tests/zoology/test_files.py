"""Files as they lie about: their names, what tells them apart, and where in them a mistake is."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mqar_bench.basics.errors import UsageError
from mqar_bench.cli import app
from mqar_bench.records.store import Store
from mqar_bench.zoology import load_experiment

ONE = "configs = [config(mixer('attention.MHA'), max_epochs=1)]"
LONGER = "long = [MQARConfig(vocab_size=64, input_seq_len=32, num_kv_pairs=4)]\n" + ONE.replace(
    "max_epochs", "data=DataConfig(train_configs=long, test_configs=long), max_epochs"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


def sweep_of(path):
    return load_experiment(path).configs[0].sweep


@pytest.mark.parametrize(
    "name, readable",
    [
        ("configs.py", "configs"),
        ("my sweep (1).py", "my-sweep-1"),
        ("--quiet.py", "quiet"),
        ("Ünïcode ü.py", "n-code"),
        ("日本.py", ""),
        (".hidden.py", "hidden"),
        (f"{'x' * 200}.py", "x" * 40),
    ],
    ids=["usual", "spaces", "dashes", "accents", "other letters", "hidden", "long"],
)
def test_any_name_of_a_file_is_one_of_a_sweep(write, tmp_path, name, readable):
    path = write(ONE, name)
    sweep = sweep_of(path)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", sweep)
    assert sweep[:-7].endswith(readable) and re.fullmatch("-[0-9a-f]{6}", sweep[-7:])
    (tmp_path / "link.py").symlink_to(path)
    (tmp_path / "inner").mkdir()
    assert sweep_of(tmp_path / "link.py") == sweep == sweep_of(tmp_path / "inner" / ".." / name)


@pytest.mark.parametrize(
    "one, other",
    [("a/configs.py", "b/configs.py"), ("a/b/configs.py", "c/b/configs.py"), ("a/x y.py", "a/x-y.py")],
    ids=["folders", "folders above", "characters"],
)
def test_files_of_one_name_are_two_sweeps(write, tmp_path, one, other):
    paths = [tmp_path / one, tmp_path / other]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(ONE).rename(path)
    first, second = map(sweep_of, paths)
    assert first != second
    paths[0].write_text(paths[0].read_text() + "\n# another day")
    assert sweep_of(paths[0]) == first


def test_a_sweep_is_the_same_from_everywhere(write, tmp_path, monkeypatch):
    path = write(ONE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    here = sweep_of(Path("mine.py"))
    monkeypatch.chdir("inner")
    assert here == sweep_of(Path("../mine.py")) == sweep_of(path)


def test_two_files_of_one_name_in_one_folder_of_records(run, write, tmp_path):
    names = []
    for folder, body in (("a", ONE), ("b", LONGER)):
        (tmp_path / folder).mkdir()
        write(body).rename(tmp_path / folder / "configs.py")
        result = run("sweep", f"{folder}/configs.py", "--executor", "inline")
        assert result.exit_code == 0, result.stderr
        names.append(sweep_of(tmp_path / folder / "configs.py"))
        assert f"note: its runs are those of sweep {names[-1]} at scale zoology" in result.stderr
    assert sorted(names) == sorted(p.name.removesuffix("-zoology") for p in (tmp_path / "results").iterdir())
    table = run("results").stdout
    assert all(name in table for name in names)
    for figure in ("fig3", "lr", "per_setting"):
        both = run("plot", figure, *(word for name in names for word in ("--sweep", name)))
        assert both.exit_code == 2 and "runs on different data do not compare" in both.stderr
        assert run("plot", figure, "--sweep", names[0]).exit_code == 0


def test_a_file_that_has_changed_its_data_is_one_sweep_whose_runs_are_kept_apart(run, write):
    for body in (ONE, LONGER):
        path = write(body)
        assert run("sweep", path, "--executor", "inline").exit_code == 0
    (sweep,) = {record.config.sweep for record in Store("results").results()[0]}
    both = run("plot", "per_setting", "--sweep", sweep)
    assert both.exit_code == 2 and both.stderr.count("(1 run)") == 2


@pytest.mark.parametrize(
    "body, message",
    [
        ("\n1 / 0", "ZeroDivisionError: division by zero"),
        ("\nx = (", "SyntaxError: '(' was never closed"),
        ("\nimport zoology.train", "ImportError: zoology.train is not stood in for"),
        ("\ndef f(n): return DataConfig(train_configs=n)\nf(1)", "ValidationError: DataConfig.train_configs: Input sh"),
        ("\nconfigs = (config(conv, seed=1 / n) for n in (1, 0))", "ZeroDivisionError: division by zero"),
        (
            "\nconfigs = [TrainConfig(data=[data], model=ModelConfig())]",
            "ValidationError: TrainConfig.data: Value error, a list of data is",
        ),
    ],
    ids=["raised", "syntax", "import", "called", "generated", "list of data"],
)
@pytest.mark.parametrize("how", ["absolute", "relative", "above"])
def test_a_mistake_is_said_with_its_line(write, tmp_path, monkeypatch, how, body, message):
    path = write(body)
    line = len(path.read_text().splitlines()) - body.count("\nf(1)")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner" if how == "above" else tmp_path)
    given = {"absolute": path, "relative": Path("mine.py"), "above": Path("../mine.py")}[how]
    with pytest.raises(UsageError) as caught:
        load_experiment(given)
    assert str(caught.value).startswith(f"{given}:{line}: {message}") and "\n" not in str(caught.value)


def test_a_mistake_in_a_file_that_is_imported_is_said_with_both_lines(write, tmp_path):
    folder = tmp_path / "zoology" / "experiments"
    folder.mkdir(parents=True)
    (folder / "repo.py").write_text("\n\n1 / 0\n")
    path = write("from zoology.experiments import repo").rename(folder / "mine.py")
    line = len(path.read_text().splitlines())
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    assert str(caught.value) == f"{path}:{line}: {folder / 'repo.py'}:3: ZeroDivisionError: division by zero"


@pytest.mark.parametrize("form", ["[{}]", "({},)", "(c for c in [{}])", "{{1: {}}}.values()", "iter([{}])"])
def test_configs_may_be_anything_that_gives_them_one_by_one(write, form):
    body = f"configs = {form.format(ONE.removeprefix('configs = [').removesuffix(']'))}"
    assert len(load_experiment(write(body)).configs) == 1


@pytest.mark.parametrize(
    "body, message",
    [
        ("configs = config(conv)", "has no list `configs`"),
        ("configs = {'a': config(conv)}", "has no list `configs`"),
        ("configs = ()", "has no list `configs`"),
        ("configs = (c for c in ())", "has no list `configs`"),
        ("configs = 'abc'", "has no list `configs`"),
        ("configs = [config(conv), data]", "entry 1 is of type DataConfig"),
        ("import itertools; configs = itertools.repeat(config(conv))", "has more than 100000 configs"),
    ],
    ids=["one", "mapping", "none", "none generated", "text", "another", "endless"],
)
def test_what_is_no_list_of_configs_is_said(write, body, message):
    with pytest.raises(UsageError, match=message):
        load_experiment(write(body))


def test_unreadable_bytes_are_one_line(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(UsageError, match=f"^{re.escape(os.fspath(tmp_path / 'mine.py'))}:1: SyntaxError: "):
        load_experiment(tmp_path / "mine.py")
