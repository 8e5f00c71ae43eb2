import pandas as pd
import pytest

import plots
from mqar_bench.records.result import Curve
from plots import curves
from tests.plots.records import config, frame, record

ONE = {"train": [{"num_examples": 10}]}
TOKENS = 640  # of an epoch of that

#: Two epochs of two windows, of 30 and 70 steps.
CURVE = Curve(
    steps=(30, 70, 30, 70), tokens=(192, 448, 192, 448), loss=(4.0, 3.0, 2.0, 1.0), accuracy=(0.1, 0.2, 0.4, 0.8)
)


def run(mixer="gla", accuracy=0.95, curve=CURVE, state=4096, epochs=(0.3, 0.95), **options):
    return record(config(mixer, data=ONE, **options), accuracy, curve=epochs, state=state).model_copy(
        update={"curve": curve}
    )


def rows(table, *columns):
    return [tuple(None if pd.isna(value) else value for value in row) for row in table[list(columns)].to_numpy()]


def test_a_row_a_point_by_steps_and_tokens():
    table = curves.table(frame(run()))
    assert rows(table, "part", "step", "tokens", "loss", "accuracy") == [
        ("training", 30, 192, 4.0, 0.1),
        ("training", 100, 640, 3.0, 0.2),
        ("training", 130, 832, 2.0, 0.4),
        ("training", 200, 1280, 1.0, 0.8),
        ("test", 100, 640, None, 0.3),
        ("test", 200, 1280, None, 0.95),
    ]


def test_training_is_smoothed_over_an_epoch_of_steps():
    means = curves.table(frame(run()))["epoch_accuracy"]
    assert means[:1].isna().all() and means[4:].isna().all()
    assert list(means[1:4]) == pytest.approx([0.3 * 0.1 + 0.7 * 0.2, 0.7 * 0.2 + 0.3 * 0.4, 0.3 * 0.4 + 0.7 * 0.8])


def test_a_window_of_several_epochs_is_its_own_mean():
    whole = Curve(steps=(200,), tokens=(1280,), loss=(2.0,), accuracy=(0.5,))
    assert list(curves.table(frame(run(curve=whole)))["epoch_accuracy"].dropna()) == [0.5]


def test_steps_and_tokens_to_90_are_those_of_validation():
    guided = {"data": ONE | {"validation": [{}]}}
    reached = record(config(**guided), 0.5, curve=(0.3, 0.9, 0.8))
    table = curves.table(frame(reached))
    assert set(rows(table, "steps_to_90", "tokens_to_90")) == {(200, 2 * TOKENS)}
    assert set(table["part"]) == {"training", "validation"}
    assert curves.table(frame(run(epochs=(0.3, 0.89))))["tokens_to_90"].isna().all()


def test_a_record_without_a_curve_has_its_epochs():
    table = curves.table(frame(run(curve=None)))
    assert rows(table, "part", "step", "loss", "accuracy", "epoch_accuracy") == [
        ("training", 100, 1.0, None, None),
        ("training", 200, 1.0, None, None),
        ("test", 100, None, 0.3, None),
        ("test", 200, None, 0.95, None),
    ]


def drawn(ax):
    """Its lines but for the rule at 0.9: color, width, and the points."""
    return [(line.get_color(), line.get_linewidth(), [*map(tuple, line.get_xydata())]) for line in ax.lines[1:]]


def test_a_panel_has_its_runs_with_training_thin_and_a_dot_at_90():
    records = [run(seed=1), run(seed=2, state=8192, curve=None), run("attention", epochs=(0.1, 0.2))]
    table = curves.table(frame(*records))
    attention, gla = curves.figure(table).axes
    assert [ax.get_title(loc="left").strip() for ax in (attention, gla)] == ["Attention", "GLA"]
    assert [ax.texts[0].get_text() for ax in (attention, gla)] == ["state 4K", "state 4K to 8K"]
    smoothed = [(t, m) for t, m in rows(table[:4], "tokens", "epoch_accuracy") if m is not None]
    scored = [(640, 0.1), (1280, 0.2)]
    assert [(width, points) for _, width, points in drawn(attention)] == [(0.5, smoothed), (1.1, scored)]
    scored = [(640, 0.3), (1280, 0.95)]
    pale, _, _, dark, _ = drawn(gla)
    assert [points for *_, points in drawn(gla)] == [smoothed, scored, scored[1:], scored, scored[1:]]
    assert pale[0] != dark[0] and sum(pale[0]) > sum(dark[0])


@pytest.mark.parametrize(
    "records, labels",
    [
        ([run()], ["test, after each epoch", "training, mean over an epoch", "first at 0.9"]),
        ([run(curve=None)], ["test, after each epoch", "first at 0.9"]),
        ([run(curve=None, epochs=(0.1,))], ["test, after each epoch"]),
    ],
    ids=["whole", "of before", "one epoch"],
)
def test_the_legend_names_what_is_there(records, labels, tmp_path):
    figure = curves.figure(curves.table(frame(*records)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == labels
    assert len(plots.draw("curves", frame(*records), tmp_path)) == 3


def test_one_epoch_is_seen_too():
    ax = curves.figure(curves.table(frame(run(curve=None, epochs=(0.1,))))).axes[0]
    assert ax.lines[1].get_marker() == "_" and drawn(ax)[0][2] == [(TOKENS, 0.1)]
