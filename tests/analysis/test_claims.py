import pandas as pd
import pytest

from mqar_bench.analysis.report.claims import (
    above_at_equal_state,
    helps,
    lasts,
    locality,
    more_slots_help,
    overlap_decides,
    predicts,
    rises,
)


def seeded(table: pd.DataFrame, spread=0.001) -> pd.DataFrame:
    """With three seeds about each mean."""
    texts = [f"{a - spread:.6g} {a:.6g} {a + spread:.6g}" for a in table["accuracy"]]
    return table.assign(accuracy_seeds=texts)


def points(**mixers) -> pd.DataFrame:
    rows = [(m, size, accuracy) for m, line in mixers.items() for size, accuracy in line.items()]
    return seeded(pd.DataFrame(rows, columns=["mixer", "state_size", "accuracy"]))


@pytest.mark.parametrize(
    "theirs, answer",
    [
        ({100: 0.5, 200: 0.6}, "yes"),
        ({100: 0.5, 200: 0.95}, "in part"),
        ({100: 0.9, 200: 0.95}, "no"),
        ({100: 0.705}, "no, equal"),
        ({50: 0.1}, "not tested"),
        ({50: 0.99, 100: 0.5}, "yes"),  # where we have no model that small, nothing is said
    ],
)
def test_above_at_equal_state(theirs, answer):
    (claim,) = above_at_equal_state(points(ramnet={90: 0.7, 150: 0.65, 300: 0.99}, other=theirs))
    assert claim.answer == answer and "other" in claim.text


def test_the_evidence_has_the_best_of_ours_with_at_most_as_much_state():
    (claim,) = above_at_equal_state(points(ramnet={90: 0.7, 150: 0.65}, other={1200: 0.5}))
    assert claim.evidence == "1,200 elements: 0.700 against 0.500, +0.200 (+0.198 to +0.202)"


def test_between_two_of_ours_the_seeds_are_interpolated():
    (claim,) = above_at_equal_state(points(ramnet={100: 0.5, 400: 0.7}, other={200: 0.55}))
    assert claim.answer == "yes" and claim.evidence.startswith("200 elements: 0.600 against 0.550")


def test_seeds_decide():
    """The same means: told apart by close seeds, and not by ones that lie far apart, or by a single one."""
    table = points(ramnet={90: 0.7}, other={100: 0.6})
    assert above_at_equal_state(table)[0].answer == "yes"
    assert above_at_equal_state(seeded(table, 0.1))[0].answer == "not told apart by 3 seeds"
    (claim,) = above_at_equal_state(table.assign(accuracy_seeds=["0.7", "0.6"]))
    assert claim.answer == "not told apart by 1 seed" and claim.evidence.endswith("+0.100 (one seed)")


@pytest.mark.parametrize(
    "accuracies, answer",
    [
        ((0.2, 0.5, 0.9), "yes"),
        ((0.2, 0.2, 0.9), "yes"),
        ((0.2, 0.9, 0.8), "in part, highest at 2"),
        ((0.2, 0.7, 0.6, 0.9), "in part"),
        ((0.5, 0.9, 0.4), "in part, highest at 2"),
        ((0.9, 0.9, 0.895), "no, level"),
        ((0.9, 0.5, 0.2), "no"),
        ((0.9,), "not tested"),
    ],
)
def test_rises(accuracies, answer):
    values = [2**i for i in range(len(accuracies))]
    table = seeded(pd.DataFrame({"value": values, "accuracy": accuracies}))
    table = table.assign(sweep="s", line="$M$ = 64", design="conv")
    (claim,) = rises(table.sample(frac=1, random_state=0), "s", "K")
    assert claim.answer == answer and claim.text == "accuracy rises with K, M = 64, conv"
    assert rises(table, "another", "K") == []


@pytest.mark.parametrize(
    "accuracies, answer",
    [((0.9, 0.5, 0.2), "yes"), ((0.9, 0.2, 0.5), "in part"), ((0.2, 0.5), "no"), ((0.5, 0.505), "no, level")],
)
def test_falls(accuracies, answer):
    table = seeded(pd.DataFrame({"value": range(len(accuracies)), "accuracy": accuracies}))
    (claim,) = rises(table.assign(sweep="s", line="", design=""), "s", "heads", falls=True)
    assert claim.answer == answer and claim.text == "accuracy falls with heads"


