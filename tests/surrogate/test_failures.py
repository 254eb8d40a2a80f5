"""Learning from calculations that gave nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogate.failures import SuccessModel

NAMES = ["mean electronegativity of the first shell", "atoms in the first shell", "noise"]


def outcomes(n=200, seed=0, unexplained=False):
    """Sites of low electronegativity fail, most of them."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.uniform(1.0, 2.5, n), rng.integers(1, 5, n), rng.normal(size=n)])
    chance = np.where(features[:, 0] < 1.5, 0.1, 0.95)
    if unexplained:
        chance = np.full(n, 0.7)
    return features, rng.uniform(size=n) < chance, [f"bulk-{i % 20}" for i in range(n)]


def test_what_fails_is_recognised_on_bulks_that_were_not_seen():
    model = SuccessModel().fit(*outcomes())
    features, succeeded, _ = outcomes(n=500, seed=1)
    chance = model.predict(features)
    assert chance[~succeeded].mean() < 0.4
    assert chance[succeeded].mean() > 0.8


def test_probabilities_are_borne_out():
    model = SuccessModel().fit(*outcomes(n=400))
    features, succeeded, _ = outcomes(n=4000, seed=2)
    chance = model.predict(features)
    for low, high in ((0.0, 0.5), (0.5, 1.0)):
        rows = (chance >= low) & (chance < high)
        assert chance[rows].mean() == pytest.approx(succeeded[rows].mean(), abs=0.12)


def test_failures_that_nothing_explains_change_hardly_anything():
    model = SuccessModel().fit(*outcomes(unexplained=True))
    features, _, _ = outcomes(n=500, seed=3)
    chance = model.predict(features)
    assert np.abs(chance - model.base_rate_).max() < 0.2


def test_before_anything_is_known_most_succeed_and_a_few_failures_tell_otherwise():
    def rate(succeeded):
        return SuccessModel().fit(np.zeros((len(succeeded), 1)), succeeded, range(len(succeeded))).base_rate_

    assert rate([]) == 0.8
    assert rate([True] * 3) > rate([]) > rate([False] * 3)
    assert rate([False] * 6) < 0.5


@settings(max_examples=20, deadline=None)
@given(n_failures=st.integers(0, 4), n=st.integers(0, 40))
def test_a_few_failures_change_nothing(n_failures, n):
    features, _, groups = outcomes(n=n)
    succeeded = np.arange(n) >= n_failures
    model = SuccessModel().fit(features, succeeded, groups)
    assert len(set(model.predict(outcomes(n=30, seed=1)[0]))) == 1
    assert model.rules(NAMES) == []


def test_the_tree_tells_in_words_why_candidates_fail():
    model = SuccessModel().fit(*outcomes(n=400))
    rules = model.rules(NAMES)
    assert rules[0].startswith("mean electronegativity of the first shell at most 1.")
    assert model.fidelity_ > 0.7
    assert sum("succeed" in line for line in rules) == (len(rules) - sum(":" in line for line in rules))


def test_the_order_of_calculations_does_not_matter():
    features, succeeded, groups = outcomes()
    order = np.random.default_rng(5).permutation(len(groups))
    one = SuccessModel().fit(features, succeeded, groups)
    other = SuccessModel().fit(features[order], succeeded[order], [groups[i] for i in order])
    probe = outcomes(n=50, seed=9)[0]
    assert one.predict(probe) == pytest.approx(other.predict(probe), abs=0.05)


def test_unknown_features_are_taken_to_be_average():
    features, succeeded, groups = outcomes()
    features[::3, 2] = np.nan
    model = SuccessModel().fit(features, succeeded, groups)
    probe = np.array([[1.2, 2, np.nan], [2.2, 2, np.nan]])
    assert model.predict(probe)[0] < model.predict(probe)[1]


def test_all_failures_on_one_bulk_are_no_proof():
    features, _, groups = outcomes()
    succeeded = np.array([group != "bulk-3" for group in groups])
    model = SuccessModel().fit(features, succeeded, groups)
    assert model.predict(outcomes(n=100, seed=4)[0]).min() > 0.5
