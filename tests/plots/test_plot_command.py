import pandas as pd
import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.store import Store
from tests.plots.records import config, record


@pytest.fixture
def plot(tmp_path, monkeypatch):
    """Draws a figure from the records given, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words, records=()):
        for each in records:
            Store("results").write(each)
        return CliRunner().invoke(app, ["plot", *words])

    return call


def ramnet(sweep, scale="laptop", accuracy=0.5, **options):
    return record(config("ramnet", sweep=sweep, scale=scale, **options), accuracy)


def test_a_figure_of_several_sweeps_draws_those_with_records(plot, tmp_path):
    result = plot("fig4", records=[ramnet("top_k", top_k=2), ramnet("fig4_slots"), ramnet("gamma"), ramnet("fig3")])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [f"figures/fig4.{kind}" for kind in ("pdf", "png", "csv")]
    assert set(pd.read_csv("figures/fig4.csv")["sweep"]) == {"fig4_slots", "top_k"}
    assert "note: 14 of 14 runs of top_k at laptop are not done" in result.stderr  # ours is none of them


def test_another_sweep_can_be_drawn(plot):
    records = [ramnet("top_k", top_k=k, accuracy=k / 10) for k in (2, 4)] + [ramnet("mine", accuracy=0.9)]
    assert plot("fig3", "--sweep", "mine", records=records).exit_code == 0
    assert pd.read_csv("figures/fig3.csv")["accuracy"].tolist() == [0.9]
    assert plot("fig3", "--sweep", "mine", "--sweep", "top_k").exit_code == 0
    assert pd.read_csv("figures/fig3.csv")["runs"].tolist() == [3]


def test_one_scale_is_drawn_for_all_sweeps(plot):
    records = [ramnet("top_k"), ramnet("fig4_slots", scale="demo")]
    result = plot("fig4", records=records)
    assert result.exit_code == 2
    assert result.stderr == "error: there are records of fig4 at demo, laptop: choose one with --scale\n"
    assert plot("fig4", "--scale", "demo").exit_code == 0
    assert set(pd.read_csv("figures/fig4.csv")["sweep"]) == {"fig4_slots"}


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "fig3",
            "error: no records of fig3 in results: `mqar-bench sweep fig3 --scale demo` makes some (there is top_k)",
        ),
        (
            "ablations --scale laptop",
            "no records of gamma or cape or temperature or proxy_gradient or anneal at scale laptop in",
        ),
        ("fig3 --sweep topk", "error: no sweep named 'topk': did you mean 'top_k'?"),
        ("fig3 --sweep top_k --sweep topk", "error: no sweep named 'topk': did you mean 'top_k'?"),
        ("fig3 --scale paper", "error: no records at scale paper in results: there is top_k at laptop"),
        (
            "ablations --sweep top_k",
            "nothing to draw: there is no finished run; start one with `mqar-bench sweep gamma",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(plot, words, message):
    result = plot(*words.split(), records=[ramnet("top_k")])
    assert result.exit_code == 2 and result.stdout == ""
    *notes, error = result.stderr.splitlines()
    assert message in error and error.startswith("error: ") and all(note.startswith("note: ") for note in notes)
