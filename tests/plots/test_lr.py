import pytest

from plots import lr
from tests.plots.records import config, frame, record


def run(rate, accuracy, mixer="gla", state=4096, seed=1, **options):
    return record(config(mixer, rate=rate, seed=seed, **options), accuracy, state=state)


FRAME = frame(
    run(1e-3, 0.2),
    run(1e-2, 0.8, seed=1),
    run(1e-2, 0.6, seed=2),
    run(3e-2, 0.5),
    run(1e-3, 0.3, state=9000, num_heads=1),
    run(1e-2, 0.4, state=9000, num_heads=1),
    run(5e-3, 0.9, mixer="attention"),
)


def test_a_row_for_each_rate_with_the_best_and_whether_it_is_on_the_edge():
    table = lr.table(FRAME).set_index(["mixer", "state_size", "learning_rate"])
    gla = table.loc[("gla", 4096)]
    assert gla["accuracy"].tolist() == pytest.approx([0.2, 0.7, 0.5]) and gla["seeds"].tolist() == [1, 2, 1]
    assert gla["best"].tolist() == [False, True, False] and not gla["edge"].any()
    assert table.loc[("gla", 9000)]["edge"].tolist() == [False, True]
    assert table.loc[("attention", 4096)]["edge"].tolist() == [True]  # there is no rate beside it


def test_the_best_rate_is_that_of_the_other_figures():
    tie = frame(run(1e-3, 0.5), run(1e-2, 0.5), run(3e-2, 0.9), run(3e-2, None, seed=2))
    table = lr.table(tie).set_index("learning_rate")
    assert table["best"].to_dict() == {1e-3: True, 1e-2: False, 3e-2: False} and table["edge"][1e-3]


def test_a_rate_that_failed_was_tried():
    table = lr.table(frame(run(1e-3, 0.5), run(1e-2, 0.9), run(3e-2, None))).set_index("learning_rate")
    assert table["best"][1e-2] and not table["edge"][1e-2]


def test_a_panel_has_a_line_for_each_state_size_and_a_ring_on_its_best_rate():
    table = lr.table(FRAME)
    attention, gla = lr.figure(table).axes
    assert attention.get_legend().get_title().get_text() == "Attention"
    those = table[table["mixer"] == "gla"]
    drawn = {(c.get_label(), *xy) for c in gla.containers for xy in map(tuple, c.lines[0].get_xydata())}
    names = {4096: "4K", 9000: "8.79K"}
    assert drawn == {(names[p.state_size], p.learning_rate, p.accuracy) for p in those.itertuples()}
    in_lines = {id(container.lines[0]) for container in gla.containers}
    rings = {
        (*line.get_xydata()[0], line.get_markerfacecolor() != "none")
        for line in gla.lines
        if id(line) not in in_lines and line.get_marker() == "o"
    }
    assert rings == {(p.learning_rate, p.accuracy, p.edge) for p in those[those["best"]].itertuples()}
    assert gla.get_xscale() == "log" and gla.get_ylim() == (0, 1)
