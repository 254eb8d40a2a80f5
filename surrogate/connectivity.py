"""Which atoms of a crystal, or near a site of a surface, are connected.

After Isayev et al., Nature Communications 8 (2017) 15679, doi:10.1038/ncomms15679: two atoms are connected if
their Voronoi cells share a face and they are closer than the sum of their covalent radii (Cordero et al.,
doi:10.1039/b801115j) and 0.25 Å.

A face that exists only by rounding, where more than four cells meet in a point, is none: a face counts from
:data:`LEAST_SHARE` of the sphere around its atom on, by area. Units: Å, Å³.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from config.errors import StructureError
from surrogate.fragment_properties import covalent_radii

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

BOND_TOLERANCE_A = 0.25
"""How much longer than the sum of the covalent radii a connection may be, Å."""
LEAST_SHARE = 0.01
"""Smallest face, as area over that of the sphere that touches it."""
PROBE_RADIUS_A = 0.76
"""Covalent radius of the atom that stands for an adsorbate on a site, Å: carbon's, by which CO binds."""
CAP_A = 2.0
"""Height above the uppermost atom, and depth below the lowest, at which a slab is mirrored, Å."""
DEEPEST = 3
"""Connections that a path may have."""
_FIRST_REACH, _GROWTH, _MOST_TRIES = 1.6, 1.4, 8
_LEAST_POINTS = 4
_DEEPER_A = 5.0
_OPEN = (
    "the Voronoi cells of its atoms do not close; give a three-dimensional crystal, or a slab with its site"
)


@dataclass(frozen=True)
class Connections:
    """The graph of a crystal: each connection is listed once from either end."""

    first: IntArray
    """Atom at the one end, shape (n_connections,)."""
    second: IntArray
    """Atom of the cell whose copy is at the other end, shape (n_connections,)."""
    distances: Array
    """Å, shape (n_connections,)."""
    shares: Array
    """Face of each connection over the touching sphere's area, shape (n_connections,)."""
    volumes: Array
    """Voronoi volume of each atom, Å³, shape (n_atoms,)."""
    faces: IntArray
    """Faces of each atom's Voronoi cell, connected or not, shape (n_atoms,)."""


@dataclass(frozen=True)
class SiteConnections:
    """The graph around a site; point 0 is the probe atom on it."""

    numbers: IntArray
    """Atomic numbers, 0 for the probe, shape (n_points,)."""
    depths: IntArray
    """Connections on the shortest way from the probe; beyond :data:`DEEPEST` it is not told how many."""
    first: IntArray
    """Connections among atoms at one or two from the probe and outwards from them, by their inner end; those
    between two atoms of equal depth are listed from either end. Shape (n_connections,)."""
    second: IntArray
    """The outer ends."""
    distances: Array
    """Å, shape (n_connections,)."""
    site_distances: Array
    """Of every point from the probe, Å, shape (n_points,)."""
    height: float
    """Height of the probe over the highest atom that it is connected to, Å."""


@dataclass(frozen=True)
class _Faces:
    """Faces of some Voronoi cells, seen from inside."""

    inner: IntArray
    outer: IntArray
    distances: Array
    shares: Array
    areas: Array
    reach: Array
    """Per point: how far from it other points can lie that touch its cell; infinite for open cells."""


def crystal_connections(numbers: IntArray, cell: Array, positions: Array) -> Connections:
    """Connect the atoms of a crystal.

    Parameters
    ----------
    numbers
        Atomic numbers, shape (n_atoms,).
    cell
        Lattice vectors in rows, Å, shape (3, 3).
    positions
        Cartesian, Å, shape (n_atoms, 3).

    Raises
    ------
    StructureError
        If the Voronoi cells do not close, which those of every three-dimensional crystal do.
    """
    n_atoms = len(numbers)
    reach = _FIRST_REACH * (4.0 * abs(float(np.linalg.det(cell))) / n_atoms) ** (1 / 3)
    for _ in range(_MOST_TRIES):
        points, owners = _copies(cell, positions, reach)
        if len(points) > _LEAST_POINTS:
            faces = _faces(points, n_atoms)
            if np.all(faces.reach <= reach):
                return _connections(faces, numbers, owners)
        reach *= _GROWTH
    raise StructureError(_OPEN)


