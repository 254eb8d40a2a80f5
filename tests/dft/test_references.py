from __future__ import annotations

import numpy as np
import pytest

from config.adsorbates import REFERENCE_MOLECULES, composition
from config.recipe import RecipeSettings
from dft.jobs import AtomsRecord, CalculationKind
from dft.references import gas_atoms
from dft.relaxation import relax


@pytest.mark.parametrize("molecule", REFERENCE_MOLECULES)
def test_molecule_sits_in_the_middle_of_a_periodic_box(molecule):
    atoms = gas_atoms(molecule, 7.0)
    assert atoms.pbc.all()
    assert atoms.cell.lengths().min() == pytest.approx(7.0)
    middle = (atoms.positions.max(axis=0) + atoms.positions.min(axis=0)) / 2
    assert np.allclose(middle, atoms.cell.lengths() / 2)


@pytest.mark.parametrize("molecule", REFERENCE_MOLECULES)
def test_molecule_has_the_atoms_that_balances_count_on(molecule):
    symbols = gas_atoms(molecule, 7.0).get_chemical_symbols()
    assert {s: symbols.count(s) for s in symbols} == composition({molecule: 1.0})


@pytest.mark.parametrize("molecule", REFERENCE_MOLECULES)
def test_unpaired_electrons_have_their_moment_and_reach_the_job(molecule):
    atoms = AtomsRecord.from_atoms(gas_atoms(molecule, 7.0)).to_atoms()
    assert sum(atoms.numbers) % 2 == atoms.get_initial_magnetic_moments().sum()


@pytest.mark.gpaw
def test_nitric_oxide_keeps_its_unpaired_electron(tmp_path):
    recipe = RecipeSettings(cutoff_ev=250.0, gas_box_a=5.0, fmax_ev_per_a=1.0, max_steps=15)
    start = gas_atoms("NO", recipe.gas_box_a)
    polarised = relax(recipe, start, CalculationKind.GAS, tmp_path)
    assert polarised.magnetic_moment == pytest.approx(1.0, abs=0.02)
    # Of the spin density GPAW gives to atoms what lies in their augmentation spheres.
    assert all(0.1 < moment < 1.0 for moment in AtomsRecord.from_atoms(polarised.atoms).moments)
    (tmp_path / "never").mkdir()
    without = relax(
        recipe.model_copy(update={"spin": "never"}), start, CalculationKind.GAS, tmp_path / "never"
    )
    assert without.magnetic_moment is None
    assert polarised.energy_ev < without.energy_ev - 0.05
