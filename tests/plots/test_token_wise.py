import pytest

import sweeps
from plots import token_wise
from plots.token_wise import WHOLE
from sweeps.token_wise import SIZES
from tests.plots.records import config, frame, record

NEVER, FAST = (0.1, 0.2, 0.3), (0.1, 0.91, 0.95)


def run(curve=FAST, seed=1, **options):
    options = {"order": 4, "top_k": 8, "anneal": "fade"} | options
    below = {"name": "ramnet", "options": options | {"cape": True}}
    return record(config("ramnet", below=below, sweep="token_wise", seed=seed, **options), curve[-1], curve=curve)


def test_every_run_of_the_sweep_is_on_a_line_that_says_what_it_lacks():
    runs = [record(r, 0.5) for r in sweeps.load("token_wise", "laptop", seeds=2)]
    lines = token_wise.table(frame(*runs)).groupby(["slots", "top_k", "recipe"], sort=False).size()
    assert (lines == 2).all()
    assert [line for line in lines.index if line[2] == WHOLE] == [(4**u, k, WHOLE) for u, k in sorted(SIZES)]
    assert sorted(line for line in lines.index if line[2] != WHOLE) == [
        (64, 8, "addresses from 0.02"),
        (64, 8, "addresses that may sharpen"),
        (64, 8, "more slots to the end"),
        (64, 8, "output gain 0.02"),
        (64, 8, "shrinking, not fading"),
        (64, 8, "without address bias"),
        (64, 8, "without aligned values"),
        (64, 8, "without more slots"),
        (64, 8, "without normalised reads"),
        (64, 8, "without normalised reads, with RMSNorm"),
        (64, 8, "without tied addresses"),
    ]


def test_rows_are_runs_and_the_whole_recipe_comes_first():
    table = token_wise.table(frame(run(NEVER, address_bias=False), run(FAST, seed=2), run(NEVER, seed=1)))
    assert table["recipe"].tolist() == [WHOLE, WHOLE, "without address bias"]
    assert table["seed"].tolist() == [1, 2, 1]
    assert table["steps_to_90"].fillna(-1).tolist() == [-1, 200, -1]
    assert table["accuracy"].tolist() == [0.3, 0.95, 0.3] and set(table["steps"]) == {300}


def test_a_dot_for_each_seed_hollow_where_it_never_got_there():
    figure = token_wise.figure(token_wise.table(frame(run(FAST), run(NEVER, seed=2), run(NEVER, order=5))))
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["$M$ = 256, $K$ = 8", "$M$ = 1024, $K$ = 8"]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True, True]
    assert dots[0].get_xdata()[0] == 200 and dots[1].get_xdata()[0] > 300
    assert [line.get_xdata()[0] for line in right.lines] == [0.95, 0.3, 0.3]


def test_runs_of_others_are_left_out_and_none_is_an_error():
    with pytest.raises(ValueError, match="mqar-bench sweep token_wise"):
        token_wise.table(frame(record(config("attention"))))
