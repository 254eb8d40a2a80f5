"""From a surface to the slab that is computed: layers, scale, repetition, vacuum, fixed atoms.

The slab is periodic in the plane only: GPAW's dipole correction in plane-wave mode requires exactly one
direction that is not periodic. A third of the vacuum lies below the slab and two thirds above, so that the
dipole layer at the cell's boundary stays clear of an adsorbate. Units: Å.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from pipeline.structures.cuts import HEIGHT_TOLERANCE_A

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from config.campaign import SurfaceSettings
    from pipeline.domain import Surface

    Array = NDArray[np.float64]

VACUUM_BELOW = 1 / 3
"""Share of the vacuum that lies below the slab."""


def build_slab(surface: Surface, linear_scale: float, settings: SurfaceSettings) -> Atoms:
    """Build the bare slab of a surface.

    Layers, repetition and fixed atoms are decided at the reference lattice, so that they are the same
    whatever the scale.

    Parameters
    ----------
    surface
        What to build.
    linear_scale
        Lengths of the slab over those of the reference lattice.
    settings
        Height, lateral size, vacuum and free depth.

    Returns
    -------
    Atoms
        Top at high z; tags 1 for the top layer, counting downwards; ``FixAtoms`` on what may not move;
        periodic in the plane only.
    """
    from ase.constraints import FixAtoms

    slab: Atoms = trimmed(surface.atoms, settings.min_height_a)
    slab = slab.repeat((*repetition(surface.atoms.cell.array[:2, :2], settings.min_lateral_a), 1))
    depths = slab.positions[:, 2].max() - slab.positions[:, 2]
    free_depth = settings.free_depth_a + HEIGHT_TOLERANCE_A if settings.free_depth_a > 0 else 0.0
    fixed = np.flatnonzero(depths >= free_depth)
    slab.set_cell(slab.cell.array * linear_scale, scale_atoms=True)
    slab.positions[:, 2] += settings.vacuum_a * VACUUM_BELOW - slab.positions[:, 2].min()
    cell = slab.cell.array.copy()
    cell[2, 2] = np.ptp(slab.positions[:, 2]) + settings.vacuum_a
    slab.set_cell(cell)
    if len(fixed):
        slab.set_constraint(FixAtoms(indices=fixed.tolist()))
    return slab


def trimmed(atoms: Atoms, min_height: float) -> Atoms:
    """Leave the fewest layers that reach a height."""
    tags = atoms.get_tags()
    heights = atoms.positions[:, 2]
    for n_layers in range(1, int(tags.max()) + 1):
        kept = tags <= n_layers
        if np.ptp(heights[kept]) >= min_height - HEIGHT_TOLERANCE_A:
            break
    left: Atoms = atoms[kept]
    return left


def n_slab_atoms(surface: Surface, settings: SurfaceSettings) -> int:
    """Count the atoms of the slab that :func:`build_slab` would build."""
    n_first, n_second = repetition(surface.atoms.cell.array[:2, :2], settings.min_lateral_a)
    return len(trimmed(surface.atoms, settings.min_height_a)) * n_first * n_second


def repetition(plane: Array, min_lateral: float) -> tuple[int, int]:
    """Fewest repeats of an in-plane cell that keep periodic copies apart.

    Parameters
    ----------
    plane
        Rows: in-plane cell vectors, shape (2, 2).
    min_lateral
        Smallest distance of periodic copies, Å.

    Returns
    -------
    tuple
        Repeats along a and b; among the fewest, those with the most distant copies.
    """
    largest = int(np.ceil(2 * min_lateral / np.linalg.norm(plane, axis=1).min())) + 1
    choices = [
        (n * m, -_shortest_vector(plane * [[n], [m]]), n, m)
        for n, m in itertools.product(range(1, largest + 1), repeat=2)
    ]
    wide = [c for c in choices if -c[1] >= min_lateral - HEIGHT_TOLERANCE_A]
    _, _, n, m = min(wide, key=lambda c: (c[0], round(c[1], 2), c[2]))
    return n, m


def _shortest_vector(plane: Array) -> float:
    """Length of the shortest lattice vector, for cells that are not far from reduced."""
    steps = np.array([s for s in itertools.product(range(-3, 4), repeat=2) if any(s)])
    return float(np.linalg.norm(steps @ plane, axis=1).min())
