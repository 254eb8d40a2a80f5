"""What decides a surface: its lowest site, computed or predicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogate.acquisition import hit_probability
from surrogate.surfaces import SitesLeft, contenders, surface_hit_probability

TARGET, WINDOW = -0.67, 0.10


def probability(computed, mean=(), std=(), surface=(), **options):
    left = SitesLeft(
        np.array(mean, float), np.array(std, float), np.array(surface, dtype=np.int64), **options
    )
    return surface_hit_probability(np.array(computed, float), left, target=TARGET, window=WINDOW)


def test_of_each_surface_only_the_site_predicted_lowest_contends_and_only_below_what_is_computed():
    mean, surface = np.array([-0.5, -0.7, -0.6, -0.4, -0.6]), np.array([0, 0, 1, 2, 3])
    computed = np.array([np.inf, np.inf, -0.9, -0.5, -0.55])
    found = contenders(mean, surface, computed, target=TARGET, window=WINDOW)
    # 0: a lower site; 1: contends; 2: its surface is settled; 3: above what is computed; 4: contends.
    assert found.tolist() == [False, True, False, False, True]


def test_without_sites_left_what_is_computed_decides():
    assert probability([-0.67, -0.58, -0.9, -0.3, np.inf]).tolist() == [1, 1, 0, 0, 0]


def test_a_surface_below_the_window_stays_no_hit_whatever_is_left():
    assert probability([-0.9], [-0.67], [0.01], [0]).tolist() == [0]


def test_a_surface_of_which_nothing_is_computed_has_the_chance_of_its_lowest_site():
    mean, std, success = np.array([-0.5, -0.7]), np.array([0.01, 0.2]), np.array([1.0, 0.6])
    found = probability([np.inf], mean, std, [0, 0], success=success, freedom=4.0)
    expected = 0.6 * hit_probability(mean[1:], std[1:], TARGET, WINDOW, freedom=4.0)
    assert found == pytest.approx(expected)


def test_a_surface_in_the_window_stays_a_hit_unless_a_site_left_lies_below():
    # P(Z < −1) of the standard normal is 0.1586553.
    lower_edge = TARGET - WINDOW
    found = probability([-0.6, -0.6], [lower_edge + 0.2, lower_edge - 5.0], [0.2, 0.1], [0, 1])
    assert found == pytest.approx([1 - 0.1586553, 0.0], abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.sampled_from([3.0, 8.0, np.inf]))
def test_draws_from_the_predictions_hit_as_often_as_is_said(seed, freedom):
    """One site left for each surface: then the rule is exact."""
    from surrogate.calibration import std_per_scale

    rng = np.random.default_rng(seed)
    computed = np.where(rng.random(6) < 0.3, np.inf, rng.uniform(-0.9, -0.3, 6))
    mean, std = rng.uniform(-1.0, -0.4, 6), rng.uniform(0.05, 0.3, 6)
    success = rng.uniform(0.3, 1.0, 6)
    stated = probability(computed, mean, std, np.arange(6), freedom=freedom, success=success)
    shape = (20_000, 6)
    noise = rng.standard_normal(shape) if np.isinf(freedom) else rng.standard_t(freedom, shape)
    drawn = mean + std / std_per_scale(freedom) * noise
    drawn = np.where(rng.random(shape) < success, drawn, np.inf)
    hits = np.abs(np.minimum(drawn, computed) - TARGET) <= WINDOW
    assert hits.mean(axis=0) == pytest.approx(stated, abs=0.02)
