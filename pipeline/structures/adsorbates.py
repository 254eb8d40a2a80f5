"""How an adsorbate is put on a slab.

It comes down along the surface normal, binding atom first, in the orientation that its settings give, until
an atom of it touches the slab (sum of covalent radii, Cordero et al., Dalton Trans. 2008, 2832,
doi:10.1039/b801115j, as ASE tabulates them). One that is not upright is turned about the normal to where its
other atoms are farthest from the slab and from its own copies. Units: Å.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from pipeline.structures.environment import periodic_copies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray

    from config.adsorbates import Species
    from pipeline.domain import Site, Surface

    Array = NDArray[np.float64]

CONTACT = 1.0
"""Starting distance over the sum of covalent radii."""
LOWEST_A = 0.25
"""The binding atom starts at least this far above the mean height of the site's atoms, Å: small atoms would
fall through wide hollows."""
TURN_STEP_DEG = 15.0
"""Turns about the normal that are tried."""
TURN_TOLERANCE = 1.0e-3
"""Turns that differ by less in how far they keep the atoms apart are equally good: the first one counts,
so that rounding noise does not choose."""
REACH_A = 8.0
"""Slab atoms farther to the side than this do not limit a turn."""


def place(slab: Atoms, surface: Surface, site: Site, species: Species, linear_scale: float) -> Atoms:
    """Put an adsorbate on a site of a slab.

    Parameters
    ----------
    slab
        What :func:`pipeline.structures.slabs.build_slab` made of ``surface``, relaxed or not.
    species
        What is put there: :meth:`config.campaign.CampaignSettings.species`, or one of
        :func:`config.adsorbates.presets`.
    linear_scale
        The one that the slab was built with.

    Returns
    -------
    Atoms
        The slab, constraints kept, and the adsorbate's atoms last with tag 0, the binding atom first.
    """
    from ase import Atoms

    lateral = np.array(site.images[0]) @ surface.atoms.cell.array[:2, :2] * linear_scale
    depth = (surface.atoms.positions[:, 2].max() - site.position[2]) * linear_scale
    lowest = slab.positions[:, 2].max() - depth + LOWEST_A

    def landed(degrees: float) -> Array:
        shape = turned(species, degrees)
        heights = [
            contact_height(slab, lateral + offset[:2], symbol) - offset[2]
            for symbol, offset in zip(species.symbols, shape, strict=True)
        ]
        positions: Array = shape + np.array([*lateral, max(*heights, lowest)])
        return positions

    is_upright = all(np.hypot(x, y) < TURN_TOLERANCE for x, y, _ in species.positions)
    if species.rotation_deg is not None or is_upright:
        positions = landed(species.rotation_deg or 0.0)
    else:
        turns = [landed(degrees) for degrees in np.arange(0.0, 360.0, TURN_STEP_DEG)]
        rooms = np.array([clearance(slab, species.symbols, positions) for positions in turns])
        positions = turns[int(np.flatnonzero(rooms > rooms.max() - TURN_TOLERANCE)[0])]
    covered: Atoms = slab.copy()
    covered += Atoms(species.symbols, positions=positions, tags=[0] * len(positions))
    return covered


def turned(species: Species, degrees: float) -> Array:
    """Positions of an adsorbate's atoms after a turn about the surface normal, Å, shape (n_atoms, 3)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    positions: Array = np.array(species.positions) @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    return positions


def clearance(slab: Atoms, symbols: tuple[str, ...], positions: Array) -> float:
    """How free the atoms that do not bind are: the smallest distance over the sum of covalent radii.

    Counted are their distances to the slab, and those of all the adsorbate's atoms to its periodic copies.

    Parameters
    ----------
    positions
        Of the adsorbate's atoms, the binding one first, Å, shape (n_atoms, 3).
    """
    from ase.data import atomic_numbers, covalent_radii

    radii = covalent_radii[[atomic_numbers[symbol] for symbol in symbols]]
    around, index = periodic_copies(slab, REACH_A)
    near = np.linalg.norm(positions[1:, None] - around[None], axis=2)
    ratios = [near / (radii[1:, None] + covalent_radii[slab.numbers[index]][None])]
    steps = [s for s in itertools.product((-1, 0, 1), repeat=2) if any(s)]
    for shift in steps @ slab.cell.array[:2]:
        apart = np.linalg.norm(positions[:, None] - (positions + shift)[None], axis=2)
        ratios.append(apart / (radii[:, None] + radii[None]))
    return float(min(r.min() for r in ratios))


def contact_height(slab: Atoms, lateral: Array, symbol: str) -> float:
    """Height at which an atom that comes down at a lateral position touches the slab first.

    Returns
    -------
    float
        z in Å; minus infinity if it passes between all atoms.
    """
    from ase.data import atomic_numbers, covalent_radii

    positions, index = periodic_copies(slab, 2 * float(covalent_radii[slab.numbers].max()) + 2.0)
    reach = CONTACT * (covalent_radii[slab.numbers[index]] + covalent_radii[atomic_numbers[symbol]])
    home = lateral - np.floor(lateral @ np.linalg.inv(slab.cell.array[:2, :2])) @ slab.cell.array[:2, :2]
    squares = reach**2 - ((positions[:, :2] - home) ** 2).sum(axis=1)
    touching = squares > 0
    return float((positions[touching, 2] + np.sqrt(squares[touching])).max(initial=-np.inf))


def site_images(
    surface: Surface, sites: Iterable[Site], slab: Atoms
) -> list[tuple[str, tuple[float, float]]]:
    """Every copy of every site over a slab.

    Parameters
    ----------
    slab
        What :func:`pipeline.structures.slabs.build_slab` made of ``surface``, at any scale.

    Returns
    -------
    list of tuple
        Site id and in-plane position in units of the slab's cell vectors, in [0, 1).
    """
    plane, whole = surface.atoms.cell.array[:2, :2], slab.cell.array[:2, :2]
    # Repeats follow from the top layer's atoms, so that the scale need not be known.
    n_repeats = (slab.get_tags() == 1).sum() / (surface.atoms.get_tags() == 1).sum()
    scale = np.sqrt(abs(np.linalg.det(whole) / np.linalg.det(plane)) / n_repeats)
    ratios = np.linalg.norm(whole, axis=1) / np.linalg.norm(plane, axis=1)
    n_first, n_second = (int(n) for n in np.round(ratios / scale))
    steps = list(itertools.product(range(n_first), range(n_second)))
    return [
        (site.id, ((x + i) / n_first % 1.0, (y + j) / n_second % 1.0))
        for site in sites
        for x, y in site.images
        for i, j in steps
    ]
