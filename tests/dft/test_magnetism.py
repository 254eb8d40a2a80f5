from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bcc100, fcc111
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.data import atomic_numbers

from config.recipe import RecipeSettings
from dft.jobs import AtomsRecord, CalculationKind
from dft.magnetism import (
    OTHER_STATE,
    change_beside_adsorbate,
    initial_moments,
    local_moments,
    starting_moments,
)
from dft.relaxation import relax


def test_nonmagnetic_structures_get_no_moments():
    assert initial_moments([atomic_numbers[s] for s in ("Cu", "Pd", "H")]) is None


def test_every_magnetic_element_starts_with_a_moment_and_others_with_none():
    for symbol in ("Cr", "Mn", "Fe", "Co", "Ni"):
        moments = initial_moments([atomic_numbers[symbol], atomic_numbers["Cu"]])
        assert moments is not None
        assert moments[0] > 0.5
        assert moments[1] == 0.0


def test_moments_that_a_structure_brings_along_go_before_those_of_its_elements():
    slab = fcc111("Ni", (1, 1, 3), a=3.52, vacuum=4.0)
    slab.set_initial_magnetic_moments(None)
    assert starting_moments("auto", slab) == initial_moments(slab.numbers)
    slab.set_initial_magnetic_moments([0.61, 0.58, 0.70])
    assert starting_moments("auto", slab) == [0.61, 0.58, 0.70]
    slab.set_initial_magnetic_moments([0.0, 0.0, 0.0])
    assert starting_moments("auto", slab) == [0.0, 0.0, 0.0]
    assert starting_moments("never", slab) is None


@pytest.mark.parametrize(
    ("found", "kept"),
    [([0.012, -0.03], [0.0, 0.0]), ([0.6149, -0.004], [0.61, 0.0]), ([-2.2, 2.2], [-2.2, 2.2])],
)
def test_a_structure_counts_as_magnetic_when_one_of_its_atoms_is(found, kept):
    atoms = Atoms("NiAl", positions=[[0, 0, 0], [0, 0, 2.5]])
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, magmoms=np.array(found))
    assert local_moments(atoms) == kept
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    assert local_moments(atoms) is None


def test_moments_survive_the_job_files_and_an_added_adsorbate():
    slab = fcc111("Ni", (1, 1, 2), a=3.52, vacuum=4.0)
    for moments in ([0.7, 0.6], [0.0, 0.0]):
        slab.set_initial_magnetic_moments(moments)
        again = AtomsRecord.model_validate_json(AtomsRecord.from_atoms(slab).model_dump_json()).to_atoms()
        add_adsorbate(again, "H", 1.0, (0.0, 0.0))
        assert again.has("initial_magmoms")
        assert list(again.get_initial_magnetic_moments()) == [*moments, 0.0]


@pytest.mark.parametrize(
    ("under_the_adsorbate", "beside", "tells"),
    [(0.05, 0.60, False), (0.62, 0.0, True), (0.62, -0.62, True), (0.9, 0.75, False)],
)
def test_only_atoms_that_the_adsorbate_does_not_touch_tell_of_another_state(
    under_the_adsorbate, beside, tells
):
    slab = fcc111("Ni", (2, 2, 2), a=3.52, vacuum=5.0)
    slab.set_initial_magnetic_moments([0.62] * 8)
    adslab = slab.copy()
    add_adsorbate(adslab, "H", 1.5, "ontop")
    moments = [0.62] * 9
    touched = int(np.argmin(adslab.get_distances(8, range(8), mic=True)))
    moments[touched], moments[(touched + 1) % 4], moments[8] = under_the_adsorbate, beside, 0.0
    adslab.set_initial_magnetic_moments(moments)
    change = change_beside_adsorbate(slab, adslab, 1)
    assert change is not None
    assert (change > OTHER_STATE) is tells


def test_nothing_is_told_where_moments_are_not_known():
    slab = fcc111("Cu", (1, 1, 2), a=3.6, vacuum=5.0)
    adslab = slab.copy()
    add_adsorbate(adslab, "H", 1.5, "ontop")
    assert change_beside_adsorbate(slab, adslab, 1) is None


@pytest.mark.gpaw
def test_an_adslab_goes_on_in_the_magnetic_state_of_its_slab(tmp_path):
    """H on one layer of iron, at settings that only have to be the same for both."""
    recipe = RecipeSettings(cutoff_ev=250.0, slab_kpoint_density=0.8, smearing_ev=0.2)
    slab = bcc100("Fe", (1, 1, 1), a=2.87, vacuum=4.0)
    slab.set_initial_magnetic_moments(None)
    slab.set_constraint(FixAtoms([0]))
    bare = relax(recipe, slab, CalculationKind.SLAB, tmp_path)
    assert bare.magnetic_moment is not None
    assert bare.magnetic_moment > 2.0
    covered = bare.atoms.copy()
    add_adsorbate(covered, "H", 1.6, "ontop")
    covered.set_constraint(FixAtoms([0, 1]))
    assert covered.get_initial_magnetic_moments()[0] == pytest.approx(bare.magnetic_moment, abs=0.5)
    (tmp_path / "adslab").mkdir()
    adslab = relax(recipe, covered, CalculationKind.ADSLAB, tmp_path / "adslab")
    assert adslab.magnetic_moment is not None
    assert adslab.magnetic_moment > 1.5
