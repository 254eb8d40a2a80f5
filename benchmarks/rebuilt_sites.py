"""Geometry of published sites: surfaces rebuilt from the built-in library, before anything relaxes.

GASpy's rows name the crystal, the face, the shift at which pymatgen cut it, and the side; what the adsorbate
binds to is told of the *relaxed* site. Rebuilt is the surface as this project cuts it (the library's crystals
are relaxed with RPBE, GASpy's own functional), its sites are enumerated as for a campaign, and a row gets the
geometry of the sites with its first shell whose neighbours differ least; where several differ equally, their
mean. A row without such a site, or on a crystal that the library lacks, gets none. Units: Å.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.domain import Surface
from pipeline.structures.context import site_geometries
from pipeline.structures.crystal import symmetry
from pipeline.structures.cuts import Facet, cut_slab
from pipeline.structures.environment import DEPTH_A
from pipeline.structures.library import library
from pipeline.structures.sites import enumerate_sites
from surrogate.features import FEATURE_VERSION
from surrogate.geometry import COLUMNS
from surrogate.sites import SiteGeometry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from pipeline.domain import Site
    from pipeline.structures.crystal import Symmetry
    from surrogate.sites import Shell, SiteEnvironment

    Array = NDArray[np.float32]

SYMPREC_A = 0.1
"""With which GASpy brought its crystals into the conventional standard cell."""
HEIGHT_A, VACUUM_A = 7.0, 20.0
"""Of GASpy's slabs; the cut does not depend on them."""
OUTER = 8
"""Second-shell atoms that the rows of H list at most, equally many for each first-shell atom."""


class Face(NamedTuple):
    """One surface as GASpy names it."""

    mpid: str
    miller: tuple[int, int, int]
    shift: float
    """Height of the cut in units of pymatgen's oriented unit cell."""
    is_top: bool
    """Whether the adsorbate is on the upper side, not on that of the slab turned over."""


def rebuilt(
    faces: Sequence[Face | None], environments: Sequence[SiteEnvironment], kept: Path
) -> list[SiteGeometry | None]:
    """Geometry of every row.

    Parameters
    ----------
    faces
        None where the face is not known.
    environments
        First shells and neighbours that sites are found by.
    kept
        Folder in which the result is kept, and looked for first.
    """
    told = repr((FEATURE_VERSION, list(COLUMNS), faces, [e.canonical() for e in environments]))
    path = kept / f"geometry-{hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()[:16]}.npy"
    if not path.is_file():
        rows = [_values(face, site) for face, site in zip(faces, environments, strict=True)]
        kept.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array(rows, np.float32).reshape(-1, len(COLUMNS)))
    matrix = np.load(path, allow_pickle=False)
    return [None if np.isnan(row).any() else SiteGeometry.of(row) for row in matrix]


def _values(face: Face | None, environment: SiteEnvironment) -> Array:
    """Mean geometry of the sites that match a row best; NaN where none does."""
    unknown = np.full(len(COLUMNS), np.nan, np.float32)
    if face is None or face.mpid not in library():
        return unknown
    first = environment.canonical()[0]
    sites = [(site, values) for site, values in _sites(*_termination(face)) if site.first_shell == first]
    if not sites:
        return unknown
    misfits = np.array([_misfit(environment, site) for site, _ in sites])
    best = [values for (_, values), misfit in zip(sites, misfits, strict=True) if misfit == misfits.min()]
    return np.mean(best, axis=0, dtype=np.float32)


def _misfit(environment: SiteEnvironment, site: Site) -> int:
    """Neighbours in which a row and a site of the same first shell differ."""
    if not environment.neighbours:
        each = OUTER // len(site.neighbours)
        listed = [_spelt(shell)[:each] for _, shell in site.neighbours]
        return _difference(Counter(dict(environment.second_shell)), Counter(itertools.chain(*listed)))
    total = 0
    for element in {symbol for symbol, _ in site.neighbours}:
        theirs, ours = (
            [Counter(dict(shell)) for symbol, shell in one.neighbours if symbol == element]
            for one in (environment, site)
        )
        # More than four atoms of an element are compared in the order of their names.
        orders = itertools.permutations(ours) if len(ours) <= 4 else [ours]
        total += min(sum(map(_difference, theirs, order)) for order in orders)
    return total


def _difference(one: Counter[str], other: Counter[str]) -> int:
    return ((one - other) + (other - one)).total()


def _spelt(shell: Shell) -> list[str]:
    return [symbol for symbol, count in shell for _ in range(count)]


@cache
def _sites(mpid: str, outward: tuple[int, int, int], plane: int) -> list[tuple[Site, Array]]:
    """Sites of a surface with their geometry."""
    atoms = cut_slab(_facet(mpid, outward), plane, DEPTH_A)
    sites = enumerate_sites(Surface("", "", outward, 0.0, "top", "", atoms))
    places = np.array([site.position[:2] for site in sites]).reshape(-1, 2)
    return [
        (site, geometry.values())
        for site, geometry in zip(sites, site_geometries(atoms, places), strict=True)
    ]


@cache
def _termination(face: Face) -> tuple[str, tuple[int, int, int], int]:
    """Crystal, outward direction and top plane of a surface."""
    climb = _climb(face.mpid, face.miller)
    sign = 1 if (climb > 0) == face.is_top else -1
    h, k, l = (sign * index for index in face.miller)  # noqa: E741
    facet = _facet(face.mpid, (h, k, l))
    height = sign * face.shift * climb
    # The plane next below the cut.
    depths = [(height - plane.phases.max()) % facet.period for plane in facet.planes]
    return face.mpid, (h, k, l), int(np.argmin(depths))


@cache
def _climb(mpid: str, miller: tuple[int, int, int]) -> int:
    """Lattice planes that the third vector of pymatgen's oriented unit cell climbs."""
    from pymatgen.core.surface import SlabGenerator
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(_crystal(mpid)[0])
    for name in ("bulk_wyckoff", "bulk_equivalent"):  # pymatgen would look for the symmetry again
        structure.add_site_property(name, [""] * len(structure))
    generator = SlabGenerator(structure, miller, HEIGHT_A, VACUUM_A, max_normal_search=1)
    return int(np.array(generator.slab_scale_factor)[2] @ miller)


@cache
def _facet(mpid: str, outward: tuple[int, int, int]) -> Facet:
    return Facet.of(*_crystal(mpid), outward)


@cache
def _crystal(mpid: str) -> tuple[Atoms, Symmetry]:
    """Conventional standard cell as pymatgen has it."""
    from ase import Atoms
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    structure = AseAtomsAdaptor.get_structure(library()[mpid].atoms())
    standard: Any = SpacegroupAnalyzer(structure, symprec=SYMPREC_A).get_conventional_standard_structure()
    atoms = Atoms(
        standard.atomic_numbers, cell=standard.lattice.matrix, scaled_positions=standard.frac_coords, pbc=True
    )
    return atoms, symmetry(atoms)
