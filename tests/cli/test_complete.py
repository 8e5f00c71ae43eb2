"""What the shell completes: all names there are, and at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mixers
import plots
import sweeps
from mqar_bench.cli import app
from mqar_bench.perf import CASES
from mqar_bench.tasks import TASKS

ROOT = Path(__file__).parents[2]
MINE = "SCALES = ('one', 'two')\nraise SystemExit('executed')\n"


def variables(line, shell="bash"):
    """What a shell tells a program that is to complete a line; the last word may be empty."""
    words = line.split(" ")
    told = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)} if shell == "bash" else {}
    return {"_MQAR_BENCH_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, **told}


@pytest.fixture
def complete(tmp_path, monkeypatch):
    """The words with which ``mqar-bench LINE`` could end, in a folder with two records and a sweep."""
    monkeypatch.chdir(tmp_path)
    Path("results/s-demo").mkdir(parents=True)
    Path("results/s-demo/aaaaaaaaaaaa.json").write_text("{}")
    Path("results/s-demo/notes.json").write_text("{}")
    Path("results/t-demo.jsonl").write_text('{"run_id":"bbbbbbbbbbbb"}\n{"run_id": "abababababab"}\n')
    Path("mine.py").write_text(MINE)

    def call(line, shell="bash"):
        result = CliRunner().invoke(app, [], env=variables(f"mqar-bench {line}", shell), prog_name="mqar-bench")
        assert result.exit_code == 0 and result.stderr == ""
        return result.stdout.split() if shell == "bash" else result.stdout

    return call


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("swe", ["sweep"]),
        ("sweep ", sweeps.names()),
        ("sweep --seeds 3 fig4_s", ["fig4_slots"]),
        ("sweep nothing", []),
        ("sweep published --scale ", sweeps.scales("published")),
        ("sweep fig4_order --scale ", sweeps.scales("fig4_order")),  # which has them from another module
        ("sweep mine.py --scale t", ["two"]),
        ("sweep none.py --scale ", []),
        ("sweep fig3 --executor ", ["ray", "inline"]),
        ("sweep fig3 --jobs 2 --jobs 3 --executor i", ["inline"]),  # a mistake that is said when it is entered
        ("plot ", plots.names()),
        ("plot fig3 --sweep fig3", ["fig3"]),
        ("reproduce ", plots.names()),
        ("reproduce --scale lap", ["laptop"]),
        ("mixers ", mixers.names()),
        ("check ra", ["ramnet", "raven"]),
        ("tasks ", sorted(TASKS)),
        ("perf ", CASES),
        ("show ", ["aaaaaaaaaaaa", "abababababab", "bbbbbbbbbbbb"]),
        ("show ab", ["abababababab"]),
        ("evaluate fig3/d", ["fig3/demo/0"]),
        ("stream fig3/d", ["fig3/demo/0"]),
        ("trace --results nowhere a", [f"anneal/{scale}/0" for scale in sweeps.scales("anneal")]),
        ("run --base top_k/l", ["top_k/laptop/0"]),
        ("run --from-record b", ["bbbbbbbbbbbb"]),
        ("export-zoology fig3 --scale pa", ["paper"]),
        ("results ", ["list", "import", "pack", *sweeps.recorded()]),
        ("results list ", sweeps.recorded()),
        ("results lang", ["language"]),
        ("plot fig3 --sweep lang", ["language"]),
        ("results pack fig3 --scale dem", ["demo"]),
    ],
)
def test_bash_is_given_the_words(complete, line, words):
    assert sorted(complete(line)) == sorted(words)


def test_zsh_is_given_where_a_run_is_from(complete):
    assert '"abababababab":"t-demo"' in complete("show ab", "zsh")


def test_nothing_heavy_is_imported():
    code = (
        "import atexit, sys\n"
        "from mqar_bench.cli import main\n"
        "heavy = {'torch', 'numpy', 'pandas', 'ray', 'scipy', 'matplotlib', 'mixers'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    for line in ("sweep fig3 --scale ", "mixers r", "tasks f", "plot c", "show 1", "run --base fig3/"):
        environment = {**os.environ, **variables(f"mqar-bench {line}"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "[]\n") and done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown(shell):
    environment = {"_MQAR_BENCH_COMPLETE": f"source_{shell}"}
    result = CliRunner().invoke(app, [], env=environment, prog_name="mqar-bench")
    assert result.exit_code == 0 and f"_MQAR_BENCH_COMPLETE=complete_{shell}" in result.stdout