def _connections(faces: _Faces, numbers: IntArray, owners: IntArray) -> Connections:
    n_atoms = len(numbers)
    volumes = np.zeros(n_atoms)
    np.add.at(volumes, faces.inner, faces.areas * faces.distances / 6.0)
    inner, outer = faces.inner, owners[faces.outer]
    seen = faces.shares > LEAST_SHARE
    bonded = seen & _within_radii(numbers[inner], numbers[outer], faces.distances)
    return Connections(
        first=inner[bonded],
        second=outer[bonded],
        distances=faces.distances[bonded],
        shares=faces.shares[bonded],
        volumes=volumes,
        faces=np.bincount(inner[seen], minlength=n_atoms).astype(np.int64),
    )


def _within_radii(one: IntArray, other: IntArray, distances: Array) -> NDArray[np.bool_]:
    radii = covalent_radii()
    close: NDArray[np.bool_] = distances < radii[one - 1] + radii[other - 1] + BOND_TOLERANCE_A
    return close


def _copies(cell: Array, positions: Array, reach: float) -> tuple[Array, IntArray]:
    """Atoms and their periodic copies within reach of any of the cell's: places, and whose copies they are.

    The atoms themselves come first, in order.
    """
    from scipy.spatial import cKDTree

    n_atoms = len(positions)
    inverse = np.linalg.inv(cell)
    spread = np.ptp(positions @ inverse, axis=0)
    most = np.ceil(reach * np.linalg.norm(inverse, axis=0) + spread).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[np.any(grid != 0, axis=1)]
    copies = (positions[None, :, :] + (grid @ cell)[:, None, :]).reshape(-1, 3)
    owners = np.tile(np.arange(n_atoms), len(grid))
    nearest, _ = cKDTree(positions).query(copies, distance_upper_bound=reach)
    near = np.isfinite(nearest)
    return np.vstack([positions, copies[near]]), np.concatenate([np.arange(n_atoms), owners[near]])


def _faces(points: Array, n_inner: int) -> _Faces:
    """Faces of the cells of the first ``n_inner`` points."""
    from scipy.spatial import Voronoi

    tessellation = Voronoi(points)
    pairs = np.asarray(tessellation.ridge_points, dtype=np.int64)
    wanted: NDArray[np.bool_] = np.any(pairs < n_inner, axis=1)
    corners = [c for c, want in zip(tessellation.ridge_vertices, wanted, strict=True) if want]
    pairs = pairs[wanted]
    sizes = np.array([len(c) for c in corners])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    flat = np.concatenate([np.asarray(c, dtype=np.int64) for c in corners])
    open_ = np.minimum.reduceat(flat, starts) < 0
    vertices = tessellation.vertices[flat]
    following = np.arange(1, len(flat) + 1)
    following[starts + sizes - 1] = starts
    owner = np.repeat(pairs[:, 0], sizes)
    arms = vertices - points[owner]
    areas = 0.5 * np.linalg.norm(np.add.reduceat(np.cross(arms, arms[following]), starts), axis=1)
    # The corners of a face are as far from the one point as from the other
    farthest = 2.0 * np.sqrt(np.maximum.reduceat((arms**2).sum(axis=1), starts))
    farthest[open_] = np.inf
    distances = np.linalg.norm(points[pairs[:, 1]] - points[pairs[:, 0]], axis=1)
    areas[open_] = 0.0
    inner, outer = np.concatenate([pairs, pairs[:, ::-1]]).T
    keep = inner < n_inner
    twice = np.tile(np.arange(len(pairs)), 2)[keep]
    reach = np.zeros(n_inner)
    np.maximum.at(reach, inner[keep], farthest[twice])
    shares = areas[twice] / (np.pi * distances[twice] ** 2)
    return _Faces(inner[keep], outer[keep], distances[twice], shares, areas[twice], reach)


