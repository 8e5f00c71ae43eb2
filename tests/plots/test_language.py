"""``language`` and ``language_capacity``: perplexities of models trained on text, alone and beside what MQAR says."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from plots import language, language_capacity
from plots.style import style
from tests.plots.records import config, frame, record
from tests.plots.test_capacity import ALL, FAIR, GOOD, NONE
from tests.plots.test_capacity import run as recalled

KINDS = ("all", "hits", "rare_hits", "rest")


def spoken(mixer, hits, rest, state=4096, seed=1, accuracy=0.3, **options):
    """A language model with these perplexities."""
    losses = dict(zip(KINDS, map(math.log, (10.0, hits, 2 * hits, rest)), strict=True))
    one = config(mixer, seed=seed, sweep="language", **options)
    return record(one, accuracy, state=state, losses={f"test-{kind}-L256": loss for kind, loss in losses.items()})


RUNS = [
    spoken("ramnet", 4.0, 100.0, order=3),
    spoken("ramnet", 9.0, 100.0, seed=2, order=3),
    spoken("ramnet", 5.0, 90.0, state=16384, order=4),
    spoken("ramnet", 1.0, 1.0, state=16384, order=4, rate=1.0, accuracy=0.1),  # chosen on validation, not on the test
    spoken("gla", 8.0, 80.0, state=8192),
    spoken("attention", 3.0, 95.0, state=10**6),
]
CAPACITIES = [
    recalled("ramnet", GOOD, state=4096, order=3),
    recalled("ramnet", ALL, state=16384, order=4),
    recalled("gla", FAIR, state=5000),
    recalled("attention", ALL, state=10**6),
    recalled("h3", NONE),
]


def test_the_table_has_geometric_means_over_seeds_of_the_best_rate_by_validation():
    points = language.table(frame(*RUNS)).set_index(["mixer", "state_size"])
    first = points.loc[("ramnet", 4096)]
    assert first["perplexity_hits"] == pytest.approx(6.0) and first["perplexity_rest"] == pytest.approx(100.0)
    assert (first["perplexity_hits_low"], first["perplexity_hits_high"]) == (pytest.approx(4), pytest.approx(9))
    assert (first["perplexity_hits_seeds"], first["seeds"]) == ("4 9", 2)
    assert first["perplexity_rare_hits"] == pytest.approx(12.0) and first["perplexity_all"] == pytest.approx(10.0)
    other = points.loc[("ramnet", 16384)]
    assert (other["perplexity_hits"], other["learning_rate"]) == (pytest.approx(5.0), 0.01)
    assert math.isnan(other["perplexity_hits_low"])


def test_models_are_at_their_state_in_both_panels_and_attention_is_a_line_across():
    fig = language.figure(language.table(frame(*RUNS)))
    (legend,) = fig.legends
    named = {text.get_text(): handle for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)}
    assert set(named) == {"RAM-Net", "GLA", "Attention, state grows"}
    for ax, ramnet, across in zip(fig.axes, ([6, 5], [100, 90]), (3, 95), strict=True):
        drawn = {c.get_label(): c.lines[0].get_xydata() for c in ax.containers}
        np.testing.assert_allclose(drawn["RAM-Net"], list(zip([4096, 16384], ramnet, strict=True)))
        assert set(drawn) == {"RAM-Net", "GLA"} and ax.get_yscale() == "log" and ax.get_xlim()[1] < 10**5
        assert not ax.texts  # one would hide the markers beside the line
        (line,) = (line for line in ax.lines if np.allclose(line.get_ydata(), across))
        assert line.get_color() == named["Attention, state grows"].get_color() and line.get_marker() == ""
        assert ax.get_ylim()[0] < min(*ramnet, across) and ax.get_ylim()[1] > max(*ramnet, across)


def test_a_run_that_keeps_no_loss_has_no_perplexity():
    with pytest.raises(ValueError, match="^nothing to draw: a perplexity takes runs on text, as `mqar-bench language`"):
        language.table(frame(record(config("ramnet", sweep="language"), 0.5, losses={})))


def test_each_mixer_is_at_its_largest_state_in_both_sweeps_and_ranks_are_correlated():
    points = language_capacity.table(frame(*RUNS, *CAPACITIES)).set_index("mixer")
    assert set(points.index) == {"ramnet", "gla", "attention"}  # there is no h3 in text
    ramnet = points.loc["ramnet"]
    assert (ramnet["state_size"], ramnet["mqar_state_size"]) == (16384, 16384)
    assert (ramnet["capacity"], ramnet["censored"]) == (64, "above")
    assert math.isnan(ramnet["low"]) and math.isnan(ramnet["perplexity_hits_low"])  # of one seed, unlike smaller ones
    assert ramnet["perplexity_hits"] == pytest.approx(5.0) and len(ramnet["run_ids"].split()) == 2
    assert points["spearman_hits"].isna().all()  # three are too few


def test_the_correlation_is_scipys_and_is_said_in_the_panel():
    rng, mixers = np.random.default_rng(0), ["gla", "h3", "mom", "kda", "based", "ramnet"]
    accuracies, hits = rng.uniform(0.3, 1, (6, 4)), rng.uniform(3, 9, 6)
    every = [recalled(name, -np.sort(-each)) for name, each in zip(mixers, accuracies, strict=True)]
    every += [spoken(name, hit, 50.0 - hit) for name, hit in zip(mixers, hits, strict=True)]
    points = language_capacity.table(frame(*every))
    wanted = spearmanr(points["capacity"], points["perplexity_hits"]).statistic
    assert points["spearman_hits"].tolist() == pytest.approx([wanted] * 6)
    assert points["spearman_rest"].iloc[0] == pytest.approx(-wanted)
    low, high = points.loc[0, ["spearman_hits_low", "spearman_hits_high"]]
    assert -1 <= low <= wanted <= high <= 1
    figure = language_capacity.figure(points)
    first, second = ([text.get_text() for text in ax.texts] for ax in figure.axes)
    assert first == [f"Spearman {wanted:.2f} ({low:.2f} to {high:.2f}), 6 mixers"] != second
    drawn = {c.get_label(): c.lines[0].get_xydata()[0] for c in figure.axes[0].containers}
    for row in points.to_dict("records"):
        np.testing.assert_allclose(drawn[style(row["mixer"]).label], (row["capacity"], row["perplexity_hits"]))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (RUNS, "no finished run; start one with `mqar-bench sweep fig3 --scale demo`$"),
        (CAPACITIES, "no finished run; start one with `mqar-bench language --scale demo`$"),
        ([*RUNS[:3], *CAPACITIES[2:]], "^nothing to draw: no mixer has runs in both sweeps, language and fig3$"),
    ],
    ids=["no capacity", "no text", "none in both"],
)
def test_what_is_missing_is_said(runs, message):
    with pytest.raises(ValueError, match=message):
        language_capacity.table(frame(*runs))


def test_runs_on_different_text_are_not_chosen_among():
    other = spoken("h3", 3.0, 9.0, data={"fresh": True})
    with pytest.raises(ValueError, match="runs on different data do not compare"):
        language_capacity.table(frame(*RUNS, other, *CAPACITIES))
    assert isinstance(language_capacity.table(frame(*RUNS, *CAPACITIES)), pd.DataFrame)
