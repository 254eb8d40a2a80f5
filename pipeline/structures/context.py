"""What the surrogate is told of crystals and of the sites on them. Units: Å, Å³."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from pipeline.structures.environment import DEPTH_A, periodic_copies
from pipeline.structures.library import library
from surrogate.sites import BulkContext, SiteEnvironment, shell_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray

    from pipeline.domain import Bulk, Site, Surface
    from surrogate.sites import SiteGeometry

REACH_A = 6.0
"""Atoms of two elements that come no closer than this have no bond worth telling."""


def bulk_context(atoms: Atoms) -> BulkContext:
    """Describe a crystal by its composition, density, and shortest distances between its elements.

    Parameters
    ----------
    atoms
        Any cell of the crystal, periodic in all directions.

    Returns
    -------
    BulkContext
        The same for every choice of the cell, apart from rounding.
    """
    import vesin

    symbols = np.array(atoms.get_chemical_symbols())
    counts = shell_of(symbols.tolist())
    divisor = int(np.gcd.reduce([n for _, n in counts]))
    first, second, distances = vesin.ase_neighbor_list("ijd", atoms, REACH_A)
    shortest: dict[tuple[str, str], float] = {}
    for i in np.argsort(-distances, kind="stable"):  # ends with the shortest
        one, other = sorted((str(symbols[first[i]]), str(symbols[second[i]])))
        shortest[one, other] = float(distances[i])
    return BulkContext(
        composition=tuple((symbol, n // divisor) for symbol, n in counts),
        volume_per_atom=float(atoms.get_volume()) / len(atoms),
        bonds=tuple((*pair, shortest[pair]) for pair in sorted(shortest)),
    )


# A crystal takes a millisecond, and an asynchronous campaign asks after every result.


@cache
def crystal(bulk: Bulk) -> BulkContext:
    """Describe one of a campaign's crystals, once."""
    return bulk_context(bulk.atoms)


@cache
def library_crystal(name: str) -> BulkContext:
    """Describe a crystal of the built-in library, once.

    Raises
    ------
    KeyError
        If the library does not hold it.
    """
    return bulk_context(library()[name].atoms())


def site_geometries(atoms: Atoms, places: NDArray[np.float64]) -> list[SiteGeometry]:
    """Describe where the atoms around places on an unrelaxed surface lie.

    Parameters
    ----------
    atoms
        The surface, as :class:`pipeline.domain.Surface` holds it: top at high z, periodic in the plane.
    places
        Lateral positions, in the cell or close to it, shape (n_sites, 2), Å.

    Returns
    -------
    list of SiteGeometry
        The same for every choice of the cell and every depth of the surface that tells sites apart.
    """
    from ase.data import covalent_radii

    from surrogate import geometry

    shallow = atoms[atoms.positions[:, 2] > atoms.positions[:, 2].max() - DEPTH_A]
    positions, index = periodic_copies(shallow, geometry.REACH_A)
    numbers = shallow.numbers[index]
    return geometry.site_geometries(places, positions, numbers, covalent_radii[numbers])


def site_environments(
    bulks: Iterable[Bulk], surfaces: Iterable[Surface], sites: Iterable[Site]
) -> dict[str, SiteEnvironment]:
    """Describe sites by id, each with the face and the crystal that it is on, which are among those given."""
    contexts = {bulk.id: crystal(bulk) for bulk in bulks}
    by_id = {surface.id: surface for surface in surfaces}
    sites = list(sites)
    on_surface: dict[str, list[Site]] = {}
    for site in sites:
        on_surface.setdefault(site.surface_id, []).append(site)
    geometries: dict[str, SiteGeometry] = {}
    for surface_id, group in on_surface.items():
        places = np.array([site.position[:2] for site in group])
        described = site_geometries(by_id[surface_id].atoms, places)
        geometries |= {site.id: found for site, found in zip(group, described, strict=True)}
    return {
        site.id: SiteEnvironment(
            first_shell=site.first_shell,
            second_shell=site.second_shell,
            neighbours=site.neighbours,
            beneath=site.beneath,
            bulk=contexts[site.bulk_id],
            miller=by_id[site.surface_id].miller,
            geometry=geometries[site.id],
        )
        for site in sites
    }
