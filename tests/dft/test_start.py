"""An adsorbate starts where finished calculations say that its bonds end."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100, fcc111
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.io import read

from dft.jobs import TRAJECTORY_FILE, CalculationKind
from dft.relaxation import relax
from dft.start import BOND_RATIOS, FARTHEST_A, seated


def adslab(site: str, symbols: str = "H", height: float = 1.0, face=fcc111) -> Atoms:
    slab = face("Pd", (2, 2, 3), a=3.95, vacuum=5.0)
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms(range(4)))
    add_adsorbate(
        slab, Atoms(symbols, positions=[(0, 0, 1.16 * i) for i in range(len(symbols))]), height, site
    )
    return slab


def bond_ratio(atoms: Atoms, n_neighbours: int) -> float:
    binding = int(np.flatnonzero(atoms.get_tags() == 0)[0])
    slab = np.flatnonzero(atoms.get_tags() > 0)
    contact = covalent_radii[atoms.numbers[slab]] + covalent_radii[atoms.numbers[binding]]
    ratios = atoms.get_distances(binding, slab, mic=True) / contact
    return float(np.sort(ratios)[:n_neighbours].mean())


@pytest.mark.parametrize(
    ("symbols", "site", "face", "n_neighbours", "height"),
    [
        ("H", "ontop", fcc111, 1, 1.7),
        ("H", "bridge", fcc111, 2, 1.0),
        ("H", "fcc", fcc111, 3, 0.6),
        ("H", "hollow", fcc100, 4, 0.3),
        ("CO", "ontop", fcc111, 1, 2.15),
        ("CO", "bridge", fcc111, 2, 1.6),
    ],
)
def test_bonds_have_the_usual_length_of_the_site(symbols, site, face, n_neighbours, height):
    atoms = seated(adslab(site, symbols, height, face))
    usual = BOND_RATIOS[symbols][n_neighbours - 1]
    assert bond_ratio(atoms, n_neighbours) == pytest.approx(usual, abs=0.01)
    adsorbate = atoms.get_tags() == 0
    above = atoms.positions[adsorbate, 2] - atoms.positions[~adsorbate, 2].max()
    assert above[0] > 0.1


def test_the_adsorbate_moves_as_a_whole_along_the_normal_and_nothing_else_does():
    before = adslab("fcc", "CO", 1.3)
    after = seated(before)
    shift = after.positions - before.positions
    assert np.all(shift[:-2] == 0)
    assert np.allclose(shift[-2], shift[-1])
    assert np.all(shift[:, :2] == 0)
    assert after.constraints[0].index.tolist() == before.constraints[0].index.tolist()


def test_a_start_far_above_is_not_pulled_down_all_the_way():
    before = adslab("ontop", "H", 3.5)
    assert seated(before).positions[-1, 2] - before.positions[-1, 2] == pytest.approx(-FARTHEST_A)


def test_unknown_elements_molecules_and_bare_slabs_stay_where_they_are():
    for atoms in (
        adslab("fcc", "O", 1.0),
        adslab("fcc", "CH", 1.0),
        adslab("fcc")[:12],
        Atoms("H2", [(0, 0, 0), (0, 0, 0.9)]),
    ):
        assert np.array_equal(seated(atoms).positions, atoms.positions)


def test_a_relaxation_starts_there(emt_recipe, tmp_path):
    start = adslab("fcc", "H", 0.6)
    relax(emt_recipe, start, CalculationKind.ADSLAB, tmp_path)
    first = read(tmp_path / TRAJECTORY_FILE, index=0)
    assert bond_ratio(first, 3) == pytest.approx(BOND_RATIOS["H"][2], abs=0.01)
    assert bond_ratio(start, 3) < 1.05


def test_an_adsorbate_that_is_held_stays_where_it_is():
    atoms = adslab("fcc", "H", 2.0)
    atoms.set_constraint(FixAtoms(range(len(atoms))))
    assert np.array_equal(seated(atoms).positions, atoms.positions)