@pytest.mark.parametrize(
    "ours, theirs, answer",
    [
        ((0.9, 0.9), (0.9, 0.5), "yes"),
        ((0.9, 0.5), (0.5, 0.9), "in part"),
        ((0.5, 0.9), (0.9, 0.9), "no"),
        ((0.9, 0.895), (0.895, 0.9), "no, equal"),
    ],
)
def test_helps(ours, theirs, answer):
    table = seeded(pd.DataFrame({"value": [0.5, 2.0] * 2, "accuracy": ours + theirs, "line": ["a"] * 2 + ["b"] * 2}))
    (claim,) = helps(table.assign(sweep="s"), "s", "this", "a", "b")
    assert claim.answer == answer and claim.text == "this helps"
    assert claim.evidence.startswith(f"0.5: {ours[0]:.3f} against {theirs[0]:.3f}, ") and "; 2: " in claim.evidence
    assert (
        helps(table.assign(sweep="s"), "s", "this", "a", "c") == helps(table.assign(sweep="t"), "s", "", "a", "b") == []
    )


@pytest.mark.parametrize(
    "accuracies, settings, answer",
    [
        ((0.155, 0.15), ("accuracy/L64-kv8", "accuracy/L32-kv4-x"), "no, level"),  # a setting of which we know no pairs
        ((0.19, 0.19), ("accuracy/L64-kv8", "accuracy/L32-kv4"), "no, at chance"),  # (1/8 + 1/4) / 2
        ((0.03, 0.03), ("accuracy/L64-kv8", "accuracy/L32-kv4"), "no, at chance"),
        ((0.21, 0.2), ("accuracy/L64-kv8", "accuracy/L32-kv4"), "no, level"),
    ],
)
def test_what_is_learnt_by_none_is_at_chance(accuracies, settings, answer):
    table = seeded(pd.DataFrame({"value": [1, 2], "accuracy": accuracies} | dict.fromkeys(settings, 0.1)))
    (claim,) = rises(table.assign(sweep="s", line="", design=""), "s", "U")
    assert claim.answer == answer and ("guessing gives 0.188" in claim.evidence) == (answer == "no, at chance")


def test_every_line_is_answered():
    table = seeded(pd.DataFrame({"value": [1, 2] * 2, "accuracy": [0.1, 0.2, 0.2, 0.1], "line": ["a", "a", "b", "b"]}))
    claims = rises(table.assign(sweep="s", design=""), "s", "U")
    assert [claim.answer for claim in claims] == ["yes", "no"]
    assert claims[0].evidence == "1: 0.100, 2: 0.200; 2 against 1: 0.200 against 0.100, +0.100 (+0.098 to +0.102)"


def capacities(**lines):
    """Of two seeds each, by value."""
    rows = [
        {"line": line, "value": value, "capacity": (a * b) ** 0.5, "capacity_seeds": f"{a} {b}", "censored": censored}
        for line, those in lines.items()
        for value, (a, b, censored) in those.items()
    ]
    return pd.DataFrame(rows).assign(sweep="s", design="", accuracy=1.0, accuracy_seeds="1 1")


def test_where_points_have_a_capacity_it_decides():
    table = capacities(a={1: (60, 62, ""), 2: (120, 125, ""), 3: (250, 240, "")}, b={1: (512, 512, "above")})
    (claim, single) = rises(table, "s", "K")
    assert claim.text == "capacity rises with K, a" and claim.answer == "yes" and single.answer == "not tested"
    assert claim.evidence.startswith("1: 61, 2: 122, 3: 245; 3 against 1: 245 against 61 pairs, 4.02 times (")


def test_two_bounds_are_not_told_apart():
    table = capacities(a={1: (512, 512, "above"), 2: (80, 82, "")}, b={1: (512, 512, "above"), 2: (80, 81, "")})
    (claim,) = helps(table, "s", "this", "a", "b")
    assert claim.answer == "not told apart: both at the end of what was tested"
    assert claim.evidence.startswith("1: > 512 against > 512 pairs, 1.00 times")


def test_accuracy_decides_where_all_capacities_are_bounds():
    table = capacities(a={1: (512, 512, "above")}, b={1: (512, 512, "above")})
    assert helps(table, "s", "this", "a", "b")[0].answer == "no, equal"


def cells(learnt, recipe="more"):
    """By (M, K), whether it was learnt."""
    rows = [(m, k, k * k / m, 500.0 if yes else None) for (m, k), yes in learnt.items()]
    table = pd.DataFrame(rows, columns=["slots", "top_k", "ratio", "steps_to_90"])
    return table.assign(head_v_dim=32, recipe=recipe, steps_to_90=table["steps_to_90"].astype(float))


