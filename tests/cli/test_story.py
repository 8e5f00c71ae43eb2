"""``show``: finding a run by what people call it, and telling its story."""

import json
import re
import shlex
import sys

import pytest
from typer.testing import CliRunner

import sweeps
from mqar_bench.cli import app
from mqar_bench.config import RunConfig
from mqar_bench.records.archive import pack
from mqar_bench.records.result import Curve, RunResult, ScreenRecord
from mqar_bench.records.store import Store
from tests.plots.records import config, record

CURVE = Curve(steps=(50,) * 4, tokens=(320_000,) * 4, loss=(4.0, 2.0, 1.0, 0.0), accuracy=(0.0, 0.5, 0.5, 1.0))


@pytest.fixture
def show(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda *words: CliRunner().invoke(app, ["show", *words])


def write(*records):
    for each in records:
        Store("results").write(each)
    return records[0].run_id


def facts(result):
    """By name, what the first lines say."""
    assert result.exit_code == 0, result.stderr
    return dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.split("\n\n")[0].splitlines())


def failed(run, **values):
    return record(run, None).model_copy(update=values)


@pytest.mark.parametrize("packed", [False, True], ids=["file", "packed"])
def test_a_run_is_found_by_its_id_the_start_of_it_and_its_place_in_a_sweep(show, packed):
    runs = sweeps.load("fig3", "demo")
    run_id = write(record(runs[3], 0.5), record(runs[4], 0.6))
    if packed:
        pack(Store("results"))
    place = "results/fig3-demo.jsonl, line " if packed else f"results/fig3-demo/{run_id}.json"
    for words in (run_id, run_id[:6], "fig3/demo/3"):
        said = facts(show(words))
        assert said["run"] == f"{run_id}, done" and said["record"].startswith(place)
        assert said["sweep"] == "fig3 at demo"


def test_of_several_records_of_a_run_the_done_one_is_shown_and_the_others_named(show):
    run_id = write(failed(config()), record(config(sweep="top_k"), 0.7))
    said = facts(show(run_id))
    assert said["run"].endswith("done") and said["sweep"] == "top_k at demo; also fig3 at demo"


def test_the_whole_record_comes_as_json(show):
    write(record(config(), 0.5).model_copy(update={"curve": CURVE}))
    out = show(config().run_id, "--json").stdout
    assert RunResult.model_validate_json(out) == Store("results").read(config())


def test_an_id_that_several_runs_share_names_them(show):
    runs = [config(rate=rate) for rate in (1e-3, 1e-2, 2e-2, 3e-2, 4e-2, 5e-2)]
    write(*(record(run, 0.5) for run in runs))
    result = show("")
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1
    assert f"{runs[0].run_id} (fig3 at demo: attention lr=0.001 seed=1)" in result.stderr
    assert result.stderr.count("seed=1") == 4 and result.stderr.endswith("and 2 more\n")


def test_an_id_that_no_run_has_names_the_nearest(show):
    run_id = write(record(config(), 0.5))
    wrong = run_id[:5] + ("0" if run_id[5] != "0" else "1") + run_id[6:9]
    result = show(wrong)
    assert result.exit_code == 2 and result.stderr == (
        f"error: no run has an id that starts with {wrong!r} in results: did you mean {run_id}"
        " (fig3 at demo: attention lr=0.01 seed=1)?\n"
    )
    assert show("nothing").stderr.endswith("in results: `mqar-bench results` lists them\n")


def test_where_there_is_nothing_it_says_so(show, tmp_path):
    assert show("abc").stderr == "error: no run has an id that starts with 'abc' in results: there is no such folder\n"
    (tmp_path / "results").mkdir()
    assert show("abc").stderr == "error: no run has an id that starts with 'abc' in results: there is no record\n"
    assert show("fig3/demo").exit_code == show("fig3/demo/999").exit_code == 2


def test_a_run_of_a_sweep_without_a_record_names_those_of_its_model(show):
    runs = sweeps.load("fig3", "demo")
    other = write(record(runs[3].reseeded(1), 0.5))
    result = show("fig3/demo/3")
    assert result.exit_code == 2 and f"fig3/demo/3 is run {runs[3].run_id}, which has no record in" in result.stderr
    assert f"with another learning rate or seed there is {other} (fig3" in result.stderr
    assert show("fig3/demo/0").stderr.endswith("which has no record in results\n")


def test_the_settings_make_the_run_again(show, monkeypatch):
    run = sweeps.load("fig3", "laptop")[20]
    write(record(run, 0.5))
    command = show(run.run_id).stdout.partition("defaults:\n")[2].replace("\\\n", " ")
    words = shlex.split(command)
    assert words[:2] == ["mqar-bench", "run"]
    again = CliRunner().invoke(app, [*words[1:], "--dry-run"])
    assert RunConfig.model_validate_json(again.stdout).run_id == run.run_id


