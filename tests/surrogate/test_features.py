from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ConfigError
from surrogate.element_properties import PROPERTIES, UNITS, element_property, property_table
from surrogate.elements import atomic_number
from surrogate.features import DEFAULT_GROUPS, GROUPS, SiteFeatures
from surrogate.sites import BulkContext, SiteEnvironment
from tests.surrogate.worlds import random_environments, shells

COPPER = BulkContext((("Cu", 1),), 11.8, (("Cu", "Cu", 2.56),))
SITE = SiteEnvironment(
    (("Cu", 2), ("Pd", 1)),
    (("Cu", 15), ("Pd", 9)),
    (("Cu", (("Cu", 6), ("Pd", 3))), ("Cu", (("Cu", 6), ("Pd", 3))), ("Pd", (("Cu", 7),))),
    COPPER,
    (1, 1, 1),
)


def column(name: str, environment: SiteEnvironment = SITE, group: str | None = None) -> float:
    features = SiteFeatures(list(GROUPS) if group is None else [group])
    return float(features.transform([environment])[0, features.get_feature_names_out().index(name)])


def of(symbol: str, name: str) -> float:
    return float(element_property(name)[atomic_number(symbol) - 1])


def sites() -> st.SearchStrategy[SiteEnvironment]:
    neighbours = st.lists(st.tuples(st.sampled_from(["Cu", "Pd", "Al"]), shells()), max_size=4).map(tuple)
    bulk = st.none() | st.builds(BulkContext, shells(), st.none() | st.floats(5.0, 40.0))
    miller = st.none() | st.tuples(*[st.integers(-2, 2)] * 3)
    beneath = st.none() | shells(min_size=0)
    return st.builds(SiteEnvironment, shells(), shells(min_size=0), neighbours, bulk, miller, beneath)


@settings(deadline=None)
@given(sites(), st.randoms())
def test_order_of_atoms_and_of_elements_is_immaterial(site, random):
    def shuffled(items):
        items = list(items)
        random.shuffle(items)
        return tuple(items)

    other = replace(
        site,
        first_shell=shuffled(site.first_shell),
        second_shell=shuffled(site.second_shell),
        neighbours=shuffled((symbol, shuffled(shell)) for symbol, shell in site.neighbours),
    )
    transform = SiteFeatures(list(GROUPS)).transform
    assert np.allclose(transform([site]), transform([other]), rtol=1e-5, equal_nan=True)


@settings(deadline=None)
@given(sites())
def test_faces_that_differ_by_signs_and_order_of_indices_are_alike(site):
    if site.miller is None:
        return
    turned = replace(site, miller=tuple(-i for i in reversed(site.miller)))
    assert np.array_equal(*(SiteFeatures(["miller"]).transform([s]) for s in (site, turned)))


@settings(deadline=None)
@given(st.lists(sites(), min_size=1, max_size=4))
def test_a_site_has_the_same_features_alone_and_among_others(group):
    features = SiteFeatures(list(GROUPS))
    together = features.transform(group)
    assert together.shape == (len(group), len(features.get_feature_names_out()))
    for row, site in zip(together, group, strict=True):
        assert np.allclose(row, features.transform([site])[0], rtol=1e-5, equal_nan=True)
    assert not np.isinf(together).any()


@settings(deadline=None)
@given(sites(), st.integers(2, 5))
def test_more_atoms_in_the_same_proportions_change_sizes_only(site, factor):
    larger = replace(site, first_shell=tuple((s, factor * n) for s, n in site.first_shell))
    transform = SiteFeatures(["first"]).transform
    assert np.allclose(transform([site]), transform([larger]), rtol=1e-4, atol=1e-3)


def test_statistics_are_those_of_the_atoms():
    values = np.array([of("Cu", "electronegativity")] * 2 + [of("Pd", "electronegativity")])
    assert column("first_mean_electronegativity") == pytest.approx(values.mean())
    assert column("first_std_electronegativity") == pytest.approx(values.std(), rel=1e-3)
    assert column("first_min_electronegativity") == pytest.approx(values.min())
    assert column("first_max_electronegativity") == pytest.approx(values.max())


def test_coordination_counts_the_neighbours_of_the_binding_atoms():
    assert column("coordination_mean") == pytest.approx((9 + 9 + 7) / 3)
    assert (column("coordination_min"), column("coordination_max")) == (7, 9)
    assert column("own_kind_share") == pytest.approx((6 / 9 + 6 / 9 + 0) / 3)


def test_binders_are_told_apart_by_their_cohesion():
    assert of("Pd", "cohesive_energy") > of("Cu", "cohesive_energy")
    assert column("strong_column") == of("Pd", "column")
    assert column("weak_column") == of("Cu", "column")
    assert column("strong_neighbours_column") == of("Cu", "column")
    assert column("strong_coordination") == 7


