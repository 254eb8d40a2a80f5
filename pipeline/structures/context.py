"""What the surrogate is told of crystals and of the sites on them. Units: Å, Å³."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surrogate.sites import BulkContext, SiteEnvironment, shell_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms

    from pipeline.domain import Bulk, Site, Surface

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


def site_environments(
    bulks: Iterable[Bulk], surfaces: Iterable[Surface], sites: Iterable[Site]
) -> dict[str, SiteEnvironment]:
    """Describe sites by id, each with the face and the crystal that it is on, which are among those given."""
    contexts = {bulk.id: bulk_context(bulk.atoms) for bulk in bulks}
    faces = {surface.id: surface.miller for surface in surfaces}
    return {
        site.id: SiteEnvironment(
            first_shell=site.first_shell,
            second_shell=site.second_shell,
            neighbours=site.neighbours,
            beneath=site.beneath,
            bulk=contexts[site.bulk_id],
            miller=faces[site.surface_id],
        )
        for site in sites
    }
