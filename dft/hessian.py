"""A model of a structure's force constants, so that a relaxation need not learn them step by step.

Every pair of atoms is a spring along its bond, as stiff as Fischer and Almlöf's model says of a single
bond of that length [1]_ and softer the more neighbours its atoms have; across the bond it resists a little.
H2, N2 and CO stretch half to one and a half times as hard as measured, metals and adsorbates a few eV/Å²,
where a BFGS that starts from ASE's 70 eV/Å² everywhere creeps along soft modes. What forces have shown
corrects the model. Units: Å, eV/Å².

References
----------
.. [1] T. H. Fischer and J. Almlöf, J. Phys. Chem. 96 (1992) 9768, doi:10.1021/j100203a036: stretches have
   0.3601 exp(-1.944 (r - r_cov)) Hartree/Bohr², lengths in Bohr.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SINGLE_BOND = 0.3601 * 27.2114 / 0.529177**2
"""Force constant of a bond as long as its covalent radii add up to, eV/Å²."""
DECAY = 1.944 / 0.529177
"""How fast it falls with the length of the bond, 1/Å."""
BOND_END, BOND_BLUR = 1.25, 0.05
"""Where, over the sum of the covalent radii, a bond counts half, and how gradually it ceases to count: an
abrupt end would treat bonds that symmetry makes equal unequally."""
REACH = 1.75
"""Pairs further apart than this, on the same scale, do not count at all."""
METAL, CLOSE_PACKED = 3.0, 80.0
"""Bonds whose atoms have so many neighbours, multiplied, are no stiffer than this, eV/Å²; nearest
neighbours in fcc metals have 1.3 (Al) to 3.3 (Pt)."""
ACROSS = 0.1
"""Stiffness across a bond over that along it."""
FLOOR = 1.0
"""Added to every atom's own force constants, eV/Å²: modes that no bond holds."""
AFLOAT = 70.0
"""The same where no atom is held, so that a molecule stays where it is: nothing but the grid's error pushes
it as a whole, by 0.1 eV/Å for CO at 350 eV, and it would follow over 0.4 Å and 0.04 eV."""

MEMORY = 12
"""Steps that correct the model; what was seen farther away tells little about here."""
LEAST_CURVATURE = 0.02
"""Steps along which forces hardly change, or grow, do not correct it, eV/Å²."""
MAX_STEP_A = 0.3
"""Longest step of an atom; matters to what slides to another site. With a pretrained potential 46 relaxations
took 313, 311 and 315 force calls at 0.2, 0.3 and 0.4 Å."""


def model_hessian(atoms: Atoms) -> Array:
    """Model the second derivatives of the energy.

    Parameters
    ----------
    atoms
        Any structure; periodic images count. Atoms under ``FixAtoms`` are held by springs of their own.

    Returns
    -------
    ndarray of shape (3 * n_atoms, 3 * n_atoms)
        Symmetric and positive definite, eV/Å².
    """
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    from dft.calculator import fixed_indices

    radii = covalent_radii[atoms.numbers]
    first, second, distances, vectors = neighbor_list("ijdD", atoms, REACH * radii)
    contact = radii[first] + radii[second]
    bonds = 1 / (1 + np.exp((distances / contact - BOND_END) / BOND_BLUR))
    n_bonds = np.maximum(1.0, np.bincount(first, weights=bonds, minlength=len(atoms)))
    stiffness = bonds * SINGLE_BOND * np.exp(-DECAY * (distances - contact))
    shared = n_bonds[first] * n_bonds[second]
    stiffness /= np.sqrt(shared)
    stiffness /= 1 + stiffness / METAL * (shared / CLOSE_PACKED) ** 3
    along = vectors / distances[:, None]
    springs = (1 - ACROSS) * along[:, :, None] * along[:, None, :] + ACROSS * np.eye(3)
    springs *= stiffness[:, None, None]
    blocks = np.zeros((len(atoms), len(atoms), 3, 3))
    np.add.at(blocks, (first, first), springs)
    fixed = fixed_indices(atoms)
    np.add.at(blocks, (first, second), -springs)
    blocks[fixed, :] = blocks[:, fixed] = 0.0
    blocks[np.arange(len(atoms)), np.arange(len(atoms))] += (FLOOR if fixed else AFLOAT) * np.eye(3)
    hessian: Array = blocks.transpose(0, 2, 1, 3).reshape(3 * len(atoms), 3 * len(atoms))
    return hessian


def next_positions(frames: Sequence[Atoms], max_step_a: float = MAX_STEP_A) -> Array:
    """Where a relaxation goes on: a quasi-Newton step from its last frame.

    The force constants are the model's at the last frame, corrected (BFGS) by what the forces of the frames
    before have shown. They depend on the frames alone, so that a relaxation that was broken off goes on as
    if it had not been, and an adsorbate that leaves its site takes its springs along.

    Parameters
    ----------
    frames
        The relaxation so far, with forces.
    max_step_a
        No atom moves farther; a longer step is shortened as a whole.

    Returns
    -------
    ndarray of shape (n_atoms, 3)
        Å.
    """
    latest = frames[-1]
    hessian = model_hessian(latest)
    for before, after in pairwise(frames[-MEMORY - 1 :]):
        moved = (after.positions - before.positions).ravel()
        change = (before.get_forces() - after.get_forces()).ravel()
        if moved @ change > LEAST_CURVATURE * (moved @ moved):
            expected = hessian @ moved
            hessian += np.outer(change, change) / (moved @ change)
            hessian -= np.outer(expected, expected) / (moved @ expected)
    step: Array = np.linalg.solve(hessian, latest.get_forces().ravel()).reshape(-1, 3)
    longest = float(np.linalg.norm(step, axis=1).max())
    positions: Array = latest.positions + step * min(1.0, max_step_a / longest)
    return positions
