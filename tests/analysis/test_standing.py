import math

import pandas as pd
import pytest

from mqar_bench.analysis.report.measure import Measure
from mqar_bench.analysis.report.standing import place, standings

CAPACITY, ACCURACY = Measure("capacity"), Measure("accuracy")


def row(mixer, state, pairs, spread=1.01, censored="", seeds=3):
    """A point whose seeds lie closely about a mean."""
    values = [pairs * factor for factor in (1 / spread, 1, spread)][:seeds] if seeds > 1 else [pairs]
    return {
        "mixer": mixer, "state_size": state, "capacity": pairs, "censored": censored,
        "capacity_seeds": " ".join(map(str, values)), "accuracy": pairs / 100,
        "accuracy_seeds": " ".join(str(v / 100) for v in values),
    }  # fmt: skip


def stand(ours, *theirs, measure=CAPACITY):
    return standings(ours, pd.DataFrame(theirs), measure)


@pytest.mark.parametrize(
    "theirs, basis, states, value",
    [
        ([(1000, 20)], "equal", (1000,), 20),
        ([(250, 10), (4000, 40)], "between", (250, 4000), 20),
        ([(250, 10), (500, 5)], "less", (250,), 10),  # the best, not the nearest
        ([(250, 30), (4000, 20)], "less", (250,), 30),  # falling: with less state it holds more than between
        ([(100, 1), (250, 10), (4000, 40), (8000, 99)], "between", (250, 4000), 20),
    ],
)
def test_theirs_is_what_the_architecture_holds_with_no_more_state(theirs, basis, states, value):
    (found,) = stand(row("mine", 1000, 25), *(row("other", *point) for point in theirs))
    assert (found.mixer, found.basis, found.states) == ("other", basis, states)
    assert found.value == pytest.approx(value)
    assert found.verdict == ("below" if value > 25 else "above") and found.censored == ""
    assert 2**found.duel.difference.difference == pytest.approx(25 / value, rel=1e-4)


def test_accuracy_is_interpolated_as_it_is():
    (found,) = stand(row("mine", 1000, 20), row("other", 500, 10), row("other", 2000, 40), measure=ACCURACY)
    assert found.value == pytest.approx(0.25, abs=1e-3) and found.verdict == "below"
    assert found.duel.difference.difference == pytest.approx(-0.05, abs=1e-3)


@pytest.mark.parametrize("pairs, verdict", [(30, "above"), (20, "not tested"), (5, "not tested")])
def test_of_what_has_more_state_only_being_above_says_something(pairs, verdict):
    (found,) = stand(row("mine", 1000, pairs), row("other", 1500, 20))
    assert (found.basis, found.verdict) == ("more", verdict)


@pytest.mark.parametrize(
    "ours, verdict",
    [(20, "equal"), (20.5, "equal"), (30, "above"), (10, "below")],
)
def test_seeds_decide(ours, verdict):
    assert stand(row("mine", 9, ours), row("other", 9, 20))[0].verdict == verdict
    assert stand(row("mine", 9, ours), row("other", 9, 20, seeds=1))[0].verdict == "not told apart"


@pytest.mark.parametrize("ours, verdict", [(10, "not told apart"), (19, "not told apart"), (60, "above")])
def test_between_a_bound_and_a_point_theirs_may_be_less(ours, verdict):
    low, high = row("other", 250, 8, censored="below"), row("other", 4000, 40)
    (found,) = stand(row("mine", 1000, ours), low, high)
    assert (found.verdict, found.censored) == (verdict, "below")


def test_the_rank_counts_who_is_higher_and_leaves_out_what_was_not_tested():
    ours = row("mine", 1000, 20)
    theirs = [
        row("better", 1000, 40), row("best", 900, 80), row("worse", 1000, 10), row("larger and worse", 2000, 5),
        row("larger", 2000, 90), row("attention", 1000, 500),
    ]  # fmt: skip
    found = stand(ours, *theirs)
    assert [each.mixer for each in found] == ["best", "better", "worse", "larger and worse", "larger"]
    assert [each.verdict for each in found] == ["below", "below", "above", "above", "not tested"]
    where = place(ours, found, CAPACITY)
    assert (where.rank, where.of, where.best.mixer) == (3, 5, "best")
    assert 2**where.best.duel.difference.difference == pytest.approx(0.25, rel=1e-3)
    assert math.log2(0.24) < where.best.duel.difference.low < where.best.duel.difference.high < math.log2(0.26)


def test_with_nothing_so_small_there_is_no_best():
    ours = row("mine", 10, 20)
    where = place(ours, stand(ours, row("other", 1000, 40)), CAPACITY)
    assert where == (1, 1, None)