@pytest.mark.parametrize(
    "learnt, answer, evidence",
    [
        ({(64, 4): False, (64, 8): True, (256, 16): True}, "yes", "from 1 on 2 of 2 are learnt, below 0 of 1"),
        ({(64, 4): True, (64, 8): False}, "no", "from 0.25 on 1 of 2 are learnt, below 0 of 0"),
        (
            {(64, 2): False, (64, 4): True, (64, 8): True, (64, 16): False, (64, 32): True},
            "in part",
            "from 0.25 on 3 of 4 are learnt, below 0 of 1",
        ),
        (
            {(64, 2): True, (64, 4): False, (64, 8): True, (64, 16): True, (64, 32): True},
            "no",  # a threshold below all parts nothing
            "from 0.0625 on 4 of 5 are learnt, below 0 of 0",
        ),
        ({(64, 2): True, (64, 8): True}, "no", "2 of 2 learnt, at K * K / M from 0.0625 to 1"),
    ],
)
def test_overlap_decides(learnt, answer, evidence):
    (claim,) = overlap_decides(cells(learnt))
    assert (claim.answer, claim.evidence) == (answer, evidence)
    assert claim.text == "K * K / M decides what is learnt, D = 32, more"


@pytest.mark.parametrize(
    "ours, theirs, answer",
    [
        ((True, True), (True, False), "yes"),
        ((True, False), (False, True), "in part"),
        ((True, False), (True, False), "no"),
        ((False, False), (True, False), "no"),
    ],
)
def test_more_slots_help(ours, theirs, answer):
    both = [
        cells(dict(zip(((64, 2), (64, 8)), part, strict=True)), name) for part, name in ((ours, "a"), (theirs, "b"))
    ]
    (claim,) = more_slots_help(pd.concat(both), "a", "b")
    assert claim.answer == answer and claim.evidence.startswith(f"{sum(ours)} of 2 (M, K) are learnt with it")
    (claim,) = more_slots_help(both[0], "a", "b")
    assert claim.answer == "not tested"


@pytest.mark.parametrize("lru, answer", [(0.5, "yes"), (0.35, "in part"), (0.3, "no")])
def test_locality_is_what_the_order_of_tokens_adds(lru, answer):
    rates = {"lru": lru, "shuffled": 0.3, "hottest": 0.4, "optimal": 0.9}
    rows = [
        {"cape": True, "slots": 256, "counted": counted, "fraction": fraction, "policy": policy, "hit_rate": rate}
        for counted, fraction, scale in (("reads", 0.25, 1), ("reads", 0.5, 0.1), ("all", 0.25, 0.1))
        for policy, rate in ((policy, rate * scale) for policy, rate in rates.items())
    ]
    (claim,) = locality(pd.DataFrame(rows))
    assert claim.answer == answer and claim.text == "reads near in time share slots, with CAPE, M = 256"
    assert f"LRU {lru:.2f}, LRU with tokens shuffled 0.30" in claim.evidence


@pytest.mark.parametrize(
    "ends, answer, evidence",
    [
        ((0.95, 0.9), "yes", "2 of 2 (M, K) end at 0.9"),
        ((0.95, 0.2), "in part", "1 of 2 (M, K) end at 0.9; M = 64, K = 8 at 0.200"),
        ((0.1, 0.2), "no", "0 of 2 (M, K) end at 0.9; M = 64, K = 4 at 0.100; M = 64, K = 8 at 0.200"),
    ],
)
def test_lasts(ends, answer, evidence):
    table = cells({(64, 4): True, (64, 8): True, (64, 2): False}).assign(accuracy=0.0, guide_accuracy=[*ends, 0.1])
    (claim,) = lasts(table)
    assert (claim.answer, claim.evidence) == (answer, evidence) and "D = 32, more" in claim.text
    assert lasts(table[table["top_k"] == 2]) == []


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (-0.9, -0.1, "yes"),
        (0.1, 0.9, "no"),
        (-0.2, 0.25, "no"),
        (-0.4, 0.2, "not told apart by 2 mixers"),
        (float("nan"), float("nan"), "not tested"),
    ],
)
def test_capacity_predicts_perplexity_where_the_interval_says_so(low, high, answer):
    row = {"spearman_hits": (low + high) / 2, "spearman_hits_low": low, "spearman_hits_high": high}
    row |= {"spearman_rest": 0.1, "spearman_rest_low": -0.2, "spearman_rest_high": 0.3}
    (claim,) = predicts(pd.DataFrame([{"mixer": name} | row for name in ("gla", "h3")]))
    assert claim.answer == answer and "2 mixers" in claim.evidence
    assert answer == "not tested" or claim.evidence.endswith("with the rest of the tokens +0.10 (-0.20 to +0.30)")
