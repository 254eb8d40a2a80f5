import math

import numpy as np
import pytest
from ase.collections import dcdft
from ase.data import covalent_radii as of_ase
from pymatgen.core import Element

from surrogate.fragment_properties import (
    HEAVIEST,
    PROPERTIES,
    TABULATED,
    covalent_radii,
    element_properties,
    unlabelled,
)

SOURCES = {
    "atomic mass": "Atomic mass", "electronegativity": "X", "electron affinity": "Electron affinity",
    "atomic radius": "Atomic radius", "van der Waals radius": "Van der waals radius",
    "molar volume": "Molar volume", "melting point": "Melting point", "boiling point": "Boiling point",
}  # fmt: skip
IONISATION = ("first ionisation energy", "second ionisation energy", "third ionisation energy")


def column(name):
    return element_properties()[:, PROPERTIES.index(name)]


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_is_that_of_its_source(name):
    elements = [Element.from_Z(z) for z in range(1, HEAVIEST + 1)]
    given = {i: e.data.get(SOURCES[name]) for i, e in enumerate(elements)}
    known = {i: float(v) for i, v in given.items() if isinstance(v, int | float) and not math.isnan(v)}
    assert len(known) > 80
    np.testing.assert_allclose(column(name)[list(known)], list(known.values()), rtol=1e-3)


def test_ionisation_energies_conductivities_and_elemental_crystals_are_those_of_their_sources():
    for z in range(3, HEAVIEST + 1):
        element = Element.from_Z(z)
        found = [column(name)[z - 1] for name in IONISATION]
        np.testing.assert_allclose(found, element.ionization_energies[:3], rtol=1e-4)
        if z != 87:
            conductivity = element.data["Thermal conductivity"]
            assert column("thermal conductivity")[z - 1] == pytest.approx(np.log10(conductivity), abs=1e-4)
    for symbol, found in dcdft.data.items():
        i = Element(symbol).Z - 1
        assert column("elemental bulk modulus")[i] == pytest.approx(found["wien2k_B"], rel=1e-4)
        assert column("elemental volume per atom")[i] == pytest.approx(found["wien2k_volume"], rel=1e-4)


def test_covalent_radii_are_cordero_s():
    np.testing.assert_allclose(covalent_radii(), of_ase[1 : HEAVIEST + 1], atol=1e-9)


def test_a_gap_is_the_mean_of_its_column_of_the_periodic_table():
    bulk_modulus = column("elemental bulk modulus")
    scandium, yttrium, lutetium = (bulk_modulus[Element(s).Z - 1] for s in ("Sc", "Y", "Lu"))
    expected = (scandium + yttrium + lutetium) / 3
    assert bulk_modulus[Element("Ce").Z - 1] == pytest.approx(expected)
    assert np.isfinite(element_properties()).all()
    assert set(TABULATED) < set(PROPERTIES)


def test_derived_properties_follow_from_the_tabulated():
    copper, lead = Element("Cu"), Element("Pb")
    assert column("valence electrons")[[copper.Z - 1, lead.Z - 1]].tolist() == [11, 4]
    hardness = (copper.ionization_energy - copper.electron_affinity) / 2
    assert column("chemical hardness")[copper.Z - 1] == pytest.approx(hardness, rel=1e-4)
    assert column("effective charge")[0] == pytest.approx(1.0, abs=1e-3)  # hydrogen


def test_elements_beyond_plutonium_have_no_labels():
    assert unlabelled({"Cu", "Am", "Lr"}) == ["Am", "Lr"]
