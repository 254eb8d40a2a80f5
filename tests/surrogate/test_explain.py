"""Explanations divide predictions fairly, and find what a made-up law depends on."""

from __future__ import annotations

from itertools import permutations
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surrogate.explain import (
    DESCRIPTORS,
    element_dependence,
    explain,
    held_out_importances,
    shapley_values,
    substitutions,
    survey,
)
from surrogate.hybrids import AROUND, BINDERS, COORDINATION, CRYSTAL, FACTS, KIND, hybrid
from surrogate.models import AdsorptionSurrogate
from tests.surrogate.test_hybrids import hollow, top, whole_sites
from tests.surrogate.worlds import METALS, law, random_environments

worths = arrays(float, 16, elements=st.floats(-5, 5))
backgrounds = st.lists(whole_sites(), min_size=1, max_size=3)


def arbitrary(sites):
    """ΔE without rhyme or reason, that depends on everything."""
    numbers = np.array([crc32(repr(site).encode()) for site in sites])
    return numbers % 1000 / 500.0 - 1.0, np.full(len(sites), 0.1)


def lawful(sites):
    return law(sites), np.full(len(sites), 0.1)


def blind_to_the_crystal(sites):
    numbers = np.array([crc32(repr((s.first_shell, s.second_shell, s.neighbours)).encode()) for s in sites])
    return numbers % 1000 / 500.0 - 1.0, np.full(len(sites), 0.1)


@settings(max_examples=25, deadline=None)
@given(whole_sites(), backgrounds)
def test_contributions_sum_to_the_prediction_less_that_of_the_typical_site(site, background):
    found = explain(arbitrary, site, background)
    assert found.predicted_ev == pytest.approx(arbitrary([site])[0][0])
    assert found.typical_ev == pytest.approx(arbitrary(background)[0].mean())
    assert sum(found.by_fact.values()) == pytest.approx(found.predicted_ev - found.typical_ev)


@settings(max_examples=25, deadline=None)
@given(whole_sites(), backgrounds)
def test_what_the_model_does_not_look_at_contributes_nothing(site, background):
    found = explain(blind_to_the_crystal, site, background).by_fact
    for fact in set(FACTS) - {BINDERS, KIND, AROUND, COORDINATION}:
        assert found[fact] == pytest.approx(0.0, abs=1e-12)


@given(worths)
def test_shapley_values_are_the_mean_over_all_orders(worth):
    means = np.zeros(4)
    orders = list(permutations(range(4)))
    for order in orders:
        members = 0
        for player in order:
            means[player] += (worth[members | 1 << player] - worth[members]) / len(orders)
            members |= 1 << player
    assert shapley_values(worth) == pytest.approx(means)


@given(worths)
def test_players_that_do_the_same_get_the_same(worth):
    swapped = [(s & ~3) | ((s & 1) << 1) | ((s >> 1) & 1) for s in range(16)]
    first, second, *_ = shapley_values((worth + worth[swapped]) / 2)
    assert first == pytest.approx(second)


def test_effects_that_add_up_are_told_apart():
    """ΔE = 0.1 per binding atom + 0.01 Å³⁻¹ × volume: each is found, whatever the other facts are."""

    def predict(sites):
        atoms = np.array([sum(n for _, n in site.first_shell) for site in sites])
        volumes = np.array([site.bulk.volume_per_atom for site in sites])
        return 0.1 * atoms + 0.01 * volumes, np.ones(len(sites))

    found = explain(predict, hollow("Cu", "Al"), [top("Pd", "Pd"), hollow("Ag", "Ag")])
    assert found.by_fact[KIND] == pytest.approx(0.1)  # 3 atoms against 2 on average
    assert found.by_fact[CRYSTAL] == pytest.approx(0.01 * (12.0 - 13.5))
    assert found.by_fact[BINDERS] == pytest.approx(0.0, abs=1e-12)


def test_nothing_is_explained_against_nothing():
    with pytest.raises(ValueError, match="no site to compare"):
        explain(lawful, hollow("Cu", "Cu"), [])
    with pytest.raises(ValueError, match="no site to explain"):
        survey(lawful, [], [hollow("Cu", "Cu")])


def test_substitutions_say_what_the_surrogate_says_of_the_other_site():
    rows = substitutions(lawful, hollow("Cu", "Al"), METALS)
    assert len(rows) == 2 * (len(METALS) - 1)
    sizes = [abs(row.change_ev) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    # The law: -1.5 eV per unit of the mean electronegativity of the binding atoms.
    gold = next(row for row in rows if row.is_binding and row.new == "Au")
    assert gold.change_ev == pytest.approx(-1.5 * (2.54 - 1.90) / 3)
    assert all(row.change_ev == 0.0 for row in rows if not row.is_binding)


def test_a_survey_is_the_mean_of_explanations():
    sites, background = [hollow("Cu", "Al"), top("Pd", "Cu")], [hollow("Ag", "Ag"), top("Au", "Pt")]
    found = survey(arbitrary, sites, background)
    each = [explain(arbitrary, site, background).by_fact for site in sites]
    for fact, size in found.importances().items():
        assert size == pytest.approx(np.mean([abs(one[fact]) for one in each]))
    given_gold = [hybrid(site, background[1], set(FACTS) - {BINDERS}) for site in sites]
    assert found.dependence[1, FACTS.index(BINDERS)] == pytest.approx(arbitrary(given_gold)[0].mean())


def test_the_dependence_on_an_element_follows_the_law():
    found = element_dependence(lawful, [hollow("Cu", "Al"), top("Pd", "Cu")], ("Al", "Cu", "Au"))
    # Electronegativities 1.61, 1.90, 2.54 in the law of tests/surrogate/worlds.py.
    assert [found[e] for e in ("Al", "Cu", "Au")] == pytest.approx([0.135, -0.3, -1.26])


def test_scrambling_what_the_law_depends_on_costs_accuracy_and_the_rest_does_not():
    environments = random_environments(60)
    growth = held_out_importances(
        lambda: AdsorptionSurrogate("CO", "gaussian_process"),
        environments,
        law(environments),
        [f"bulk-{i % 15}" for i in range(60)],
    )
    assert growth is not None
    assert growth[BINDERS] > 0.1
    assert all(abs(x) < 0.2 * growth[BINDERS] for fact, x in growth.items() if fact != BINDERS)


def test_with_few_crystals_nothing_can_be_held_out():
    environments = random_environments(8)
    found = held_out_importances(
        lambda: AdsorptionSurrogate("CO"), environments, law(environments), ["one"] * 8
    )
    assert found is None


def test_descriptors_are_numbers_of_their_sites():
    site = hollow("Cu", "Al")
    values = {d.words: d.of(site) for d in DESCRIPTORS}
    assert values["electronegativity of the binding elements"] == pytest.approx(1.90)
    assert values["electronegativity of the neighbouring elements"] == pytest.approx(1.61)
    assert values["binding atoms"] == 3
    assert values["neighbours of a binding atom"] == 9
    # 12 Å³ per atom against 7.11 cm³/mol.
    assert values["volume of the crystal against its elements"] == pytest.approx(12.0 * 0.602214076 / 7.11)
