import pandas as pd
import pytest
from typer.testing import CliRunner

import sweeps
from mqar_bench.cli import app
from mqar_bench.records.store import Store
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


def test_runs_on_other_data_are_chosen_with_an_option(plot):
    other = {"test": [{"input_seq_len": 128, "num_kv_pairs": 16}]}
    records = [ramnet("mine", accuracy=0.9), ramnet("mine", accuracy=0.2, data=other)]
    names = [each.config.data_name for each in records]
    assert [name[:-7] for name in names] == ["L64-kv8", "L128-kv16"]
    words = ("per_setting", "--sweep", "mine")
    both = plot(*words, records=records)
    assert both.exit_code == 2 and both.stdout == ""
    assert all(f"{name} (1 run)" in both.stderr for name in names)
    for name, accuracy in zip(names, (0.9, 0.2), strict=True):
        assert plot(*words, "--data", name).exit_code == 0
        assert pd.read_csv("figures/per_setting.csv")["accuracy"].tolist() == [accuracy]
    wrong = plot(*words, "--data", names[0][:-1])
    assert wrong.exit_code == 2 and f"did you mean {names[0]!r}?" in wrong.stderr


def test_runs_that_a_figure_lacks_are_named(plot):
    fine = ramnet("mine", order=3)
    failed = ramnet("mine", accuracy=None, order=4, rate=1e-3)
    Store("results").folder(fine.config).mkdir(parents=True)
    for run_id in ("0123abcd", fine.run_id):  # that of the latter has been forgotten
        Store("results").folder(fine.config).joinpath(f"{run_id}.ckpt").touch()
    result = plot("fig3", "--sweep", "mine", records=[fine, failed])
    assert result.exit_code == 0 and result.stderr.splitlines() == [
        "note: 2 of 3 runs of mine at laptop are not done",
        "note: ramnet order=4: lr=0.001 seed=1 (failed: Divergence: no)",
        "note: run 0123abcd: stopped on the way, its checkpoint is there",
    ]


def test_runs_of_our_sweeps_are_named_before_they_have_left_anything(plot):
    wanted = sweeps.load("top_k", "laptop")
    done, failed, stopped = (record(run, accuracy) for run, accuracy in zip(wanted, (0.5, None, None), strict=False))
    Store("results").folder(stopped.config).mkdir(parents=True)
    Store("results").path(stopped.config).with_suffix(".ckpt").touch()
    lines = plot("fig4", "--sweep", "top_k", records=[done, failed]).stderr.splitlines()
    assert lines[0] == f"note: {len(wanted) - 1} of {len(wanted)} runs of top_k at laptop are not done"
    assert sum(line.count("lr=") for line in lines) == len(wanted) - 1
    assert sum("(failed: Divergence: no)" in line for line in lines) == 1
    assert sum("(stopped on the way, its checkpoint is there)" in line for line in lines) == 1


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
            "language --scale laptop",
            "error: no records of language at scale laptop in results: `mqar-bench language --scale laptop` makes some"
            " (there is top_k)",
        ),
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


@pytest.mark.parametrize("asked", [("--scale", "paper"), ()], ids=["asked for", "the only one"])
@pytest.mark.parametrize("figure, sweep", [("fig3", "fig3"), ("fig4", "top_k"), ("trainability", "trainability")])
def test_where_all_runs_have_failed_the_hint_is_of_that_sweep_and_scale(plot, figure, sweep, asked):
    result = plot(figure, *asked, records=[ramnet(sweep, scale="paper", accuracy=None)])
    assert result.exit_code == 2
    error = result.stderr.splitlines()[-1]
    assert error.endswith(f"there is no finished run; start one with `mqar-bench sweep {sweep} --scale paper`")
