import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.config import RunConfig
from mqar_bench.records.result import Epoch, Provenance, RunResult
from mqar_bench.records.store import Store
from mqar_bench.records.table import to_frame

ROOT = Path(__file__).parents[2]


def record(rate=1e-3, status="done", accuracy=0.5, device="cpu", mixer="attention", **options) -> RunResult:
    config = RunConfig.model_validate(
        {
            "sweep": "s",
            "scale": "demo",
            "model": {"mixers": [{"name": mixer, "options": options}]},
            "train": {"learning_rate": rate},
        }
    )
    provenance = Provenance(
        device=device, threads=1, python="3", versions={}, git_commit=None, git_dirty=None, started_at="2026-01-01"
    )
    values = {"accuracy": accuracy, "settings": {"L64-kv8": 1 / 3}, "state_size": 2**40} if status == "done" else {}
    return RunResult(run_id=config.run_id, status=status, config=config, provenance=provenance, **values)


def write(root: str, *records: RunResult) -> Store:
    for each in records:
        Store(root).write(each)
    return Store(root)


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs `mqar-bench results` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda *words: CliRunner().invoke(app, ["results", *map(str, words)])


def test_without_a_command_they_are_listed(cli):
    write("results", record(), record(2e-3, "failed"))
    listed = cli("list", "s", "--scale", "demo", "--format", "csv")
    assert listed.exit_code == 0 and listed.stdout.count("\n") == 3
    for words in [("s",), (), ("--scale", "demo"), ("s", "--scale", "demo"), ("--scale", "demo", "s")]:
        assert cli(*words, "--format", "csv").stdout == listed.stdout
        assert cli("--format", "csv", *words).stdout == listed.stdout
    assert cli().stdout == cli("list").stdout != ""
    assert "no records of sweep pack in results" in cli("list", "pack").stderr


def test_help_tells_a_stranger_everything(cli):
    shown = cli("--help")
    assert shown.exit_code == 0 and cli("-h").stdout == shown.stdout
    words = [
        "[SWEEP] | COMMAND",
        "a row a run",
        "--scale",
        "--format",
        "--columns",
        "--export",
        "list",
        "import",
        "pack",
    ]
    assert all(word in shown.stdout for word in [*words, "mqar-bench results import /mnt", "Examples"])
    assert "--replace" not in shown.stdout and "--replace" in cli("import", "--help").stdout
    assert "--export" in cli("s", "--help").stdout and "[SWEEP]" in cli("pack", "--help").stdout


MIXED = [
    record(mixer="a", top_k=4, cape=True, size=1, many=[1, 2], any=1, note=None),
    record(mixer="b", cape=False, size=0.5, name="x,\ny", any="auto", note=None),
    record(2e-3, "failed", top_k=8),
]


def test_export_to_csv_is_what_the_format_csv_is(cli):
    write("results", *MIXED)
    result = cli("s", "--export", "folder/runs.csv")
    assert (result.exit_code, result.stdout) == (0, "folder/runs.csv: 3 rows\n")
    assert Path("folder/runs.csv").read_text() == cli("--format", "csv").stdout
    assert [path.name for path in Path("folder").iterdir()] == ["runs.csv"]


def test_export_to_parquet_keeps_every_column_and_what_is_missing(cli):
    frame = to_frame(write("results", *MIXED).results()[0])
    result = cli("--export", "runs.parquet")
    assert (result.exit_code, result.stdout) == (0, "runs.parquet: 3 rows\n")
    read = pd.read_parquet("runs.parquet")
    assert list(read.columns) == list(frame.columns)
    assert read["state_size"].dtype == "Int64" and read["state_size"].max() == 2**40
    assert set(read["accuracy/L64-kv8"].dropna()) == {1 / 3}
    rows = {row["mixer"]: row for row in read.to_dict("records")}
    a, b, failed = rows["a"], rows["b"], rows["attention"]
    assert (a["option.top_k"], a["option.cape"], a["option.size"], a["option.many"]) == (4, True, 1.0, "[1, 2]")
    assert (b["option.cape"], b["option.size"], b["option.name"]) == (False, 0.5, "x,\ny")
    assert (a["option.any"], b["option.any"]) == ("1", '"auto"')
    for row, name in [(failed, "accuracy"), (failed, "option.cape"), (b, "option.many"), (a, "option.note")]:
        assert pd.isna(row[name]), name


def test_an_export_that_fails_leaves_the_file_that_was_there(cli, monkeypatch):
    write("results", record())
    Path("runs.csv").write_text("before")

    def full(_):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = cli("--export", "runs.csv")
    assert (result.exit_code, result.stderr) == (2, "error: cannot write runs.csv: No space left on device\n")
    assert Path("runs.csv").read_text() == "before" and sorted(os.listdir()) == ["results", "runs.csv"]


def test_parquet_without_pyarrow_says_what_to_install(cli, monkeypatch):
    write("results", record())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = cli("--export", "runs.parquet")
    assert result.exit_code == 2 and not Path("runs.parquet").exists()
    assert (
        result.stderr == "error: --export runs.parquet: Parquet needs pyarrow, which `pip install pyarrow` installs\n"
    )


