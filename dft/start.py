"""Where an adsorbate's relaxation starts: at the bond length that its site will give it.

Adsorbates are planned in contact with the slab (sum of covalent radii). Bonds end up shorter on top of an
atom and longer in hollows, where hydrogen is 0.3 Å off, on Al 0.7 Å. It is moved along the surface's normal
before the first force call; the site, and so the calculation's id, is not touched. Units: Å.

References
----------
.. [1] Hydrogen: medians over 511 relaxed adslabs of intermetallics (RPBE) of Tran and Ulissi, Nature
   Catalysis 1 (2018) 696; half of them lie within 0.04 of these. Radii as in :func:`metal_radii`.
.. [2] CO: what ``benchmarks/dft_cost.py`` (RPBE) relaxes to on top of Cu(111) and at the bridge of
   Pd(100); in hollows, as planned.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BOND_RATIOS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"H": (0.97, 1.06, 1.09, 1.19), "CO": (0.89, 0.93, 1.00, 1.00)}
)
"""Adsorbate -> bond length of its binding atom over the sum of radii, by its number of neighbours (1, 2, 3,
and 4 or more) [1]_ [2]_."""
NEIGHBOURS = 1.1
"""Slab atoms up to so many times as far as the nearest, in sums of radii, are neighbours."""
FARTHEST_A = 0.8
"""An adsorbate is moved up or down by this at most."""
STEP_A = 0.01
NEAREST_A = 4.0
"""Slab atoms farther apart than this say nothing about their size."""
TOLERANCE = 0.005
"""Bond ratios that differ by less are equally good."""


def seated(atoms: Atoms) -> Atoms:
    """Move an adsorbate along the surface normal to where its binding atom has the usual bond length.

    Parameters
    ----------
    atoms
        An adslab as :func:`pipeline.structures.adsorbates.place` makes it: adsorbate's atoms have tag 0, the
        binding one is the first of them. It is not changed.

    Returns
    -------
    Atoms
        A copy; as it was where the adsorbate is not known, or held in place.
    """
    from ase.data import covalent_radii

    from dft.calculator import fixed_indices

    moved: Atoms = atoms.copy()
    adsorbate = np.flatnonzero(atoms.get_tags() == 0)
    slab = np.flatnonzero(atoms.get_tags() > 0)
    if not len(adsorbate) or not len(slab) or set(adsorbate) & set(fixed_indices(atoms)):
        return moved
    usual = BOND_RATIOS.get(str(atoms[adsorbate].symbols))
    if usual is None:
        return moved
    binding = int(adsorbate[0])
    vectors = atoms.get_distances(binding, slab, mic=True, vector=True)
    contacts = metal_radii(atoms[slab]) + covalent_radii[atoms.numbers[binding]]
    ratios = np.linalg.norm(vectors, axis=1) / contacts
    near = ratios <= NEIGHBOURS * ratios.min()
    wanted = usual[min(int(near.sum()), len(usual)) - 1]
    lifts = np.arange(-FARTHEST_A, FARTHEST_A + STEP_A / 2, STEP_A)
    lifted = vectors[near][None] - lifts[:, None, None] * np.array([0.0, 0.0, 1.0])
    lengths = (np.linalg.norm(lifted, axis=2) / contacts[near]).mean(axis=1)
    # Of two heights with the same bonds, above and below the site's atoms, the upper one is meant.
    off = np.abs(lengths - wanted)
    best = lifts[np.flatnonzero(off <= off.min() + TOLERANCE)[-1]]
    moved.positions[adsorbate, 2] += best
    return moved


def metal_radii(slab: Atoms) -> Array:
    """Radii of a slab's atoms: covalent ones, but at least half the distance to the nearest atom.

    The covalent radii of sp metals are too short: 1.21 Å for Al, whose atoms are 2.86 Å apart.

    Returns
    -------
    ndarray of shape (n_atoms,)
        Å.
    """
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii: Array = covalent_radii[slab.numbers].copy()
    index, distances = neighbor_list("id", slab, NEAREST_A)
    shortest = np.full(len(slab), np.inf)
    np.minimum.at(shortest, index, distances)
    bound = np.isfinite(shortest)
    radii[bound] = np.maximum(radii[bound], shortest[bound] / 2)
    return radii
