"""What surrounds a point of a surface, as numbers that do not depend on how the surface is described.

The radial signature of a point counts the atoms of every element in soft shells of distance. It does not
change when the surface is shifted, turned, mirrored, repeated, or its atoms are reordered, and it changes
smoothly with the positions. Units: Å.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

REACH_A = 8.0
"""Atoms further from a point do not count, Å."""
DEPTH_A = 9.137
"""Atoms deeper below the topmost one do not count, Å: ids must not depend on the slab's height. No round
number, so that no plane of a tidy lattice lies on it."""
SHELL_WIDTH_A = 0.35
"""Standard deviation of a soft shell, Å."""
COLUMN_WIDTH_A = 0.8
"""Standard deviation of what counts as straight below, Å."""
COLUMN_DEPTH_A = 2.0
"""Depth over which the weight of an atom below falls to 1/e, Å."""
SHELLS_A = np.arange(1.25, REACH_A, 0.5)
"""Centres of the shells, Å."""


def periodic_copies(atoms: Atoms, reach: float) -> tuple[Array, IntArray]:
    """Positions of all in-plane copies of the atoms within reach of the cell.

    Parameters
    ----------
    atoms
        Slab with its first two cell vectors in the plane.
    reach
        Lateral distance that must be covered around every point of the cell, Å.

    Returns
    -------
    tuple
        Positions, shape (n, 3), the cell's own atoms first and in order; index of the atom each is a copy
        of, shape (n,).
    """
    plane = atoms.cell.array[:2, :2]
    # Perpendicular widths of the cell say how many copies fit into the reach.
    widths = abs(np.linalg.det(plane)) / np.linalg.norm(plane[::-1], axis=1)
    n_first, n_second = (int(np.ceil(reach / width)) + 1 for width in widths)
    shifts = list(itertools.product(range(-n_first, n_first + 1), range(-n_second, n_second + 1)))
    shifts.sort(key=lambda shift: shift != (0, 0))
    vectors = np.zeros((len(shifts), 3))
    vectors[:, :2] = np.array(shifts) @ plane
    positions = (vectors[:, None, :] + atoms.positions[None, :, :]).reshape(-1, 3)
    return positions, np.tile(np.arange(len(atoms)), len(shifts))


def radial_signatures(points: Array, atoms: Atoms) -> Array:
    """Signature of every point.

    Parameters
    ----------
    points
        Shape (n_points, 3), Å, laterally inside the cell or close to it.
    atoms
        The surface, top at high z.

    Returns
    -------
    Array
        Shape (n_points, n_elements * n_shells), elements in order of atomic number.
    """
    shallow = atoms[atoms.positions[:, 2] > atoms.positions[:, 2].max() - DEPTH_A]
    positions, index = periodic_copies(shallow, REACH_A + 1.0)
    numbers = shallow.numbers[index]
    elements = np.unique(atoms.numbers)
    signatures = np.zeros((len(points), len(elements), len(SHELLS_A)))
    for row, point in enumerate(points):
        distances = np.linalg.norm(positions - point, axis=1)
        near = distances < REACH_A
        weights = (1 - (distances[near] / REACH_A) ** 2) ** 2
        shells = np.exp(-0.5 * ((distances[near, None] - SHELLS_A) / SHELL_WIDTH_A) ** 2)
        for column, element in enumerate(elements):
            chosen = numbers[near] == element
            signatures[row, column] = weights[chosen] @ shells[chosen]
    return signatures.reshape(len(points), -1)


def columns_below(points: Array, atoms: Atoms) -> Array:
    """How much lies straight below every point: what tells an hcp from an fcc hollow, shape (n_points,)."""
    positions, _ = periodic_copies(atoms, 4 * COLUMN_WIDTH_A)
    columns = []
    for x, y, z in points:
        squares = (positions[:, 0] - x) ** 2 + (positions[:, 1] - y) ** 2
        beside = np.exp(-0.5 * squares / COLUMN_WIDTH_A**2)
        columns.append(float((beside * np.exp((positions[:, 2] - z) / COLUMN_DEPTH_A)).sum()))
    return np.array(columns)


def ranking_number(signatures: Array) -> Array:
    """One number per signature, to order unequal ones the same way every time: smaller is more crowded."""
    crowding = np.exp(-SHELLS_A / 2.0)
    n_elements = signatures.shape[-1] // len(SHELLS_A)
    # Unequal weights, or swapping two elements would go unnoticed.
    elements = 1.0 + 0.6180339887 * np.arange(n_elements)
    return np.asarray(-(signatures @ np.kron(elements, crowding)))
