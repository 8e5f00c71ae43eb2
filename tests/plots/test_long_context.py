"""The figure of what was streamed: which numbers it has, of which runs, and that what is drawn is in the table."""

import math
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import plots
from mqar_bench.analysis.statistics import interval
from mqar_bench.analysis.stream_record import StreamedContext, StreamEvaluation, find_streams, write_stream
from mqar_bench.cli import app
from mqar_bench.records.result import Provenance
from mqar_bench.tasks import DistantMQARConfig
from plots import long_context

WHERE = Provenance(
    device="a CPU",
    threads=2,
    python="3",
    versions={},
    git_commit=None,
    git_dirty=None,
    started_at="",
)
TASK = DistantMQARConfig(vocab_size=64, num_examples=4, num_kv_pairs=2)


def make_evaluation(run_id, mixer="gla", answers=((1024, (1.0, 1.0, 0.5, 1.0)),), ended=(), rate=0.01, **changes):
    """With these answers at contexts, each of ten seconds, and contexts that have ended."""
    contexts = [
        StreamedContext(context=context, status="partial").add(list(correct), 10.0, 2**28 + context, 4096, of=4)
        for context, correct in answers
    ]
    contexts += [StreamedContext(context=context, status="partial").end("no room") for context in ended]
    values = {
        "run_id": run_id, "mixer": mixer, "stack": f"short_conv {mixer}", "variant": f"v-{mixer}",
        "learning_rate": rate, "trained_accuracy": 0.9, "weights": "w", "weights_sha256": "0", "task": TASK, "seed": 1,
        "chance": 1 / 32,
        "trained_length": 512, "examples": 4, "rows": 2, "piece": 64, "precision": "float32", "device": "cpu",
        "memory": 1, "contexts": tuple(contexts), "provenance": WHERE, "trained": WHERE,
    }  # fmt: skip
    return StreamEvaluation(**values | changes)


GOOD, FAIR, POOR = (1.0, 1.0, 0.5, 1.0), (0.5, 1.0, 0.5, 0.0), (0.0, 0.0, 0.5, 0.0)
THREE = [
    make_evaluation("a", answers=((1024, GOOD), (4096, FAIR))),
    make_evaluation("b", answers=((1024, FAIR),)),
    make_evaluation("c", "attention", answers=((1024, GOOD),), ended=(4096, 16384)),
]


def test_a_point_is_the_mean_over_seeds_with_an_interval():
    table = long_context.table(THREE)
    assert [*zip(table["mixer"], table["context"], table["status"], table["seeds"], strict=True)] == [
        ("attention", 1024, "done", 1), ("attention", 4096, "ended", 1), ("attention", 16384, "ended", 1),
        ("gla", 1024, "done", 2), ("gla", 4096, "done", 1),
    ]  # fmt: skip
    both, one = table.iloc[3], table.iloc[4]
    assert both["accuracy"] == pytest.approx((0.875 + 0.5) / 2) and both["run_ids"] == "a b"
    assert (both["low"], both["high"]) == interval([0.875, 0.5])
    assert one["accuracy"] == 0.5 and (one["low"], one["high"]) == interval(FAIR)
    assert both["tokens_per_second"] == 4 * 1024 / 10 and one["peak_bytes"] == 2**28 + 4096
    ended = table.iloc[1]
    assert math.isnan(ended["accuracy"]) and ended["reason"] == "no room" and math.isnan(ended["tokens_per_second"])
    needed = {"mixer", "state_bytes", "context", "accuracy", "low", "high", "seeds", "tokens_per_second", "peak_bytes"}
    assert needed <= set(table.columns)


def test_the_rate_that_did_best_in_training_is_shown():
    fast = make_evaluation("x", answers=((1024, POOR),), rate=0.1, trained_accuracy=0.95)
    table = long_context.table([*THREE[:2], fast])
    assert table["run_ids"].tolist() == ["x"] and table["learning_rate"].tolist() == [0.1]
    even = fast.model_copy(update={"trained_accuracy": 0.9})
    assert long_context.table([*THREE[:2], even])["learning_rate"].unique().tolist() == [0.01]