TWO = {"test": [{"num_kv_pairs": 4}, {"num_kv_pairs": 16}]}


def test_what_a_done_run_came_to(show):
    values = {"settings": {"L64-kv4": 0.95, "L64-kv16": 0.25}, "curve": (0.3, 0.92), "active": 512}
    done = record(config(data=TWO), 0.6, **values, seconds=61.0, train_seconds=50.0, resumed=2, retries=("it died",))
    result = show(write(done))
    said = facts(result)
    assert said["accuracy"] == "0.600, mean over test settings; test 0.920 at the end, 0.920 at best"
    assert said["capacity"].startswith("4.416 pairs at 0.9 accuracy")
    assert said["to 0.9"] == "after 200 steps, 1,280,000 tokens, by test accuracy"
    assert said["state"] == "4,096 elements, 512 active a token, at 64 tokens"
    assert said["cost"] == "61.0 s, of which training 50.0 s, 100,000 tokens a second, 1.00 GiB at most"
    assert (said["resumed"], said["retried"]) == ("2 times from a checkpoint", "it died")
    assert said["machine"] == "cpu, 1 thread" and said["code"] == "not from a checkout"
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["L64-kv4", "4", "0.9500"] in rows and ["L64-kv16", "16", "0.2500"] in rows


def test_bounds_and_what_never_came_are_said(show):
    above = record(config(data=TWO), 0.95, settings={"L64-kv4": 1.0, "L64-kv16": 0.95}, curve=(0.1,))
    said = facts(show(write(above)))
    assert said["capacity"].startswith("at least 16 pairs") and said["to 0.9"] == "never, by test accuracy"
    assert "capacity" not in facts(show(write(record(config(rate=1.0), 0.5))))  # one setting


def charts(result):
    return re.findall(r"\n\n(\w+ \w+), (.*?): .*\n((?:.*\n){5}) +1 +([\d,]+) steps", result.stdout)


def test_its_curves_are_drawn(show):
    run_id = write(record(config(), 0.5, curve=(0.25, 1.0)).model_copy(update={"curve": CURVE}))
    loss, training, scored = charts(show(run_id))
    assert [chart[0] for chart in (loss, training, scored)] == ["training loss", "training accuracy", "test accuracy"]
    assert {chart[3] for chart in (loss, training, scored)} == {"200"}
    top, *_, bottom = scored[2].splitlines()
    assert top == "    1 " + " " * 37 + "█" * 37 and bottom == "    0 " + "█" * 74
    assert max(len(line) for chart in (loss, training, scored) for line in chart[2].splitlines()) <= 80
    assert loss[2].splitlines()[0].startswith("    4 ██")


def test_where_output_is_ascii_its_curves_are_too(show):
    run_id = write(record(config(), 0.5, curve=(0.25, 1.0)))
    result = CliRunner(charset="ascii").invoke(app, ["show", run_id])
    assert result.exit_code == 0 and result.stdout.isascii()
    assert charts(result)[1][2].splitlines()[0] == "    1 " + " " * 37 + "#" * 37


def test_a_record_without_a_curve_has_the_loss_of_its_epochs(show):
    run_id = write(record(config(), 0.5, curve=(0.25, 1.0)))
    assert [chart[0] for chart in charts(show(run_id))] == ["training loss", "test accuracy"]


def test_who_competed_is_told(show):
    screen = ScreenRecord(epochs=2, keep=1, rivals={"0.01": 0.5, "0.003": None}, runs={"0.01": "abc"}, seed=7)
    run_id = write(record(config(), 0.5).model_copy(update={"screen": screen}))
    lines = [line.split() for line in show(run_id).stdout.splitlines()]
    assert "screening: learning rates after 2 epochs, seed 7, of which the best went on" in show(run_id).stdout
    assert ["0.003", "failed", "-"] in lines and ["0.01", "0.500", "abc", "this", "run's"] in lines


def test_a_failed_run_has_its_error_and_its_traceback(show):
    trace = "Traceback (most recent call last):\n  here\nValueError: no"
    result = show(write(failed(config(), error="ValueError: no", traceback=trace, seconds=3.0)))
    said = facts(result)
    assert said["run"].endswith(", failed") and said["error"] == "ValueError: no" and said["cost"] == "3.0 s"
    assert result.stdout.endswith(f"\n\n{trace}\n") and charts(result) == []
    lost = failed(config(rate=1.0), error="the worker died", lost=True)
    assert facts(show(write(lost)))["lost"] == "the worker died"


def test_json_of_a_failed_run_is_json_alone(show):
    run_id = write(failed(config(), error="no"))
    assert json.loads(show(run_id, "--json").stdout)["status"] == "failed"
