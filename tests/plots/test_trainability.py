import numpy as np
import pytest
from matplotlib.patches import Rectangle

from plots import trainability
from plots.trainability import RECIPES
from tests.plots.records import config, frame, record

MORE, THROUGHOUT = RECIPES
NEVER, SLOW, FAST = (0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.95), (0.1, 0.91, 0.5, 0.95)


def run(curve, order=4, top_k=4, seed=1, width=32, rate=1e-2, **options):
    options = {"order": order, "top_k": top_k, "head_v_dim": width} | options
    return record(config("ramnet", sweep="trainability", seed=seed, rate=rate, **options), curve[-1], curve=curve)


def cells(*records):
    table = trainability.table(frame(*records))
    return table.set_index(["slots", "top_k", "recipe"]).sort_index()


def test_the_two_recipes_are_told_apart_by_what_training_starts_with():
    table = cells(run(FAST), run(NEVER, train_top_k=4), run(SLOW, top_k=8, train_top_k=9))
    assert table["steps_to_90"].fillna(-1).to_dict() == {
        (256, 4, THROUGHOUT): -1,
        (256, 4, MORE): 200,
        (256, 8, MORE): 400,
    }
    assert table["train_top_k"].to_dict() == {(256, 4, THROUGHOUT): 4, (256, 4, MORE): 64, (256, 8, MORE): 9}
    assert table["ratio"].to_dict() == {
        (256, 4, THROUGHOUT): 16 / 256,
        (256, 4, MORE): 16 / 256,
        (256, 8, MORE): 64 / 256,
    }


@pytest.mark.parametrize("options", [{}, {"train_top_k": 32}])
def test_where_the_default_is_to_start_with_k_the_run_counts_for_both(options):
    table = cells(run(FAST, order=3, top_k=32, **options))
    assert table["steps_to_90"].to_dict() == {(64, 32, THROUGHOUT): 200, (64, 32, MORE): 200}


def test_over_seeds_it_is_the_median_and_never_is_the_slowest():
    seeds = [run(curve, seed=seed) for seed, curve in enumerate((FAST, SLOW, NEVER))]
    row = cells(*seeds).iloc[0]
    assert (row["steps_to_90"], row["reached"], row["seeds"]) == (400, 2, 3)
    row = cells(*seeds, run(NEVER, seed=7)).iloc[0]
    assert np.isnan(row["steps_to_90"]) and (row["reached"], row["seeds"], row["steps"]) == (2, 4, 400)


def test_the_best_rate_is_shown():
    row = cells(run(NEVER, rate=1e-3), run(SLOW, rate=3e-2)).iloc[0]
    assert row["steps_to_90"] == 400 and row["learning_rate"] == 3e-2 and row["learning_rates"] == 2


FRAME = frame(
    run(FAST),
    run(NEVER, train_top_k=4),
    run(SLOW, order=5),
    run(NEVER, order=5, seed=2),
    run(NEVER, order=5, seed=3),
    run(FAST, top_k=8, seed=1),
    run(FAST, top_k=8, seed=2),
    run(NEVER, top_k=8, seed=3),
    run(SLOW, width=16),
)


def test_cells_have_their_steps_and_are_hatched_where_there_are_none():
    figure = trainability.figure(trainability.table(FRAME))
    narrow, wide = figure.axes[:3], figure.axes[3:]
    texts = [text.get_text() for text in narrow[0].texts]
    assert texts == ["400"]
    texts = [text.get_text() for text in wide[0].texts]  # M 1024, then 256; K 4, then 8
    assert texts == ["1/3", "", "200", "200\n2/3"]
    hatched = [
        (p.get_x() + 0.5, p.get_y() + 0.5) for p in wide[0].patches if isinstance(p, Rectangle) and p.get_hatch()
    ]
    assert hatched == [(0, 0)]
    assert [text.get_text() for text in wide[1].texts] == ["", "", "never", ""]
    shade = wide[0].images[0].get_array()
    assert shade[1, 0] == shade[1, 1] == 1 and shade.mask.tolist() == [[True, True], [False, False]]
    assert narrow[0].images[0].get_array()[0, 0] == pytest.approx(0.2)  # 400 of 400 steps
    assert [tick.get_text() for tick in wide[0].get_yticklabels()] == ["1024", "256"]


def test_the_same_cells_against_the_ratio():
    table = trainability.table(FRAME)
    ax = trainability.figure(table).axes[5]
    lines = [line for line in ax.lines if line.get_marker() != "None"]
    spots = sorted((x, y) for line in lines for x, y in line.get_xydata())
    wide = table[table["head_v_dim"] == 32]
    reached = sorted(wide.dropna(subset="steps_to_90")[["ratio", "steps_to_90"]].itertuples(index=False, name=None))
    assert [spot for spot in spots if spot[1] <= 400] == reached
    never = sorted(wide.loc[wide["steps_to_90"].isna(), "ratio"])
    assert [x for x, y in spots if y > 400] == never and len(never) == 2


def test_there_must_be_a_ramnet():
    with pytest.raises(ValueError, match="mqar-bench sweep trainability"):
        trainability.table(frame(record(config("attention"))))
