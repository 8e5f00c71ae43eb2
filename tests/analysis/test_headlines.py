import pandas as pd
import pytest

from mqar_bench.analysis.report.claims import Claim
from mqar_bench.analysis.report.headlines import headlines

COLUMNS = ["mixer", "state_size", "capacity", "capacity_seeds", "censored", "converged", "edge"]
POINTS = pd.DataFrame(
    [
        ("ramnet", 2000, 40.0, "39 40 41", "", True, ""),
        ("ramnet", 8000, 160.0, "155 160 165", "", True, "highest"),
        ("delta_net", 1500, 20.0, "19 20 21", "", True, ""),
        ("delta_net", 6000, 60.0, "58 60 62", "", False, ""),
        ("rwkv7", 4000, 100.0, "99 100 101", "", True, ""),
        ("gla", 4000, 8.0, "8 8 8", "below", False, "lowest"),
        ("attention", 10**6, 512.0, "512 512 512", "above", True, ""),
    ],
    columns=COLUMNS,
).assign(seeds=3, guide_accuracy=[0.9, 0.99, 0.8, 0.9, 0.95, 0.02, 1.0])
CLAIMS = [
    Claim("a", "yes", ""), Claim("b", "no, level", ""), Claim("c", "not tested", ""),
    Claim("d", "in part, highest at 2", ""), Claim("e", "not told apart by 3 seeds", ""), Claim("f", "no", ""),
]  # fmt: skip


def test_what_is_better_worse_and_not_to_be_trusted():
    first, best, worse, spent, rising, edge, *answers = headlines(POINTS, CLAIMS)
    assert "over 3 seeds" in first
    assert "with 2,000: 40 against 25.1 pairs, 1.59 times (" in best  # delta_net's, between its two
    assert "(delta_net); with 8,000: 160 against 100 pairs" in best
    assert worse.startswith("Better than RAM-Net of as much state: rwkv7 with 4,000: 100 against 80 pairs, 1.25 times")
    assert worse.count(" with ") == 1
    assert spent == "Elements of state a pair, at best: rwkv7 40, ramnet 50, delta_net 75."
    assert rising == (
        "Trained too short to tell: still gaining when it ended, so not converged, delta_net (6,000), gla (4,000)."
    )
    assert edge.endswith("ramnet (8,000), gla (4,000).")
    assert answers == ["Borne out: a.", "In part: d.", "Not borne out: b; f.", "Not told apart: e."]


def test_a_model_at_chance_that_gains_nothing_has_hardly_begun():
    lines = headlines(POINTS.assign(converged=True), [])
    assert "Trained too short to tell: below 0.1 on validation, so hardly begun to learn, gla (4,000)." in lines


def test_claims_that_differ_in_a_case_are_said_once():
    claims = [
        Claim("a is above x in all", "yes", "", "x"),
        Claim("b rises, M = 4", "yes", "", "M = 4"),
        Claim("a is above y in all", "yes", "", "y"),
        Claim("c", "yes", ""),
        Claim("a is above z in all", "no", "", "z"),
        Claim("b rises, M = 8", "yes", "", "M = 8"),
    ]
    assert headlines(None, claims) == [
        "Borne out: a is above x / y in all; b rises, M = 4 / M = 8; c.",
        "Not borne out: a is above z in all.",
    ]


def test_what_there_is_none_of_is_not_said():
    assert headlines(None, []) == []
    lines = headlines(POINTS[POINTS["mixer"] != "rwkv7"].iloc[:3].assign(edge=None, converged=None), [])
    assert len(lines) == 4 and lines[2].startswith("No other architecture of bounded state is told apart above")


@pytest.mark.parametrize("mixer", ["ramnet", "gla"])
def test_one_architecture_alone_is_not_compared(mixer):
    lines = headlines(POINTS[POINTS["mixer"] == mixer], [])
    assert not any("against" in line for line in lines)
