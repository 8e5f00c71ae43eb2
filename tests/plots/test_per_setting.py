import numpy as np
import pytest

from plots import per_setting
from tests.plots.records import config, frame, record


def run(mixer, state, easy, hard, width=1, rate=1e-2, seed=1):
    settings = {"L256-kv64": hard, "L64-kv4": easy, "other": 0.5}
    values = {"state": state, "settings": settings}
    return record(config(mixer, rate=rate, seed=seed, num_heads=width), (easy + hard) / 2, **values)


FRAME = frame(
    run("ramnet", 4000, 0.9, 0.5, width=1),
    run("ramnet", 16000, 1.0, 0.9, width=2),
    run("gla", 1000, 0.5, 0.0, width=1),
    run("gla", 5000, 0.7, 0.2, width=2, seed=1),
    run("gla", 5000, 0.9, 0.0, width=2, seed=2),
    run("gla", 5000, 0.1, 0.1, width=2, rate=1e-3),
    run("attention", 64000, 1.0, 1.0),
)


def test_a_row_is_the_best_model_at_the_size_nearest_to_the_common_one():
    cells = per_setting.table(FRAME)
    sizes = cells.groupby("mixer")["state_size"].unique().map(list).to_dict()
    assert sizes == {"ramnet": [16000], "gla": [5000], "attention": [64000]}
    assert set(cells["common_size"]) == {16000}  # log2(16 / 5) + 2 octaves away; from 5000 it would be 4
    gla = cells[cells["mixer"] == "gla"].set_index("setting")
    assert gla["accuracy"].to_dict() == pytest.approx({"L64-kv4": 0.8, "L256-kv64": 0.1, "other": 0.5})
    assert set(gla["learning_rate"]) == {1e-2} and set(gla["seeds"]) == {2}


def test_settings_are_in_the_order_of_their_pairs_and_others_last():
    cells = per_setting.table(FRAME)
    assert cells[["pairs", "length"]].fillna(-1).values.tolist()[:3] == [[4, 64], [64, 256], [-1, -1]]
    ax = per_setting.figure(cells).axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4\n64", "64\n256", "other"]


def test_settings_of_associative_retrieval_are_in_the_order_of_their_pairs():
    settings = {f"remember-kv{n}-k2-v1-s16": 1 / n for n in (20, 3)} | {"rewrite-kv5-k1-v1-s16": 0.7}
    ax = per_setting.figure(per_setting.table(frame(record(config("armt"), settings=settings, state=4000)))).axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "5", "20"] and ax.get_xlabel() == "Pairs"


def test_the_figure_prints_every_cell_of_the_table():
    cells = per_setting.table(FRAME)
    figure = per_setting.figure(cells)
    ax = figure.axes[0]
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["RAM-Net, 15.6K", "Attention, 62.5K", "GLA, 4.88K"]
    grid = np.array([[1.0, 0.9, 0.5], [1.0, 1.0, 0.5], [0.8, 0.1, 0.5]])
    assert np.allclose(ax.images[0].get_array(), grid)
    assert [text.get_text() for text in ax.texts] == [f"{value:.2f}" for value in grid.ravel()]
    assert figure.get_suptitle() == "Mixers after a short convolution; state near 15.6K"
    light, dark = (next(t for t in ax.texts if t.get_text() == s).get_color() for s in ("1.00", "0.10"))
    assert (light, dark) == ("black", "white")


def test_a_setting_that_a_model_was_not_scored_on_is_an_empty_cell():
    other = record(config("h3"), settings={"L64-kv8": 0.3}, state=4000)
    cells = per_setting.table(frame(run("gla", 4000, 0.7, 0.2), other))
    ax = per_setting.figure(cells).axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.70", "", "0.20", "0.50", "", "0.30", "", ""]
