import numpy as np
import pytest

import mixers
from plots import capacity, fig4, forgetting_curve
from tests.plots.records import config, frame, record

PAIRS = (8, 16, 32, 64)
TEST = [{"num_kv_pairs": n, "input_seq_len": 4 * n} for n in PAIRS]


def run(mixer, accuracies, state=4096, seed=1, sweep="fig3", curve=(), active=None, **options):
    settings = {f"L{4 * n}-kv{n}": a for n, a in zip(PAIRS, accuracies, strict=True)}
    one = config(mixer, seed=seed, sweep=sweep, data={"test": TEST}, **options)
    return record(one, float(np.mean(accuracies)), state=state, active=active, settings=settings, curve=curve)


GOOD, FAIR, ALL, NONE = (1, 1, 0.9, 0.2), (1, 0.9, 0.2, 0.1), (1, 1, 1, 0.95), (0.5, 0.3, 0.2, 0.1)
FRAME = frame(
    run("ramnet", GOOD, seed=1, order=3),
    run("ramnet", FAIR, seed=2, order=3),
    run("ramnet", ALL, state=16384, order=4),
    run("gla", NONE, curve=(0.1,) * 31 + (0.5,)),
    run("attention", ALL, state=10**6),
)


def test_the_table_has_the_mean_its_interval_and_what_is_a_bound():
    table = capacity.table(FRAME)
    assert list(table.columns[:11]) == [
        "mixer", "stack", "state_size", "active_state_size", "capacity", "low", "high", "censored", "seeds", "solved",
        "converged",
    ]  # fmt: skip
    points = table.set_index(["mixer", "state_size"])
    first = points.loc[("ramnet", 4096)]
    assert first["capacity"] == pytest.approx(np.sqrt(32 * 16)) and first["capacity_seeds"] == "32 16"
    assert (first["low"], first["high"]) == (pytest.approx(16), pytest.approx(32)) and first["seeds"] == 2
    assert points["censored"].to_dict() == {
        ("attention", 10**6): "above", ("gla", 4096): "below", ("ramnet", 4096): "", ("ramnet", 16384): "above",
    }  # fmt: skip
    assert (points.loc[("gla", 4096), "converged"], first["converged"]) == (False, True)


def test_markers_are_open_at_bounds_crossed_while_rising_and_attention_is_a_line_across():
    ax = capacity.figure(capacity.table(FRAME)).axes[0]
    hollow = [tuple(xy) for line in ax.lines if line.get_markerfacecolor() == "white" for xy in line.get_xydata()]
    assert set(hollow) == {(16384, 64), (4096, 8)}
    crossed = [tuple(xy) for line in ax.lines if line.get_marker() == "x" for xy in line.get_xydata()]
    assert crossed == [(4096, 8)]
    assert "Attention, state grows" in [text.get_text() for text in ax.texts]
    assert ax.get_xlim()[1] < 10**5 and (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    legend = [text.get_text() for text in capacity.figure(capacity.table(FRAME)).legends[0].get_texts()]
    assert legend[-2:] == ["a bound", "not converged"]


def test_a_figure_of_all_architectures_grows_with_its_legend():
    figure = capacity.figure(capacity.table(frame(*(run(name, FAIR) for name in mixers.names()))))
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) > 20
    inside, whole = legend.get_window_extent(), figure.bbox
    assert whole.y0 <= inside.y0 and inside.y1 <= whole.y1 and inside.x1 <= whole.x1
    (width, height), (few, low) = figure.get_size_inches(), capacity.figure(capacity.table(FRAME)).get_size_inches()
    assert width == few and height > low


def test_what_grows_and_ends_at_the_same_height_has_one_name():
    ax = capacity.figure(capacity.table(frame(*(run(m, ALL) for m in ("attention", "sparse_attention"))))).axes[0]
    assert "Attention and sparse attention, state grows" in [text.get_text() for text in ax.texts]


def test_without_several_numbers_of_pairs_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="several numbers of pairs"):
        capacity.table(frame(record(config("gla"))))


def test_the_forgetting_curve_is_of_models_near_one_size():
    table = forgetting_curve.table(FRAME)
    ours = table[table["mixer"] == "ramnet"]
    assert set(table["common_size"]) == {4096} and ours["pairs"].tolist() == list(PAIRS)
    assert ours["accuracy"].tolist() == pytest.approx([1, 0.95, 0.55, 0.15])
    assert ours["accuracy_seeds"].tolist()[2] == "0.9 0.2"
    ax = forgetting_curve.figure(table).axes[0]
    drawn = {c.get_label(): c.lines[0].get_xydata().tolist() for c in ax.containers}
    assert drawn["GLA"] == [list(map(float, point)) for point in zip(PAIRS, NONE, strict=True)]


def test_panels_are_of_capacity_unless_all_of_it_is_bounds():
    some = [run("ramnet", a, sweep="top_k", top_k=k) for k, a in ((2, FAIR), (4, GOOD), (8, ALL))]
    ax = fig4.figure(fig4.table(frame(*some))).axes[0]
    assert ax.get_ylabel() == "Capacity (pairs)"
    assert ax.containers[0].lines[0].get_ydata().tolist() == pytest.approx([16, 32, 64])
    ax = fig4.figure(fig4.table(frame(*some[2:]))).axes[0]
    assert ax.get_ylabel() == "MQAR accuracy" and ax.get_ylim() == (0, 1)