def test_import(cli):
    write("results", record(1e-3), record(2e-3, "failed"), record(3e-3), record(4e-3, device="here"))
    there = [record(1e-3, device="gpu"), record(2e-3), record(3e-3, "failed"), record(5e-3)]
    write("other", *there, record(4e-3, accuracy=0.1234567, device="elsewhere"))
    Path("other/cut.json").write_text("{")
    words = ("import", "other", "--dry-run")
    before = Store("results").results()
    dry = cli(*words)
    assert Store("results").results() == before
    result = cli("import", "other")
    path = Store("other").path(record(4e-3).config)
    conflict = (
        f"conflict {record(4e-3).run_id} attention lr=0.004 seed=123: accuracy 0.5 here (here, 1 thread),"
        f" 0.123457 in {path} (elsewhere, 1 thread); kept\n"
    )
    counts = "1 new, 1 already there, 1 done in place of failed, 1 failed but done here, 1 in conflict\n"
    assert result.stdout == conflict + "imported into results: " + counts
    assert dry.stdout == conflict + "would import into results: " + counts
    assert result.stderr.startswith("skipped other/cut.json: not JSON") and result.stderr.count("\n") == 2
    assert result.stderr.endswith("what was here stays where numbers differ; --replace takes the imported ones\n")
    assert result.exit_code == dry.exit_code == 1
    replaced = cli("import", "other", "--replace")
    assert replaced.exit_code == 0 and "(elsewhere, 1 thread); replaced\n" in replaced.stdout
    assert cli("import", "other").stdout == "imported into results: 0 new, 4 already there, 1 failed but done here\n"


def test_import_of_nothing(cli):
    Path("other").mkdir()
    result = cli("import", "other")
    assert (result.exit_code, result.stdout) == (0, "imported into results: 0 new, 0 already there\n")
    assert result.stderr == "note: there is no record in other\n" and not Path("results").exists()


@pytest.mark.parametrize(
    "changes, shown",
    [
        ({"settings": {"L64-kv8": 0.4}}, "accuracy on L64-kv8 0.333333 here (cpu, 1 thread), 0.4 in "),
        ({"accuracy": 0.502}, "accuracy 0.5 here (cpu, 1 thread), 0.502 in "),
        ({"epochs": (Epoch(epoch=0, loss=1, accuracy=0, settings={}),)}, "epochs 0 here (cpu, 1 thread), 1 in "),
    ],
    ids=["settings", "accuracy", "epochs"],
)
def test_a_conflict_shows_the_number_that_differs_and_where_both_come_from(cli, changes, shown):
    write("results", record())
    there = record().model_copy(update=changes)
    store = write("other", there.model_copy(update={"provenance": there.provenance.model_copy(update={"threads": 2})}))
    stdout = cli("import", store.root).stdout
    assert shown in stdout and "(cpu, 2 threads); kept\n" in stdout


def test_what_differs_by_rounding_alone_is_there_already(cli):
    write("results", record())
    store = write("other", record().model_copy(update={"settings": {"L64-kv8": 1 / 3 + 1 / 8000}}))
    result = cli("import", store.root)
    assert (result.exit_code, result.stdout) == (0, "imported into results: 0 new, 1 already there\n")


def test_pack(cli):
    write("results", record(1e-3), record(2e-3, "failed"))
    Path("results/s-demo/notes.txt").write_text("")
    before = cli("--format", "json").stdout
    dry = cli("pack", "--dry-run")
    assert dry.stdout == "results/s-demo.jsonl: 2 runs, 2 files to fold in\n"
    result = cli("pack", "s", "--scale", "demo")
    assert result.exit_code == 0 and result.stdout == "results/s-demo.jsonl: 2 runs, 2 files folded in\n"
    assert result.stderr == dry.stderr == "skipped results/s-demo/notes.txt: no record\n"
    assert cli("--format", "json").stdout == before
    assert cli("pack").stdout == "results/s-demo.jsonl: 2 runs, nothing to do\n"
    write("results", record(2e-3))
    assert cli("pack").stdout == "results/s-demo.jsonl: 2 runs, 1 file folded in\n"


@pytest.mark.parametrize(
    "words, message",
    [
        ("--nope", "No such option: --nope"),
        ("import --nope", "No such option: --nope"),
        ("pack --nope", "No such option: --nope"),
        ("list --nope", "No such option: --nope"),
        ("import", "Missing argument 'SOURCE'"),
        ("import nothing", "cannot import nothing: there is no such file or folder"),
        ("import file", "cannot import file: records come in folders, .json and .jsonl files"),
        ("import results", "cannot import results: it lies in results"),
        ("import . --results results", "cannot import .: results itself lies in it"),
        ("import other --results file", "cannot write file/s-demo/"),
        ("pack t", "no records of sweep t in results: there is s at demo"),
        ("pack --results none", "no records: there is no folder none"),
        ("s t", "unexpected extra argument"),
        ("--export runs.xls", "--export runs.xls: the file must end in .csv or .parquet"),
        ("--export runs.csv --columns mixer", "--export writes every column"),
        ("--export runs.csv --format json", "--export writes every column"),
        ("--export file/runs.csv", "cannot write file/runs.csv: "),
        ("t --export runs.csv", "no records of sweep t"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(cli, words, message):
    write("results", record())
    write("other", record(2e-3))
    Path("file").write_text("")
    result = cli(*words.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and result.stdout == ""
    assert message in result.stderr
    assert not Path("runs.csv").exists() and len(Store("results").results()[0]) == 1


def test_help_of_results_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom mqar_bench.cli import app\ntry:\n    app(['results', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'ray', 'matplotlib', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Usage" in result.stdout and result.stderr == "set()\n"


def test_mixed_options_keep_their_types_in_a_packed_sweep(cli):
    write("results", *MIXED)
    cli("pack")
    rows = json.loads(cli("--format", "json").stdout)
    assert {row["mixer"]: row["option.any"] for row in rows} == {"a": 1, "b": "auto", "attention": None}
