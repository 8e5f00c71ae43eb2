from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import sweeps
from mqar_bench.cli import app
from mqar_bench.records.store import Store
from tests.plots.records import record
from tests.plots.test_capacity import run as recalled
from tests.plots.test_language import spoken


@pytest.fixture
def reproduce(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["reproduce", "--scale", "smoke", *words])


def test_from_nothing_to_figures_and_report(reproduce, tmp_path):
    first = reproduce("fig3", "lr", "--executor", "inline", "--quiet")
    assert first.exit_code == 0, first.stderr
    report = (tmp_path / "results/REPORT.md").read_text()
    pictures = [line.partition("](")[2].rstrip(")") for line in report.splitlines() if line.startswith("![")]
    assert pictures == ["figures/smoke/fig3.png", "figures/smoke/lr.png"]
    assert all((tmp_path / "results" / picture).stat().st_size > 1000 for picture in pictures)
    undecided = next(line for line in report.splitlines() if line.startswith("- Not told apart: RAM-Net is above "))
    assert " / attention / " in undecided and f"{len(sweeps.load('fig3', 'smoke'))} runs; seeds 123" in report
    assert report.count("\n| ramnet |") >= 2
    again = reproduce("fig3", "lr", "--no-train")
    assert again.exit_code == 0 and (tmp_path / "results/REPORT.md").read_text() == report
    assert Store("results").results()[1] == []  # what it leaves there is taken for no record


def test_what_a_section_lacks_is_named_once(reproduce, tmp_path):
    wanted = sweeps.load("fig3", "smoke")
    for run, accuracy in zip(wanted, (0.5, None), strict=False):
        Store("results").write(record(run, accuracy))
    assert reproduce("fig3", "fig3_active", "--no-train").exit_code == 0
    report = (tmp_path / "results/REPORT.md").read_text()
    assert (
        report.count(f"{len(wanted) - 1} of {len(wanted)} runs of fig3 at smoke are not done: fig3 names them\n") == 1
    )
    assert f"Left out:\n\n- {len(wanted) - 1} of {len(wanted)} runs of fig3 at smoke are not done\n- " in report
    assert report.count("lr=") == len(wanted) - 1 and report.count("(failed: Divergence: no)") == 1


def test_rates_are_shown_of_the_screening_that_chose_among_them(reproduce, tmp_path):
    run = sweeps.load("fig3", "smoke")[0]
    rates = {
        rate: run.model_copy(update={"train": run.train.model_copy(update={"learning_rate": rate})}) for rate in (1, 2)
    }
    for rate, each in rates.items():
        Store("results").write(record(each.model_copy(update={"scale": "smoke-screen"}), 0.1 * rate))
    Store("results").write(record(rates[2], 0.5))
    assert reproduce("fig3", "lr", "--no-train").exit_code == 0
    rows = (tmp_path / "results/figures/smoke/lr.csv").read_text().splitlines()
    assert len(rows) == 3 and len((tmp_path / "results/figures/smoke/fig3.csv").read_text().splitlines()) == 2
    assert "The short runs by which rates were chosen." in (tmp_path / "results/REPORT.md").read_text()


def test_runs_on_different_data_are_no_section(reproduce, tmp_path):
    run = sweeps.load("fig3", "smoke")[0]
    other = run.model_copy(update={"data": run.data.model_copy(update={"shuffle": True})})
    for each in (run, other):
        Store("results").write(record(each, 0.5))
    result = reproduce("fig3", "published", "--no-train")
    assert result.exit_code == 2 and "fig3: runs on different data do not compare" in result.stderr


def test_traces_are_part_of_it_where_there_are_some(reproduce, tmp_path):
    assert reproduce("cache", "--no-train").exit_code == 2  # there is none
    place = next(i for i, run in enumerate(sweeps.load("fig3", "smoke")) if run.mixer == "ramnet")
    words = ["trace", "--base", f"fig3/smoke/{place}", "--out", "results/traces", "--quiet"]
    assert CliRunner().invoke(app, words).exit_code == 0
    result = reproduce("traces", "cache", "--no-train")
    assert result.exit_code == 0, result.stderr
    report = (tmp_path / "results/REPORT.md").read_text()
    assert "reads near in time share slots, no CAPE" in report and "Traced: " in report
    for name in ("traces", "cache"):
        assert f"](figures/smoke/{name}.png)" in report and (tmp_path / f"results/figures/smoke/{name}.png").exists()


def test_a_sweep_that_needs_a_text_is_reported_from_its_records_and_trained_by_another_command(reproduce, tmp_path):
    for mixer, pairs in (("gla", (1, 1, 0.9, 0.2)), ("h3", (1, 0.9, 0.2, 0.1))):
        Store("results").write(spoken(mixer, 3.0, 20.0, scale="smoke"))
        Store("results").write(recalled(mixer, pairs, scale="smoke"))
    result = reproduce("language")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[0] == "sweep language needs a text: `mqar-bench language --scale smoke` trains it"
    assert reproduce("language", "language_capacity", "--no-train").exit_code == 0
    report = (tmp_path / "results/REPORT.md").read_text()
    assert "| MQAR capacity predicts hit perplexity | **not tested** | 2 mixers: too few for a correlation |" in report
    for name in ("language", "language_capacity"):
        assert f"](figures/smoke/{name}.png)" in report and (tmp_path / f"results/figures/smoke/{name}.png").exists()


def test_mistakes(reproduce):
    for words, message in ((["fig33"], "no figure named 'fig33'"), (["fig4", "--no-train"], "nothing to report")):
        result = reproduce(*words)
        assert result.exit_code == 2 and message in result.stderr.splitlines()[-1]


class NoLauncher:
    """Does nothing, of which all is done."""

    def __init__(self, *_):
        self.asked = []
        NoLauncher.last = self

    def launch(self, runs):
        self.asked.append(runs[0].sweep)
        return SimpleNamespace(stopped=False)

    def exit_code(self, summary):
        return 0


def test_a_sweep_without_the_scale_is_left_out_unless_it_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mqar_bench.cli.reproduce.Launcher", NoLauncher)
    result = CliRunner().invoke(app, ["reproduce", "--scale", "demo"])
    asked = NoLauncher.last.asked
    assert {"fig3", "cape", "trainability"} < set(asked) and "published" not in asked
    assert result.stderr.splitlines()[0] == "sweep published has no scale demo: left out"
    for words in (["published", "--scale", "demo"], ["fig3", "published", "--scale", "demo"], ["--scale", "demos"]):
        result = CliRunner().invoke(app, ["reproduce", *words])
        assert result.exit_code == 2 and NoLauncher.last.asked == []
        assert "has no scale 'demo" in result.stderr.splitlines()[-1]
