from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.constraints import FixAtoms
from hypothesis import given, settings
from hypothesis import strategies as st

from config.recipe import RecipeSettings
from dft.calculator import build, gpaw_parameters, kpoint_mesh, symmetric_origin, symmetry_options
from dft.jobs import CalculationKind
from dft.ladders import LADDERS
from dft.recovery import Remedy
from dft.references import gas_atoms

RECIPE = RecipeSettings(slab_kpoint_density=2.0, bulk_kpoint_density=3.0)


def copper_with_hydrogen() -> Atoms:
    slab = fcc111("Cu", (1, 1, 3), a=3.7, vacuum=4.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms(range(len(slab))))
    add_adsorbate(slab, "H", 0.9, "fcc")
    return slab


def n_operations(atoms: Atoms) -> int:
    from gpaw.dft import Symmetry

    return len(Symmetry(**symmetry_options(atoms, CalculationKind.ADSLAB)).build(atoms))


def test_slab_and_adslab_share_one_mesh_with_one_point_along_the_normal():
    adslab = copper_with_hydrogen()
    mesh = kpoint_mesh(RECIPE, adslab, CalculationKind.ADSLAB)
    assert mesh == kpoint_mesh(RECIPE, adslab[:3], CalculationKind.SLAB)
    # |b| = 4π / (√3 · 2.616 Å) = 2.77 Å⁻¹, times 2.0 Å.
    assert mesh == (6, 6, 1)


def test_mesh_gets_finer_as_the_cell_gets_smaller(aluminium):
    coarse = kpoint_mesh(RECIPE, aluminium * (2, 1, 1), CalculationKind.BULK)
    fine = kpoint_mesh(RECIPE, aluminium, CalculationKind.BULK)
    assert coarse[0] < fine[0]
    assert coarse[1:] == fine[1:]


def test_rounding_noise_of_the_cell_does_not_add_kpoints():
    atoms = Atoms("Cu", cell=[np.pi, np.pi, np.pi], pbc=True)  # |b| = 2 Å⁻¹ exactly: 6 points
    noisy = atoms.copy()
    noisy.set_cell(atoms.cell * (1 - 1e-9))
    assert kpoint_mesh(RECIPE, atoms, CalculationKind.BULK) == (6, 6, 6)
    assert kpoint_mesh(RECIPE, noisy, CalculationKind.BULK) == (6, 6, 6)


def test_molecules_are_sampled_at_gamma_with_narrow_occupations():
    parameters = gpaw_parameters(RECIPE, gas_atoms("H2", 6.0), CalculationKind.GAS)
    assert parameters["kpts"]["size"] == (1, 1, 1)
    assert parameters["occupations"]["width"] < RECIPE.smearing_ev


def test_dipole_correction_is_for_slabs_only():
    recipe = RecipeSettings(dipole_correction=True)
    slab, gas = copper_with_hydrogen(), gas_atoms("H2", 6.0)
    assert "poissonsolver" in gpaw_parameters(recipe, slab, CalculationKind.ADSLAB)
    assert "poissonsolver" not in gpaw_parameters(recipe, gas, CalculationKind.GAS)
    assert "poissonsolver" not in gpaw_parameters(RECIPE, slab, CalculationKind.ADSLAB)


def test_slabs_have_a_few_empty_bands_and_a_correction_may_have_more():
    slab = copper_with_hydrogen()
    small, large = (
        gpaw_parameters(RECIPE, atoms, CalculationKind.ADSLAB)["nbands"] for atoms in (slab, slab * (3, 3, 1))
    )
    assert large < small < 0  # GPAW counts beyond the filled ones then
    assert "nbands" not in gpaw_parameters(RECIPE, gas_atoms("H2", 6.0), CalculationKind.GAS)
    (more,) = [rung for ladder in LADDERS for rung in ladder.rungs if rung.name == "more-bands"]
    corrected = gpaw_parameters(RECIPE, slab, CalculationKind.ADSLAB, Remedy((more,)))
    assert corrected["nbands"] == more.parameters["nbands"]


@pytest.mark.gpaw
def test_the_highest_band_of_a_slab_is_empty_and_more_bands_change_no_energy(
    cheap_recipe, hydrogen_on_aluminium
):
    from gpaw.new.ase_interface import GPAW

    parameters = gpaw_parameters(cheap_recipe, hydrogen_on_aluminium, CalculationKind.ADSLAB)
    energies = []
    for changed in ({}, {"nbands": "200%"}):
        calculator = GPAW(txt=None, **parameters | changed)
        energies.append(calculator.get_potential_energy(hydrogen_on_aluminium.copy()))
        highest = [float(wfs.occ_n[-1]) for wfs in calculator.dft.ibzwfs]
        assert max(highest) < 1e-6
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)


@pytest.mark.gpaw
def test_gpaw_accepts_the_parameters_of_every_kind(tmp_path):
    for kind in CalculationKind:
        calculator = build(RECIPE, copper_with_hydrogen(), kind, tmp_path / f"{kind}.txt")
        assert calculator.name == "gpaw"


def test_symmetry_keeps_no_operation_that_swaps_a_fixed_with_a_free_atom():
    slab = fcc111("Cu", (1, 1, 3), a=3.7, vacuum=4.0)
    slab.pbc = True
    slab.positions += symmetric_origin(slab)
    symmetric = n_operations(slab)
    slab.set_constraint(FixAtoms([0]))
    assert n_operations(slab) == symmetric / 2  # the inversion is gone


@settings(max_examples=20, deadline=None)
@given(x=st.floats(-3, 3), y=st.floats(-3, 3), z=st.floats(-1, 1))
def test_symmetry_found_does_not_depend_on_where_the_slab_lies(x, y, z):
    adslab = copper_with_hydrogen()
    adslab.positions += (x, y, z)
    adslab.positions += symmetric_origin(adslab)
    assert n_operations(adslab) == 6  # the hollow's C3v
