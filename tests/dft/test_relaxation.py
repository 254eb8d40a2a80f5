from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.constraints import FixAtoms
from ase.io import read

from config.recipe import RecipeSettings
from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import TRAJECTORY_FILE, CalculationKind
from dft.references import gas_atoms
from dft.relaxation import relax


def oxygen_on_copper() -> Atoms:
    slab = fcc111("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0, 1]))
    add_adsorbate(slab, "O", 1.5, "fcc")
    return slab


def test_only_free_atoms_move_and_forces_vanish(emt_recipe, tmp_path):
    start = oxygen_on_copper()
    relaxed = relax(emt_recipe, start, CalculationKind.ADSLAB, tmp_path)
    moved = np.linalg.norm(relaxed.atoms.positions - start.positions, axis=1)
    assert np.all(moved[:2] == 0)
    assert np.all(moved[2:] > 0.01)
    assert relaxed.fmax_ev_per_a is not None
    assert relaxed.fmax_ev_per_a <= emt_recipe.fmax_ev_per_a
    assert len(read(tmp_path / TRAJECTORY_FILE, index=":")) == relaxed.n_steps + 1


def test_start_is_left_alone_and_end_carries_no_calculator(emt_recipe, tmp_path):
    start = oxygen_on_copper()
    before = start.positions.copy()
    relaxed = relax(emt_recipe, start, CalculationKind.ADSLAB, tmp_path)
    assert np.array_equal(start.positions, before)
    assert start.calc is None
    assert relaxed.atoms.calc is None


def test_a_slab_without_free_atoms_is_a_single_point(emt_recipe, tmp_path):
    slab = oxygen_on_copper()[:3]
    slab.set_constraint(FixAtoms(range(3)))
    relaxed = relax(emt_recipe, slab, CalculationKind.SLAB, tmp_path)
    assert (relaxed.n_steps, relaxed.fmax_ev_per_a) == (0, None)
    assert np.array_equal(relaxed.atoms.positions, slab.positions)


def test_running_out_of_steps_fails_with_its_code(emt_recipe, tmp_path):
    recipe = emt_recipe.model_copy(update={"max_steps": 1, "fmax_ev_per_a": 0.001})
    with pytest.raises(CalculationFailedError) as caught:
        relax(recipe, oxygen_on_copper(), CalculationKind.ADSLAB, tmp_path)
    assert caught.value.code is FailureCode.RELAXATION_NOT_CONVERGED


@pytest.mark.gpaw
def test_gpaw_gives_hydrogen_its_bond_length(tmp_path):
    recipe = RecipeSettings(cutoff_ev=300.0, fmax_ev_per_a=0.05)
    relaxed = relax(recipe, gas_atoms("H2", 5.0), CalculationKind.GAS, tmp_path)
    # RPBE: 0.75 Å (experiment 0.741 Å).
    assert relaxed.atoms.get_distance(0, 1) == pytest.approx(0.75, abs=0.01)


@pytest.mark.gpaw
def test_adsorption_energy_does_not_depend_on_where_the_slab_lies(
    cheap_recipe, hydrogen_on_aluminium, tmp_path
):
    moved = hydrogen_on_aluminium.copy()
    moved.set_constraint()
    moved.positions += (0.7, -0.4, 0.9)
    moved.set_constraint(FixAtoms([0, 1]))
    here = relax(cheap_recipe, hydrogen_on_aluminium, CalculationKind.ADSLAB, tmp_path)
    there = relax(cheap_recipe, moved, CalculationKind.ADSLAB, tmp_path)
    assert there.energy_ev == pytest.approx(here.energy_ev, abs=1e-6)
    assert np.allclose(there.atoms.positions[:2], moved.positions[:2])
    assert there.atoms.get_distance(1, 2) == pytest.approx(here.atoms.get_distance(1, 2), abs=1e-5)


@pytest.mark.gpaw
def test_a_slab_with_only_its_bottom_fixed_relaxes(cheap_recipe, tmp_path):
    slab = fcc111("Al", (1, 1, 3), a=4.05, vacuum=3.5)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0]))
    relaxed = relax(cheap_recipe, slab, CalculationKind.SLAB, tmp_path)
    assert relaxed.fmax_ev_per_a is not None
    assert relaxed.atoms.positions[0] == pytest.approx(slab.positions[0])


@pytest.mark.gpaw
def test_dipole_correction_runs_and_gives_back_the_slabs_own_boundary_conditions(
    cheap_recipe, hydrogen_on_aluminium, tmp_path
):
    recipe = cheap_recipe.model_copy(update={"dipole_correction": True})
    plain = relax(cheap_recipe, hydrogen_on_aluminium, CalculationKind.ADSLAB, tmp_path)
    corrected = relax(recipe, hydrogen_on_aluminium, CalculationKind.ADSLAB, tmp_path)
    assert corrected.atoms.pbc.all()
    assert corrected.energy_ev == pytest.approx(plain.energy_ev, abs=0.1)
    assert corrected.energy_ev != plain.energy_ev


@pytest.mark.gpaw
def test_magnetic_elements_are_spin_polarised_unless_the_recipe_forbids_it(cheap_recipe, tmp_path):
    slab = fcc111("Ni", (1, 1, 1), a=3.52, vacuum=3.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0]))
    polarised = relax(cheap_recipe, slab, CalculationKind.SLAB, tmp_path)
    closed = relax(cheap_recipe.model_copy(update={"spin": "never"}), slab, CalculationKind.SLAB, tmp_path)
    assert polarised.magnetic_moment is not None
    assert polarised.magnetic_moment > 0.3
    assert closed.magnetic_moment is None
    assert polarised.energy_ev < closed.energy_ev