def site_connections(numbers: IntArray, cell: Array, positions: Array, site: Array) -> SiteConnections:
    """Connect the atoms around a site of a surface.

    A probe atom is let down on the site along -z until it touches; the slab is mirrored a little above it
    and below the slab, so that the Voronoi cells of the outermost atoms close.

    Parameters
    ----------
    numbers
        Atomic numbers of the slab, shape (n_atoms,); its outward normal is +z.
    cell
        The two lattice vectors of the surface, in rows, Å, shape (2, 3); their z is zero.
    positions
        Cartesian, Å, shape (n_atoms, 3).
    site
        A place on the surface, Å, shape (3,); its height does not matter.

    Raises
    ------
    StructureError
        If no atom is near enough for the probe to touch.
    """
    radii = covalent_radii()[numbers - 1]
    reach = 6.0 * float(radii.max()) + PROBE_RADIUS_A + _DEEPER_A
    probe = _let_down(radii, cell, positions, site)
    for _ in range(_MOST_TRIES):
        atoms, owners = _near(cell, positions, probe, reach)
        real = np.vstack([probe, atoms])
        # The probe goes as atomic number 0
        kinds = np.concatenate([[0], numbers[owners]])
        faces = _faces(_with_mirror_images(real, positions), len(real))
        first, second, distances = _site_bonds(faces, kinds)
        depths = _depths(first, second, len(real))
        away = np.linalg.norm(real - probe, axis=1)
        if np.all((faces.reach + away)[depths < DEEPEST] <= reach):
            kept = (depths[first] < DEEPEST) & (depths[first] <= depths[second]) & (first > 0)
            return SiteConnections(
                numbers=kinds, depths=depths, first=first[kept], second=second[kept],
                distances=distances[kept], site_distances=away,
                height=float(probe[2] - real[depths == 1, 2].max()),
            )  # fmt: skip
        reach *= _GROWTH
    raise StructureError(_OPEN)


def _let_down(radii: Array, cell: Array, positions: Array, site: Array) -> Array:
    """Place of a probe that comes down on a site until it touches the first atom."""
    atoms, owners = _near(cell, positions, np.array(site), radii.max() + PROBE_RADIUS_A, in_plane=True)
    aside = np.linalg.norm((atoms - site)[:, :2], axis=1)
    contact = radii[owners] + PROBE_RADIUS_A
    touchable = aside < contact
    if not touchable.any():
        message = "no atom lies under the site; give a place on the surface, in Å"
        raise StructureError(message)
    rise = np.sqrt(contact[touchable] ** 2 - aside[touchable] ** 2)
    return np.array([site[0], site[1], (atoms[touchable, 2] + rise).max()])


def _near(
    cell: Array, positions: Array, centre: Array, reach: float, *, in_plane: bool = False
) -> tuple[Array, IntArray]:
    """Atoms of a periodic slab within reach of a place: where they are, and whose copies."""
    inverse = np.linalg.inv(cell[:, :2])
    from_centre = (positions - centre)[:, :2] @ inverse
    wrapped = positions - np.round(from_centre) @ cell
    most = np.ceil(reach * np.linalg.norm(inverse, axis=0) + 0.5).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1).reshape(-1, 2)
    copies = (wrapped[None, :, :] + (grid @ cell)[:, None, :]).reshape(-1, 3)
    owners = np.tile(np.arange(len(positions)), len(grid))
    axes = 2 if in_plane else 3
    near = np.linalg.norm((copies - centre)[:, :axes], axis=1) < reach
    return copies[near], owners[near]


def _with_mirror_images(points: Array, positions: Array) -> Array:
    """Points, the first of them the probe, and their images above and below the slab."""
    top = max(positions[:, 2].max(), points[0, 2]) + CAP_A
    bottom = positions[:, 2].min() - CAP_A
    above, below = points.copy(), points.copy()
    above[:, 2], below[:, 2] = 2.0 * top - above[:, 2], 2.0 * bottom - below[:, 2]
    return np.vstack([points, above, below])


def _site_bonds(faces: _Faces, kinds: IntArray) -> tuple[IntArray, IntArray, Array]:
    """Connections among atoms, and of the probe with atoms."""
    real = (faces.outer < len(kinds)) & (faces.shares > LEAST_SHARE)
    inner, outer, distances = faces.inner[real], faces.outer[real], faces.distances[real]
    radii = np.concatenate([[PROBE_RADIUS_A], covalent_radii()])
    bonded = distances < radii[kinds[inner]] + radii[kinds[outer]] + BOND_TOLERANCE_A
    return inner[bonded], outer[bonded], distances[bonded]


def _depths(first: IntArray, second: IntArray, n_points: int) -> IntArray:
    """Connections from point 0 to every other one, ``DEEPEST + 1`` where there are more."""
    depths = np.full(n_points, DEEPEST + 1)
    depths[0] = 0
    for depth in range(1, DEEPEST + 1):
        reached = second[depths[first] == depth - 1]
        depths[reached] = np.minimum(depths[reached], depth)
    return depths
