from __future__ import annotations

import numpy as np
import pytest

from surrogate.acquisition import hit_probability
from surrogate.calibration import Calibration
from surrogate.cross_fit import HeldOut
from surrogate.metrics import coverage


def errors(n: int, freedom: float, seed: int = 0) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).standard_t(freedom, size=n)


def held_out(n: int, std: float = 0.1) -> HeldOut:
    return HeldOut(np.zeros(n), np.full(n, std))


@pytest.mark.parametrize("freedom", [3.0, 8.0, 50.0])
@pytest.mark.parametrize("stated", [0.1, 0.2, 0.4])
def test_ninety_per_cent_intervals_hold_whatever_the_model_states(freedom, stated):
    calibration = Calibration.of(held_out(2000, stated), errors(2000, freedom))
    fresh = errors(20_000, freedom, seed=1)
    std = np.full(len(fresh), calibration.factor * stated)
    assert coverage(fresh, np.zeros(len(fresh)), std, 0.90) == pytest.approx(0.90, abs=0.02)


def test_other_intervals_follow_the_shape_of_the_errors():
    calibration = Calibration.of(held_out(3000), errors(3000, 3.0))
    fresh = np.abs(errors(20_000, 3.0, seed=1))
    std = np.full(len(fresh), 0.1 * calibration.factor)
    for level in (0.5, 0.68, 0.95):
        assert (fresh <= calibration.half_width(std, level)).mean() == pytest.approx(level, abs=0.03)
    normal = Calibration(calibration.factor)
    assert (fresh <= normal.half_width(std, 0.5)).mean() > 0.55


def test_half_widths_at_ninety_per_cent_are_the_normal_ones():
    std = np.array([0.1, 0.3])
    assert Calibration(1.0, 3.0).half_width(std, 0.9) == pytest.approx(1.6448536 * std)


def test_few_observations_hardly_change_the_fit():
    wild = np.r_[np.zeros(17), [5.0, 5.0, 5.0]]
    assert Calibration.of(held_out(20, 0.2), wild).factor < 5.0 / 0.2 / 1.64


@pytest.mark.parametrize(("stated", "factor"), [(0.001, 4.0), (100.0, 0.5)])
def test_a_model_is_never_believed_to_be_far_off(stated, factor):
    assert Calibration.of(held_out(500, stated), errors(500, 5.0)).factor == factor


def test_no_held_out_predictions_change_nothing():
    mean, std = np.linspace(-2, 1, 7), np.full(7, 0.3)
    calibration = Calibration.of(None, np.empty(0))
    assert calibration == Calibration()
    assert np.allclose(
        calibration.hit_probability(mean, std, -0.67, 0.1), hit_probability(mean, std, -0.67, 0.1)
    )
    assert calibration.record()["degrees_of_freedom"] is None


def test_heavy_tails_make_hits_near_the_target_likelier_and_those_beyond_the_interval_too():
    mean, std = np.array([-0.67, -2.0]), np.array([0.2, 0.2])
    heavy = Calibration(1.0, 3.0).hit_probability(mean, std, -0.67, 0.1)
    assert np.all(heavy > hit_probability(mean, std, -0.67, 0.1))
    assert np.all((heavy > 0) & (heavy < 1))


def test_hit_probability_is_the_share_of_hits():
    calibration = Calibration.of(held_out(5000), errors(5000, 4.0))
    fresh = errors(50_000, 4.0, seed=2)
    for mean in (0.0, 0.3):
        stated = calibration.hit_probability(
            np.array([mean]), np.array([0.1 * calibration.factor]), -0.1, 0.1
        )
        assert stated[0] == pytest.approx((np.abs(mean + fresh + 0.1) <= 0.1).mean(), abs=0.02)