def test_a_context_read_in_part_is_left_out():
    part = make_evaluation("a", answers=((1024, GOOD), (4096, GOOD[:2])))
    assert long_context.table([part])["context"].tolist() == [1024]


@pytest.mark.parametrize(
    "other, what",
    [
        ({"task": TASK.model_copy(update={"filler": "any"})}, "tasks"),
        ({"examples": 8}, "examples"),
        ({"provenance": WHERE.model_copy(update={"device": "a GPU"})}, "devices"),
        ({"rows": 4}, "numbers of rows"),
    ],
)
def test_what_does_not_compare_is_refused(other, what):
    with pytest.raises(ValueError, match=f"^models read with different {what} do not compare: a has .*, z has "):
        long_context.table([THREE[0], make_evaluation("z", **other)])


def test_nothing_read_is_nothing_to_draw():
    for evaluations in ([], [make_evaluation("a", answers=(), ended=(1024,))]):
        with pytest.raises(ValueError, match="^nothing to draw: no context is read"):
            long_context.table(evaluations)


@pytest.mark.filterwarnings("error")
def test_what_is_drawn_is_in_the_table_and_repeats_to_the_byte(tmp_path):
    table = long_context.table(THREE)
    figure = long_context.figure(table)
    assert round(figure.get_figwidth(), 2) == 6.9
    accuracy, speed, memory = figure.axes
    for ax, column, unit in (
        (accuracy, "accuracy", 1),
        (speed, "tokens_per_second", 1e3),
        (memory, "peak_bytes", 2**20),
    ):
        drawn = {
            (float(x), round(float(y), 6))
            for line in ax.lines
            if line.get_marker() != "None"
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        done = table[table["status"] == "done"]
        assert drawn == {
            (float(x), round(float(y) / unit, 6)) for x, y in zip(done["context"], done[column], strict=True)
        }
        assert sum(line.get_marker() == "x" for line in ax.lines) == 1  # where attention ends
    first = plots.draw("long_context", THREE, tmp_path / "a")
    second = plots.draw("long_context", THREE[::-1], tmp_path / "b")
    assert [path.name for path in first] == [f"long_context.{kind}" for kind in ("pdf", "png", "csv")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    assert pd.read_csv(first[2])["context"].tolist() == table["context"].tolist()


def test_the_command_draws_what_was_streamed_and_the_report_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    none = CliRunner().invoke(app, ["plot", "long_context"])
    assert none.exit_code == 2
    assert none.stderr == "error: no run of long_context in results is streamed: `mqar-bench stream RUN` does that\n"
    for each in THREE:
        write_stream(Path(f"results/long_context-smoke/{each.run_id}.stream.json"), each)
    write_stream(Path("results/long_context-laptop/z.stream.json"), make_evaluation("z", examples=8))
    assert [each.run_id for each in find_streams(Path("results"), ["long_context"], "smoke")] == ["a", "b", "c"]
    mixed = CliRunner().invoke(app, ["plot", "long_context"])
    assert mixed.exit_code == 2 and "with different examples do not compare" in mixed.stderr
    result = CliRunner().invoke(app, ["plot", "long_context", "--scale", "smoke"])
    assert result.exit_code == 0, result.stderr
    assert pd.read_csv("figures/long_context.csv")["mixer"].tolist() == ["attention"] * 3 + ["gla"] * 2
    report = CliRunner().invoke(app, ["reproduce", "long_context", "--scale", "smoke", "--no-train"])
    assert report.exit_code == 0, report.stderr
    text = Path("results/REPORT.md").read_text()
    assert "4 examples of distant_mqar at each context, read 2 at a time; 3 runs." in text
    assert "| gla extrapolates beyond 2 times the 512 tokens it was trained on | **not tested** |" in text
    assert Path("results/figures/smoke/long_context.png").exists()
    refused = CliRunner().invoke(app, ["plot", "long_context", "--trace", "x.npz"])
    assert refused.exit_code == 2 and "there is no --trace to it" in refused.stderr
