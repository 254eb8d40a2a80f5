"""Adsorbates, and how they are put on a slab.

An adsorbate stands along the surface normal with its binding atom down, so high that the binding atom
touches the nearest atoms of the slab (sum of covalent radii, Cordero et al., Dalton Trans. 2008, 2832,
doi:10.1039/b801115j, as ASE tabulates them). Units: Å.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from config.errors import ConfigError
from pipeline.structures.environment import periodic_copies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray

    from pipeline.domain import Site, Surface

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Adsorbate:
    """A species that binds through its first atom."""

    symbols: tuple[str, ...]
    """Binding atom first."""
    heights: tuple[float, ...]
    """Of the atoms above the binding atom, Å."""


ADSORBATES = {
    "H": Adsorbate(("H",), (0.0,)),
    "CO": Adsorbate(("C", "O"), (0.0, 1.16)),
}
"""Known adsorbates; CO at its bond length on late transition metals."""
CONTACT = 1.0
"""Starting distance over the sum of covalent radii."""
LOWEST_A = 0.25
"""The binding atom starts at least this far above the mean height of the site's atoms, Å: small atoms would
fall through wide hollows."""


def place(slab: Atoms, surface: Surface, site: Site, adsorbate: str, linear_scale: float) -> Atoms:
    """Put an adsorbate on a site of a slab.

    Parameters
    ----------
    slab
        What :func:`pipeline.structures.slabs.build_slab` made of ``surface``, relaxed or not.
    adsorbate
        A key of :data:`ADSORBATES`.
    linear_scale
        The one that the slab was built with.

    Returns
    -------
    Atoms
        The slab, constraints kept, and the adsorbate's atoms last with tag 0.

    Raises
    ------
    ConfigError
        If the adsorbate is not known.
    """
    from ase import Atoms

    if adsorbate not in ADSORBATES:
        message = f"unknown adsorbate {adsorbate!r}; allowed: {', '.join(ADSORBATES)}"
        raise ConfigError(message)
    species = ADSORBATES[adsorbate]
    lateral = np.array(site.images[0]) @ surface.atoms.cell.array[:2, :2] * linear_scale
    depth = (surface.atoms.positions[:, 2].max() - site.position[2]) * linear_scale
    lowest = slab.positions[:, 2].max() - depth + LOWEST_A
    height = max(contact_height(slab, lateral, species.symbols[0]), lowest)
    positions = [[*lateral, height + above] for above in species.heights]
    covered: Atoms = slab.copy()
    covered += Atoms(species.symbols, positions=positions, tags=[0] * len(positions))
    return covered


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
