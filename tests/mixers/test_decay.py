"""Where decays start: both ranges, their distributions, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import mixers
from mixers.decay import LEAST, check_start, start_rate, start_step

MANY = 20_000


def test_rates_are_uniform_and_steps_log_uniform() -> None:
    torch.manual_seed(0)
    rates, steps = start_rate(MANY, 2.0, 6.0).detach().exp(), F.softplus(start_step(MANY, 0.01, 1.0).detach())
    low, middle, high = (round(float(rates.quantile(q)), 1) for q in (0, 0.5, 1))
    assert (low, middle, high) == (2.0, 4.0, 6.0)
    assert steps.log10().quantile(0.5).item() == pytest.approx(-1, abs=0.05)
    assert 0.0099 < steps.min() < 0.0102 and 0.98 < steps.max() < 1.01


def test_nothing_starts_where_its_logarithm_could_not_move() -> None:
    torch.manual_seed(0)
    assert start_rate(MANY, 0.0, 1e-4).exp().max() <= LEAST * 1.0001
    assert F.softplus(start_step(MANY, 1e-30, 1e-6)).min() >= LEAST * 0.9


@pytest.mark.parametrize("name", ["mamba2", "gated_delta_net", "mom", "kda"])
def test_a_mixer_starts_in_the_ranges_it_is_given(name: str) -> None:
    torch.manual_seed(0)
    ranges = {"dt_min": 0.2, "dt_max": 0.3, "A_min": 0.04, "A_max": 0.05}
    mixer = mixers.build(name, 64, **ranges)
    rates, steps = mixer.A_log.exp(), F.softplus(mixer.dt_bias)
    assert rates.min() > 0.0399 and rates.max() < 0.0501
    assert steps.min() > 0.199 and steps.max() < 0.301
    assert mixer.A_log._no_weight_decay and mixer.dt_bias._no_weight_decay


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"dt_min": 0.2}, "dt_min and dt_max must be positive and in order, got 0.2 and 0.1"),
        ({"dt_min": 0.0}, "dt_min and dt_max must be positive and in order, got 0.0 and 0.1"),
        ({"dt_max": 1e5}, "got 0.001 and 100000.0; they end at 10000"),
        ({"A_min": 17.0}, "A_min must be at least 0 and A_max not below it, nor 0, got 17.0 and 16.0"),
        ({"A_min": -1.0}, "nor 0, got -1.0 and 16.0"),
        ({"A_min": 0.0, "A_max": 0.0}, "nor 0, got 0.0 and 0.0"),
        ({"A_max": 1e5}, "100000.0; they end at 10000"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["mamba2", "gated_delta_net", "mom", "kda"])
def test_a_range_that_is_none_is_refused(name: str, ranges: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as error:
        mixers.build(name, 64, **ranges)
    assert message in str(error.value)


def test_the_ranges_of_the_defaults_pass() -> None:
    check_start(dt_min=0.001, dt_max=0.1)
    check_start(dt_min=0.001, dt_max=0.1, A_min=0.0, A_max=16.0)
