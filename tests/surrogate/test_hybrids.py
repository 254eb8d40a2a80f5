"""Sites put together from facts about two others are sites that could exist."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogate.element_properties import element_property
from surrogate.elements import atomic_number
from surrogate.geometry import COLUMNS, PROPERTIES, SHELLS_A
from surrogate.hybrids import (
    AROUND,
    BINDERS,
    COORDINATION,
    CRYSTAL,
    FACTS,
    KIND,
    hybrid,
    told,
    with_binders,
    with_one_binder,
    with_one_neighbour,
)
from surrogate.sites import BulkContext, SiteEnvironment, SiteGeometry, shell_of
from tests.surrogate.worlds import METALS


def total(shell):
    return sum(n for _, n in shell)


@st.composite
def whole_sites(draw) -> SiteEnvironment:
    """Sites of which the neighbours are known: each binding atom touches all the others."""
    symbols = st.sampled_from(METALS)
    atoms = draw(st.lists(symbols, min_size=1, max_size=4))
    outer = [draw(st.lists(symbols, min_size=1, max_size=8)) for _ in atoms]
    pairs = [
        (a, [*atoms[:i], *atoms[i + 1 :], *around])
        for i, (a, around) in enumerate(zip(atoms, outer, strict=True))
    ]
    everyone = sorted({*atoms, *(a for around in outer for a in around)})
    bulk = BulkContext(
        composition=tuple((a, 1) for a in everyone),
        volume_per_atom=draw(st.floats(10.0, 25.0)),
        bonds=tuple((a, a, draw(st.floats(2.2, 3.2))) for a in everyone),
    )
    numbers = draw(st.lists(st.floats(-2, 2, width=16), min_size=len(COLUMNS), max_size=len(COLUMNS)))
    return SiteEnvironment(
        geometry=SiteGeometry.of(np.array(numbers)),
        first_shell=shell_of(atoms),
        second_shell=shell_of(a for around in outer for a in around),
        neighbours=tuple(sorted((a, shell_of(around)) for a, around in pairs)),
        bulk=bulk,
        miller=draw(st.sampled_from([(1, 1, 1), (1, 0, 0)])),
        beneath=shell_of(draw(st.lists(symbols, max_size=1))),
    )


few = settings(max_examples=40, deadline=None)
facts = st.sets(st.sampled_from(FACTS))


def hollow(binder: str, around: str) -> SiteEnvironment:
    """Hollow of a close-packed face, binding atoms of one element: nine neighbours each, two that bind."""
    shell = shell_of([*(binder,) * 2, *(around,) * 7])
    bulk = BulkContext(((binder, 1),), 12.0, ((binder, binder, 2.6),))
    return SiteEnvironment(((binder, 3),), ((around, 15),), ((binder, shell),) * 3, bulk)


def top(binder: str, around: str) -> SiteEnvironment:
    bulk = BulkContext(((binder, 1),), 15.0, ((binder, binder, 2.9),))
    return SiteEnvironment(((binder, 1),), ((around, 9),), ((binder, ((around, 9),)),), bulk)


@few
@given(whole_sites(), whole_sites())
def test_all_facts_of_one_site_are_that_site(site, other):
    assert hybrid(site, other, set(FACTS)) is site
    assert hybrid(site, other, set()) is other


@few
@given(whole_sites(), facts)
def test_a_site_and_itself_are_itself(site, taken):
    twin = SiteEnvironment(**{f.name: getattr(site, f.name) for f in fields(site)})
    assert hybrid(site, twin, taken) == site


@few
@given(whole_sites(), whole_sites(), facts)
def test_every_fact_is_of_the_site_it_is_taken_from(site, other, taken):
    made = hybrid(site, other, taken)
    source = {fact: site if fact in taken else other for fact in FACTS}
    assert total(made.first_shell) == total(source[KIND].first_shell)
    assert dict(made.first_shell).keys() <= dict(source[BINDERS].first_shell).keys()
    assert dict(made.second_shell).keys() <= dict(source[AROUND].second_shell).keys()
    most = {total(shell) for _, shell in source[COORDINATION].neighbours}
    least = total(made.first_shell) - 1  # the others that bind are neighbours in any case
    assert {total(shell) for _, shell in made.neighbours} <= {max(n, least) for n in most}
    for fact in set(FACTS) - {BINDERS, KIND, AROUND, COORDINATION, CRYSTAL}:
        assert told(fact, made) == told(fact, source[fact])


@few
@given(whole_sites(), whole_sites(), facts)
def test_neighbours_agree_with_the_shells(site, other, taken):
    made = hybrid(site, other, taken)
    assert shell_of(symbol for symbol, _ in made.neighbours) == made.first_shell
    known = dict(made.first_shell).keys() | dict(made.second_shell).keys()
    assert {symbol for _, shell in made.neighbours for symbol, _ in shell} <= known


@few
@given(whole_sites(), whole_sites(), facts)
def test_the_crystal_knows_the_bonds_of_every_binding_element(site, other, taken):
    made = hybrid(site, other, taken)
    bonded = {symbol for a, b, _ in made.bulk.bonds for symbol in (a, b)}
    assert dict(made.first_shell).keys() <= bonded


def test_binding_atoms_see_the_new_element_beside_them():
    made = hybrid(hollow("Pd", "Al"), hollow("Cu", "Cu"), {BINDERS})
    assert made.first_shell == (("Pd", 3),)
    assert made.second_shell == (("Cu", 15),)
    assert made.neighbours == (("Pd", (("Cu", 7), ("Pd", 2))),) * 3


def test_another_site_type_keeps_elements_and_coordination():
    made = hybrid(top("Cu", "Cu"), hollow("Pd", "Pd"), {KIND})
    assert made.first_shell == (("Pd", 1),)
    assert made.neighbours == (("Pd", (("Pd", 9),)),)
    assert told(KIND, made) == "top"


def test_a_mixed_hollow_lends_a_top_its_commoner_element():
    mixed = SiteEnvironment((("Cu", 2), ("Pd", 1)), (("Cu", 9),))
    assert hybrid(mixed, top("Al", "Al"), {BINDERS}).first_shell == (("Cu", 1),)


def test_an_element_that_a_crystal_lacks_is_strained_as_the_crystal():
    stretched = hollow("Cu", "Cu")
    made = with_binders(stretched, "Ag")
    lengths = {a: length for a, _, length in made.bulk.bonds}
    # Of close-packed crystals of 10.27 and 7.11 cm³/mol.
    assert lengths["Ag"] / lengths["Cu"] == pytest.approx((10.27 / 7.11) ** (1 / 3))


def test_one_binding_atom_is_exchanged_everywhere():
    made = with_one_binder(hollow("Cu", "Al"), "Cu", "Pd")
    assert made.first_shell == (("Cu", 2), ("Pd", 1))
    around = Counter(made.neighbours)
    assert around == {
        ("Cu", (("Al", 7), ("Cu", 1), ("Pd", 1))): 2,
        ("Pd", (("Al", 7), ("Cu", 2))): 1,
    }


def test_one_neighbour_is_exchanged_for_the_atoms_that_touch_it():
    made = with_one_neighbour(hollow("Cu", "Al"), "Al", "Pd")
    assert made.first_shell == (("Cu", 3),)
    assert made.second_shell == (("Al", 14), ("Pd", 1))
    # 21 contacts of 15 neighbours: one each.
    assert sorted(dict(shell).get("Pd", 0) for _, shell in made.neighbours) == [0, 0, 1]
    with pytest.raises(ValueError, match="no neighbour is Cu"):
        with_one_neighbour(hollow("Cu", "Al"), "Cu", "Pd")


def test_facts_are_told_in_the_fields_words():
    site = hollow("Cu", "Al")
    assert [told(fact, site) for fact in (BINDERS, KIND, AROUND, COORDINATION, CRYSTAL)] == [
        "Cu3", "hollow of 3", "Al15", "9 neighbours", "Cu, 12.0 Å³ per atom"
    ]  # fmt: skip
    bare = SiteEnvironment((("Cu", 1),), ())
    assert {told(fact, bare) for fact in FACTS if fact not in {BINDERS, KIND}} == {"not known"}


def test_the_distances_stay_where_elements_change():
    """Sums over plain atoms are kept; those by properties become those of the new element."""
    plain = np.linspace(0.1, 2.0, len(SHELLS_A))
    weights = {metal: geometry_of_one(metal) for metal in ("Cu", "Pd")}
    copper = SiteGeometry.of(plain[:, None] * np.r_[1.0, weights["Cu"]])
    site = replace(hollow("Cu", "Cu"), geometry=copper)
    made = hybrid(hollow("Pd", "Pd"), site, {BINDERS, AROUND}).geometry
    expected = plain[:, None] * np.r_[1.0, weights["Pd"]]
    assert made.values() == pytest.approx(expected.ravel(), abs=1e-3)


def geometry_of_one(metal: str) -> np.ndarray:
    """Properties of an element as the geometry is weighted by them."""
    names = list(PROPERTIES)
    tables = [element_property(name) for name in names]
    return np.array([(t[atomic_number(metal) - 1] - t.mean()) / t.std() for t in tables])
