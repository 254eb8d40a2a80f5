"""Whether a surrogate still means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from surrogate.drift import CHANCE, drift, two_sided


def draws(n, seed, *, spread=1.0, shift=0.0):
    """Energies, means and stated standard deviations; errors ``spread`` times as wide as is stated."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(-0.7, 0.3, n), rng.uniform(0.1, 0.3, n)
    return mean + shift * std + spread * std * rng.standard_normal(n), mean, std


def alarms(n_times=400, **world):
    found = [drift(*draws(50, seed, **world)) for seed in range(n_times)]
    coverage, bias = (sum(f.is_coverage_off for f in found), sum(f.is_biased for f in found))
    return coverage / n_times, bias / n_times


def test_a_surrogate_that_means_what_it_says_is_seldom_suspected():
    assert max(alarms()) <= 2.5 * CHANCE


def test_intervals_that_are_much_too_narrow_are_found_out():
    coverage, bias = alarms(spread=2.0)
    assert coverage > 0.9
    assert bias <= 2.5 * CHANCE


def test_predictions_that_lie_to_one_side_are_found_out():
    assert alarms(shift=1.0)[1] > 0.9


def test_figures_are_those_of_the_errors():
    figures = drift(np.array([0.0, 0.3, 1.0]), np.zeros(3), np.full(3, 0.2))
    assert (figures.n, figures.mae_ev, figures.bias_ev) == (3, pytest.approx(1.3 / 3), pytest.approx(1.3 / 3))
    assert figures.coverage_90 == pytest.approx(2 / 3)  # 0.3 eV is 1.5 standard deviations


def test_of_nothing_nothing_is_said():
    assert drift(np.zeros(0), np.zeros(0), np.zeros(0)) is None


@pytest.mark.parametrize("k", [0, 3, 10, 17, 20])
def test_the_probability_is_that_of_the_binomial_test(k):
    assert two_sided(k, 20, 0.5) == pytest.approx(binomtest(k, 20, 0.5).pvalue)
