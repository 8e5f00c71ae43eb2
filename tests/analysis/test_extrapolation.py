"""How far models extrapolate: by seeds or examples, up to where accuracy falls, and as claims of the report."""

import math

import pytest

from mqar_bench.analysis.extrapolation import find_reach
from mqar_bench.analysis.report.reaches import extrapolates
from mqar_bench.analysis.statistics import interval
from tests.plots.test_long_context import make_evaluation

#: Of four examples.
ALL, MOST, HALF, NONE = (1.0,) * 4, (1.0, 1.0, 1.0, 0.5), (1.0, 0.5, 0.5, 0.0), (0.0,) * 4


def seed(name, *answers, mixer="gla", **changes):
    contexts = [512 * 4**i for i in range(len(answers))]
    return make_evaluation(name, mixer, answers=tuple(zip(contexts, answers, strict=True)), **changes)


def test_it_ends_where_accuracy_falls_between_two_contexts():
    reach = find_reach([seed("a", ALL, ALL, HALF, ALL)])
    assert reach.context == pytest.approx(2048 * 4 ** (0.1 / 0.5)) and reach.censored == ""  # 1.0 to 0.5, by 0.1
    assert (reach.trained, reach.chance, reach.examples) == (1.0, 1 / 32, 4)


def test_it_is_a_bound_where_accuracy_stays():
    reach = find_reach([seed("a", ALL, ALL, ALL)])
    assert (reach.context, reach.low, reach.high, reach.censored) == (8192, 8192, 8192, "above")
    less = find_reach([seed("a", MOST, ALL, MOST)])
    assert (less.context, less.high, less.censored) == (8192, 8192, "above") and less.low < 8192


@pytest.mark.parametrize("drop, lost", [(0.1, False), (0.125, True)])
def test_a_tenth_may_be_lost(drop, lost):
    reach = find_reach([seed("a", ALL, (1 - drop,) * 4)])
    assert (reach.context < 2048) == lost


def test_contexts_below_the_trained_length_do_not_count():
    short = seed("a", NONE, ALL, ALL, trained_length=2048)
    assert find_reach([short]).trained == 1.0 and find_reach([short]).context == 8192
    between = seed("a", NONE, ALL, ALL, trained_length=8000)  # the longest that is no longer
    assert find_reach([between]).trained == 1.0
    assert find_reach([seed("a", ALL, trained_length=511)]) is None
    assert find_reach([seed("a", ALL)]) is None, "nothing longer is read"
    assert find_reach([make_evaluation("a", answers=((512, ALL),), ended=(2048,))]) is None


def test_seeds_are_averaged_in_the_logarithm_with_their_interval():
    reach = find_reach([seed("a", ALL, ALL, NONE), seed("b", ALL, ALL, ALL), seed("c", ALL)])
    first = 2048 * 4**0.1
    assert reach.seeds == pytest.approx((first, 8192)) and reach.context == pytest.approx(math.sqrt(first * 8192))
    logs = [math.log2(value) for value in reach.seeds]
    assert (math.log2(reach.low), math.log2(reach.high)) == pytest.approx(interval(logs))
    assert reach.censored == "above"


def test_one_seed_has_an_interval_over_its_examples():
    many = seed("a", ALL * 10, (1.0,) * 34 + (0.0,) * 6, NONE * 10)  # 0.85 at the second context
    reach = find_reach([many])
    assert 512 < reach.low < reach.context < reach.high < 8192
    assert reach.low < 2048 < reach.high
    assert find_reach([many]) == reach


def claims(**models):
    return {claim.text: claim for claim in extrapolates(models)}


def test_each_model_is_answered_with_its_numbers():
    found = claims(
        far=[seed("a", ALL, ALL, ALL)], near=[seed("b", ALL, NONE)], level=[seed("c", NONE, NONE)],
        short=[seed("d", ALL)],
    )  # fmt: skip
    text = "{} extrapolates beyond 2 times the 512 tokens it was trained on"
    assert [(name, found[text.format(name)].answer) for name in ("far", "near", "level", "short")] == [
        ("far", "yes"), ("near", "no"), ("level", "not tested"), ("short", "not tested"),
    ]  # fmt: skip
    assert found[text.format("far")].evidence == (
        "accuracy 1.000 there, and within 0.1 of it up to at least 8,192 tokens (8,192 to 8,192, over 4 examples,"
        " one seed), 16 times the length"
    )
    assert found[text.format("level")].evidence == "accuracy 0.000 there, within 0.1 of a guess, 0.031"
    assert "`mqar-bench stream --from`" in found[text.format("short")].evidence
    assert len(found) == 4


def test_ramnet_is_held_against_the_others_by_its_seeds():
    def three(mixer, *answers):
        return [seed(f"{mixer}{i}", *each, mixer=mixer) for i, each in enumerate(answers)]

    far, near = [(ALL, ALL, ALL, HALF)] * 3, [(ALL, HALF)] * 2 + [(ALL, NONE)]
    found = claims(
        ramnet=three("ramnet", *far), gla=three("gla", *near), armt=three("armt", *far), h3=[seed("x", ALL, HALF)],
        rwkv7=three("rwkv7", (NONE, NONE)),
    )  # fmt: skip
    text = "RAM-Net extrapolates further than {}"
    assert found[text.format("gla")].answer == "yes" and " tokens, " in found[text.format("gla")].evidence
    assert found[text.format("armt")].answer == "no, equal"
    assert found[text.format("h3")].answer == "not told apart by 1 seed"
    assert text.format("rwkv7") not in found
    ended = claims(ramnet=three("r", (ALL, ALL)), gla=three("g", (ALL, ALL)))
    assert ended[text.format("gla")].answer == "not told apart: both at the end of what was tested"
