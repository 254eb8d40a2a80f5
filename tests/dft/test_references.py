from __future__ import annotations

import numpy as np
import pytest

from config.campaign import DEFAULT_TARGETS_EV
from dft.references import REFERENCES, gas_atoms


def test_every_adsorbate_has_a_reference_of_the_same_composition():
    assert set(REFERENCES) == set(DEFAULT_TARGETS_EV)
    counts = {
        adsorbate: sum(coefficient * len(gas_atoms(gas, 8.0)) for gas, coefficient in gases.items())
        for adsorbate, gases in REFERENCES.items()
    }
    assert counts == {"H": 1.0, "CO": 2.0}


@pytest.mark.parametrize("molecule", ["H2", "CO"])
def test_molecule_sits_in_the_middle_of_a_periodic_box(molecule):
    atoms = gas_atoms(molecule, 7.0)
    assert atoms.pbc.all()
    assert atoms.cell.lengths().min() == pytest.approx(7.0)
    middle = (atoms.positions.max(axis=0) + atoms.positions.min(axis=0)) / 2
    assert np.allclose(middle, atoms.cell.lengths() / 2)