def test_a_pure_metal_is_hardly_strained_against_itself_and_a_stretched_one_is():
    assert column("volume_against_pure") == pytest.approx(1.0, abs=0.03)
    assert column("bond_against_pure_min") == pytest.approx(1.0, abs=0.03)
    stretched = replace(SITE, bulk=BulkContext((("Cu", 1),), 1.331 * 11.8, (("Cu", "Cu", 1.1 * 2.56),)))
    assert column("volume_against_pure", stretched) == pytest.approx(1.331 * column("volume_against_pure"))
    ratio = column("bond_against_pure_min", stretched) / column("bond_against_pure_min")
    assert ratio == pytest.approx(1.1, rel=1e-4)


def test_atoms_are_listed_with_their_neighbours_where_these_are_known():
    bare = random_environments(1)[0]
    _, atoms, counts = SiteFeatures().transform_with_atoms([bare, SITE])
    assert counts.tolist() == [0, 3]
    share = (6 * of("Cu", "column") + 3 * of("Pd", "column")) / 9
    assert atoms[0, len(PROPERTIES) + PROPERTIES.index("column")] == pytest.approx(share)
    assert atoms[:, -2].tolist() == [9, 9, 7]
    assert atoms[:, -1] == pytest.approx([6 / 9, 6 / 9, 0])


def test_hollows_are_told_apart_by_what_lies_beneath():
    fcc, hcp = replace(SITE, beneath=()), replace(SITE, beneath=(("Pd", 1),))
    assert (column("beneath_atoms", fcc), column("beneath_atoms", hcp)) == (0, 1)
    assert column("beneath_mean_column", hcp) == of("Pd", "column")
    assert np.isnan(column("beneath_mean_column", fcc))
    assert np.isnan(column("beneath_atoms"))


@pytest.mark.parametrize("group", ["coordination", "binders", "beneath", "strain", "bulk", "miller"])
def test_what_is_not_known_is_nan(group):
    bare = random_environments(3)
    assert np.isnan(SiteFeatures([group]).transform(bare)).all()
    assert np.isfinite(SiteFeatures(["first", "second", "sizes"]).transform(bare)).all()


def test_every_column_has_a_name_of_its_own_and_a_unit():
    features = SiteFeatures(list(GROUPS))
    names = features.get_feature_names_out()
    assert len(set(names)) == len(names) == len(features.units())
    assert dict(zip(names, features.units(), strict=True))["first_mean_molar_volume"] == "cm³/mol"


def test_groups_can_be_switched():
    all_names = SiteFeatures(DEFAULT_GROUPS).get_feature_names_out()
    without = SiteFeatures([g for g in DEFAULT_GROUPS if g != "strain"]).get_feature_names_out()
    assert set(all_names) - set(without) == set(GROUPS["strain"][0])
    for bad in (["shape"], []):
        with pytest.raises(ConfigError, match="feature groups"):
            SiteFeatures(bad)


def test_an_unknown_element_is_named():
    with pytest.raises(ValueError, match="'Xx'"):
        SiteFeatures().transform([SiteEnvironment((("Xx", 1),), ())])


def test_no_sites_give_an_empty_matrix():
    assert SiteFeatures().transform([]).shape == (0, len(SiteFeatures().get_feature_names_out()))


def test_property_table_is_complete_and_plausible():
    table = property_table()
    assert table.shape == (103, len(PROPERTIES)) == (103, len(UNITS))
    assert np.isfinite(table).all()
    # CRC Handbook, 97th ed.: tungsten melts last of the metals; caesium has the lowest ionisation energy.
    assert element_property("melting_point")[atomic_number("W") - 1] == pytest.approx(3695, abs=10)
    assert element_property("ionisation_energy")[: atomic_number("Rn")].argmin() + 1 == atomic_number("Cs")


@pytest.mark.parametrize(
    ("symbol", "valence", "filling"),
    [
        ("Cu", (1, 0, 10), 0.9),
        ("Ni", (2, 0, 8), 0.8),
        ("Ti", (2, 0, 2), 0.2),
        ("Al", (2, 1, 0), 1.0),
        ("Sn", (2, 2, 10), 1.0),
        ("Na", (1, 0, 0), 0.0),
        ("Pd", (0, 0, 10), 0.8),
    ],
)
def test_valence_electrons_are_those_of_the_free_atom(symbol, valence, filling):
    assert tuple(of(symbol, f"{shell}_electrons") for shell in "spd") == valence
    assert of(symbol, "d_filling") == pytest.approx(filling)
