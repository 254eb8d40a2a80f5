"""Bonds, contacts and displacements in adslabs, whatever periodic copy of an atom a file holds.

Bonds are told by distances over the sum of covalent radii (Cordero et al., Dalton Trans. 2008, 2832,
doi:10.1039/b801115j, as tabulated by ASE). Units: Å.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from config.adsorbates import LONGEST_BOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Image = tuple[int, tuple[int, int, int]]
"""A periodic copy of an atom: its index and by how many cell vectors it is moved."""
BROKEN_BOND = LONGEST_BOND
"""A bond longer than this times (1.3) its covalent sum is broken. For CO that is 1.85 Å: upright CO has 1.14
to 1.20 Å, CO bent over on early transition metals up to 1.4 Å, and the barrier to C + O lies near
1.9 Å."""
NEIGHBOUR = 1.3
"""Slab atoms within this times the distance of the nearest one (both over covalent sums) are those that an
adsorbate atom is bound to. Of the factors between 1.1 and 1.3 this one agrees best with the Voronoi
neighbours that GASpy lists: 408 of 515 have as many; for H on the bridge of fcc(111), the next atom is at
1.5."""
MEETING = 1.25
"""Distance over the covalent sum at which an atom that comes from above is stopped: more than 1, because H
would fall between the atoms of Al(111) and Au(111) otherwise."""


def bond_ratios(atoms: Atoms, first: Sequence[int], second: Sequence[int]) -> Floats:
    """Minimum-image distances over covalent sums, shape (len(first), len(second))."""
    from ase.data import covalent_radii
    from ase.geometry import get_distances

    rows, columns = list(first), list(second)
    positions = atoms.positions
    _, distances = get_distances(positions[rows], positions[columns], cell=atoms.cell, pbc=True)
    radii = covalent_radii[atoms.numbers]
    ratios: Floats = distances / (radii[rows][:, None] + radii[columns][None, :])
    return ratios


def bonded_pairs(atoms: Atoms, molecule: Sequence[int]) -> NDArray[np.bool_]:
    """Which pairs of a molecule's atoms are bonded; upper triangle, shape (n, n)."""
    bonded: NDArray[np.bool_] = np.triu(bond_ratios(atoms, molecule, molecule) <= BROKEN_BOND, k=1)
    return bonded


def pieces(atoms: Atoms, molecule: Sequence[int]) -> list[str]:
    """Formulas of the parts into which a molecule's bonds divide it."""
    from scipy.sparse.csgraph import connected_components

    n_pieces, labels = connected_components(bonded_pairs(atoms, molecule), directed=False)
    return [
        formula(atoms, [index for index, label in zip(molecule, labels, strict=True) if label == piece])
        for piece in range(n_pieces)
    ]


def formula(atoms: Atoms, indices: Iterable[int]) -> str:
    """Chemical formula of some atoms."""
    text: str = atoms[sorted(indices)].get_chemical_formula()
    return text


def binding_atom(atoms: Atoms, n_adsorbate_atoms: int) -> int:
    """Index of the adsorbate atom that is nearest to the slab, in units of the covalent sum."""
    n_slab = len(atoms) - n_adsorbate_atoms
    ratios = bond_ratios(atoms, range(n_slab, len(atoms)), range(n_slab))
    return n_slab + int(ratios.min(axis=1).argmin())


def binding_ratio(atoms: Atoms, n_adsorbate_atoms: int, index: int) -> float:
    """Distance of an adsorbate atom from the nearest slab atom, over the covalent sum."""
    n_slab = len(atoms) - n_adsorbate_atoms
    return float(bond_ratios(atoms, [index], range(n_slab)).min())


def neighbours(atoms: Atoms, n_slab: int, index: int) -> frozenset[Image]:
    """Slab atoms that an adsorbate atom is bound to: the nearest one and those nearly as near.

    Periodic copies count one by one: a hollow of a 1x1 cell has three neighbours.
    """
    from ase.data import covalent_radii

    copies = list(itertools.product((-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2), (-1, 0, 1)))
    offsets = atoms.positions[:n_slab] - atoms.positions[index]
    distances = np.linalg.norm(offsets + (np.array(copies) @ atoms.cell.array)[:, None], axis=2)
    ratios = distances / (covalent_radii[atoms.numbers[:n_slab]] + covalent_radii[atoms.numbers[index]])
    near = np.argwhere(ratios <= NEIGHBOUR * ratios.min())
    return frozenset((int(atom), copies[copy]) for copy, atom in near)


def cover_ratio(atoms: Atoms, n_slab: int, index: int) -> float:
    """How far an adsorbate atom is below where it would meet the slab if it came from above.

    It meets a slab atom at :data:`MEETING` times their covalent sum; the depth is over that sum, too, and
    the largest counts. 0 where nothing lies over it.
    """
    from ase.data import covalent_radii

    sums = covalent_radii[atoms.numbers[:n_slab]] + covalent_radii[atoms.numbers[index]]
    scaled = atoms.get_scaled_positions(wrap=False)
    offsets = scaled[:n_slab] - scaled[index]
    offsets[:, :2] -= np.floor(offsets[:, :2])
    heights = heights_above_middle(atoms, n_slab)
    offsets[:, 2] = heights[:n_slab] - heights[index]
    deepest = 0.0
    for copy in itertools.product((-2, -1, 0, 1, 2), repeat=2):
        places = (offsets + np.array([*copy, 0])) @ atoms.cell.array
        squares = (MEETING * sums) ** 2 - (places[:, :2] ** 2).sum(axis=1)
        met = squares > 0
        depths = (places[met, 2] + np.sqrt(squares[met])) / sums[met]
        deepest = max(deepest, float(depths.max(initial=0.0)))
    return deepest


def heights_above_middle(atoms: Atoms, n_slab: int) -> Floats:
    """Heights above the slab's middle, in units of the period along c, between -0.5 and 0.5."""
    heights = atoms.get_scaled_positions(wrap=False)[:, 2]
    # The middle of atoms that may be wrapped anywhere: the direction of their mean on the circle.
    middle = np.angle(np.exp(2j * np.pi * heights[:n_slab]).mean()) / (2 * np.pi)
    centred: Floats = (heights - middle + 0.5) % 1.0 - 0.5
    return centred


def largest_displacement(reference: Atoms, slab: Atoms) -> float:
    """Largest distance (Å) of a slab atom from its place in ``reference``, a common shift left out."""
    moves = displacements(reference, slab)
    return float(np.linalg.norm(moves - common_shift(moves), axis=1).max())


def displacements(before: Atoms, after: Atoms) -> Floats:
    """Shortest displacement of every atom over all periodic images, Å, shape (n, 3).

    The displacement of the first atom is taken out before the search for the shortest image and put
    back after it, so that a shift of everything by more than half a cell is no obstacle.
    """
    from ase.geometry import find_mic

    raw = after.positions - before.positions
    shortest, _ = find_mic(raw - raw[0], after.cell, pbc=True)
    moves: Floats = shortest + raw[0]
    return moves


def unwrapped(before: Atoms, after: Atoms) -> Atoms:
    """``after`` with every atom as the periodic copy that is nearest to where it was before."""
    moved: Atoms = after.copy()
    moved.set_positions(before.positions + displacements(before, after), apply_constraint=False)
    return moved


def common_shift(moves: Floats) -> Floats:
    """Shift that the atoms share, Å: the median, which a few far-moved atoms do not pull along."""
    shift: Floats = np.median(moves, axis=0)
    return shift
