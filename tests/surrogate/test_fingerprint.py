from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogate.elements import atomic_number, counts_by_element
from surrogate.fingerprint import (
    GaspyFingerprint,
    embedding,
)
from surrogate.prior import PRIORS, prior_of
from surrogate.sites import SiteEnvironment, environment_labels
from tests.surrogate.worlds import environments, law, random_environments

CO = PRIORS["CO"]


def fitted(n: int = 60) -> GaspyFingerprint:
    train = random_environments(n)
    return GaspyFingerprint(CO).fit(train, law(train))


def pure(symbol: str, n: int = 3) -> SiteEnvironment:
    return SiteEnvironment(((symbol, n),), ((symbol, 9),))


def reference(fingerprint: GaspyFingerprint, symbol: str) -> float:
    return float(fingerprint.references_[atomic_number(symbol) - 1])


@settings(deadline=None)
@given(environments(), st.randoms())
def test_order_of_elements_in_a_shell_is_immaterial(environment, random):
    first, second = list(environment.first_shell), list(environment.second_shell)
    random.shuffle(first)
    random.shuffle(second)
    shuffled = SiteEnvironment(tuple(first), tuple(second))
    fingerprint = fitted()
    assert np.array_equal(fingerprint.transform([environment]), fingerprint.transform([shuffled]))
    assert environment_labels([environment, shuffled]).tolist() == [0, 0]


@settings(deadline=None)
@given(environments(), st.integers(2, 5))
def test_scaling_the_counts_scales_only_the_count_columns(environment, factor):
    def times(shell):
        return tuple((symbol, factor * count) for symbol, count in shell)

    fingerprint = fitted()
    scaled = SiteEnvironment(times(environment.first_shell), times(environment.second_shell))
    small, large = fingerprint.transform([environment, scaled])
    is_count = np.array(["count" in name for name in fingerprint.get_feature_names_out()])
    assert np.array_equal(large[is_count], factor * small[is_count])
    assert np.array_equal(large[~is_count], small[~is_count])


@settings(deadline=None)
@given(st.lists(environments(), min_size=1, max_size=5))
def test_counts_can_be_read_back_from_the_features(sites):
    names = fitted().get_feature_names_out()
    for shell in ("first", "second"):
        counts = counts_by_element([getattr(site, f"{shell}_shell") for site in sites])
        columns = [i for i, name in enumerate(names) if name.startswith(shell)]
        slots = fitted().transform(sites)[:, columns].reshape(len(sites), -1, 4)
        for row, slot_list in enumerate(slots):
            read = np.zeros(len(counts[row]))
            for number, _, count, _ in slot_list:
                read[round(number) - 1] += count
            assert np.array_equal(read, counts[row])


@settings(deadline=None)
@given(st.lists(environments(), min_size=1, max_size=5))
def test_features_are_finite_and_as_many_as_their_names(sites):
    fingerprint = fitted()
    features = fingerprint.transform(sites)
    assert features.shape == (len(sites), len(fingerprint.get_feature_names_out()))
    assert np.isfinite(features).all()


def test_equal_environments_share_a_label_and_a_place():
    sites = [pure("Cu"), pure("Pd"), SiteEnvironment((("Cu", 1), ("Cu", 2)), (("Cu", 9),))]
    assert environment_labels(sites).tolist() == [0, 1, 0]
    places = embedding(sites)
    assert np.array_equal(places[0], places[2])
    assert not np.array_equal(places[0], places[1])


def test_a_fourth_element_drops_the_one_with_fewest_atoms():
    shell = (("Al", 2), ("Cu", 3), ("Pd", 4), ("Pt", 1))
    slots = fitted().transform([SiteEnvironment(shell, ())]).reshape(2, -1, 4)[0]
    assert slots[:, 2].sum() == 9
    assert atomic_number("Pt") not in slots[:, 0]


def test_no_observations_leave_every_reference_at_the_prior():
    fingerprint = GaspyFingerprint(CO).fit([], np.empty(0))
    assert np.allclose(fingerprint.references_, CO.mean_ev)


def test_reference_approaches_the_median_on_the_pure_element():
    energies = np.array([-1.5, -1.4, -1.6, -1.5, -9.0] * 20)
    fingerprint = GaspyFingerprint(CO).fit([pure("Pt")] * 100, energies)
    assert reference(fingerprint, "Pt") == pytest.approx(-1.5, abs=0.05)


def test_unseen_element_follows_its_family_more_than_a_stranger():
    fingerprint = GaspyFingerprint(CO).fit([pure("Pt"), pure("Al")], np.array([-2.0, 0.5]))
    assert reference(fingerprint, "Pd") < CO.mean_ev < reference(fingerprint, "Ga")


def test_references_learn_from_alloys_too():
    alloy = SiteEnvironment((("Pd", 3),), (("Pd", 5), ("Al", 4)))
    fingerprint = GaspyFingerprint(CO).fit([alloy] * 10, np.full(10, -1.6))
    assert reference(fingerprint, "Pd") == pytest.approx(-1.6, abs=0.1)


def test_an_adsorbate_without_published_statistics_takes_its_prior_from_its_own_observations():
    assert prior_of("CO", np.full(50, 3.0)) == CO
    nothing_known = prior_of("OOH")
    assert nothing_known.std_ev > 1.0
    rng = np.random.default_rng(2)
    for n, tolerance in ((20, 0.5), (500, 0.1)):
        learnt = prior_of("OOH", rng.normal(3.6, 0.4, n))
        assert learnt.mean_ev == pytest.approx(3.6, abs=tolerance)
        assert learnt.std_ev == pytest.approx(0.4, abs=2 * tolerance)
    assert prior_of("OOH", np.array([3.6])).std_ev > 1.0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="n_elements_per_shell"):
        GaspyFingerprint(CO, n_elements_per_shell=0)
