from __future__ import annotations

import numpy as np
import pytest

from surrogate.metrics import COVERAGE_LEVELS, coverage, cross_validate, miscalibration_area, summarise
from surrogate.models import AdsorptionSurrogate
from tests.surrogate.worlds import law, random_environments

N = 20_000


def calibrated(factor=1.0):
    """Truth, mean and claimed std; the real spread is ``1 / factor`` of the claim."""
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=N), rng.uniform(0.1, 0.5, N)
    return mean + std * rng.normal(size=N), mean, std * factor


def test_coverage_of_calibrated_predictions_is_the_nominal_one():
    for level in COVERAGE_LEVELS:
        assert coverage(*calibrated(), level) == pytest.approx(level, abs=0.015)


def test_miscalibration_area_is_zero_only_when_calibrated():
    assert miscalibration_area(*calibrated()) < 0.01
    assert miscalibration_area(*calibrated(0.5)) > 0.1
    assert miscalibration_area(*calibrated(2.0)) > 0.1


def test_likelihood_prefers_the_true_std():
    scores = [summarise(*calibrated(factor))["nll"] for factor in (0.5, 1.0, 2.0)]
    assert min(scores) == scores[1]


def test_figures_of_a_case_worked_by_hand():
    truth, mean, std = np.array([0.0, 0.0, 0.0]), np.array([0.1, -0.2, 0.6]), np.array([0.2, 0.2, 0.2])
    figures = summarise(truth, mean, std)
    assert figures["mae_ev"] == pytest.approx(0.3)
    assert figures["median_absolute_error_ev"] == pytest.approx(0.2)
    assert figures["rmse_ev"] == pytest.approx(np.sqrt(0.41 / 3))
    assert figures["sharpness_ev"] == pytest.approx(0.2)
    # Within 0.674 std: one of three; within 1.96 std: two of three.
    assert figures["coverage_50"] == pytest.approx(1 / 3)
    assert figures["coverage_95"] == pytest.approx(2 / 3)


def test_no_rows_give_none_rather_than_a_number():
    nothing = np.empty(0)
    assert set(summarise(nothing, nothing, nothing).values()) == {None}


def factory():
    return AdsorptionSurrogate("CO")


def test_cross_validation_never_shows_a_surrogate_the_group_it_predicts():
    train = random_environments(40)
    groups = [f"bulk-{i % 8}" for i in range(40)]
    seen_sizes, seen_groups = [], []

    class Watched(AdsorptionSurrogate):
        def fit(self, environments, delta_e, groups=None):
            seen_sizes.append(len(environments))
            if len(environments):
                seen_groups.append(set(groups))
            return super().fit(environments, delta_e, groups)

    result = cross_validate(lambda: Watched("CO"), train, law(train), groups, n_splits=8)
    assert result is not None
    assert result.n_splits == 8
    assert [size for size in seen_sizes if size] == [35] * 8
    assert sorted(group for seen in seen_groups for group in set(groups) - seen) == sorted(set(groups))
    assert np.isfinite(result.mean).all()
    assert result.summary()["mae_ev"] < 0.3


def test_cross_validation_takes_fewer_splits_when_groups_are_few():
    train = random_environments(6)
    result = cross_validate(factory, train, law(train), ["a", "a", "b", "b", "c", "c"])
    assert result is not None
    assert result.n_splits == 3


@pytest.mark.parametrize("n", [0, 1, 7])
def test_cross_validation_of_one_group_or_none_says_nothing(n):
    train = random_environments(n)
    assert cross_validate(factory, train, law(train), ["a"] * n) is None


def test_heavy_tails_are_covered_as_their_own_distribution_says():
    # Errors drawn from Student's t with 3 degrees of freedom, whose central 90 % is stated as ± 1.645 std
    rng = np.random.default_rng(0)
    std = rng.uniform(0.1, 0.4, 20_000)
    truth = rng.standard_t(3.0, 20_000) * std * 1.6448536 / 2.3533634  # the 95 % quantiles of both
    mean = np.zeros(20_000)
    figures = summarise(truth, mean, std, 3.0)
    for level in (50, 68, 90, 95):
        assert figures[f"coverage_{level}"] == pytest.approx(level / 100, abs=0.01)
    assert figures["miscalibration_area"] < 0.01
    as_normal = summarise(truth, mean, std)
    assert as_normal["coverage_90"] == pytest.approx(0.90, abs=0.01)
    assert as_normal["coverage_50"] > 0.55
    assert figures["nll"] < as_normal["nll"]
