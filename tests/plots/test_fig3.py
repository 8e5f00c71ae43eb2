import pandas as pd
import pytest

import plots
from plots import fig3
from plots.style import order, style


def rows(**changes):
    base = dict(
        mixer="ramnet", state_size=4352, active_state_size=500, accuracy=0.5, learning_rate=1e-2, seed=1, status="done",
        d_model=64,
    ) | {"accuracy/L64-kv4": 0.5, "option.order": 3.0}  # fmt: skip
    return base | changes


FRAME = pd.DataFrame(
    [
        rows(accuracy=0.5, learning_rate=1e-3),
        rows(accuracy=0.9, learning_rate=1e-2, seed=1),
        rows(accuracy=0.7, learning_rate=1e-2, seed=2),
        rows(accuracy=0.95, learning_rate=3e-2, seed=1),  # the best run, but not the best rate
        rows(accuracy=0.2, learning_rate=3e-2, seed=2),
        rows(state_size=17024, accuracy=0.99, **{"option.order": 4.0}),
        rows(mixer="attention", state_size=8320, accuracy=1.0, **{"option.order": None}),
        rows(mixer="attention", state_size=8320, accuracy=None, status="failed", learning_rate=1.0),
    ]
)


def test_a_point_is_the_rate_with_the_best_mean_over_seeds():
    points = fig3.table(FRAME).set_index(["mixer", "state_size"])
    assert len(points) == 3
    point = points.loc[("ramnet", 4352)]
    assert point["learning_rate"] == 1e-2 and point["accuracy"] == pytest.approx(0.8)
    assert (point["accuracy_min"], point["accuracy_max"], point["seeds"]) == (0.7, 0.9, 2)
    assert (point["learning_rates"], point["runs"]) == (3, 5)
    assert points.loc[("attention", 8320)]["runs"] == 1


def test_two_variants_of_one_size_compete():
    frame = pd.concat([FRAME, pd.DataFrame([rows(accuracy=0.85, **{"option.order": 6.0})])])
    point = fig3.table(frame).set_index(["mixer", "state_size"]).loc[("ramnet", 4352)]
    assert point["accuracy"] == 0.85 and point["seeds"] == 1


def test_the_figure_shows_every_point_of_the_table():
    points = fig3.table(FRAME)
    ax = fig3.figure(points).axes[0]
    drawn = {(container.get_label(), x, y) for container in ax.containers for x, y in container.lines[0].get_xydata()}
    expected = {(style(p.mixer).label, float(p.state_size), p.accuracy) for p in points.itertuples()}
    assert drawn == expected
    assert ax.get_xscale() == "log" and ax.get_ylim() == (0, 1)


def test_files_are_written_and_repeat_to_the_byte(tmp_path):
    first = plots.draw("fig3", FRAME, tmp_path / "a")
    assert [p.name for p in first] == ["fig3.pdf", "fig3.png", "fig3.csv"]
    second = plots.draw("fig3", FRAME.sample(frac=1, random_state=0), tmp_path / "b")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    again = pd.read_csv(first[2])
    assert list(again["state_size"]) == [8320, 4352, 17024]


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="no finished run"):
        plots.draw("fig3", FRAME[FRAME["status"] == "failed"], None)
    with pytest.raises(ValueError, match="no figure named 'fig9': there is fig3"):
        plots.draw("fig9", FRAME, None)


def test_styles_are_fixed_and_distinct():
    known = order(["ramnet", "linear_attention", "attention", "a.Mine", "short_conv"])
    assert known == ["ramnet", "attention", "linear_attention", "short_conv", "a.Mine"]
    assert len({(style(m).color, style(m).marker) for m in known}) == 5
    assert style("a.Mine") == style("a.Mine")
