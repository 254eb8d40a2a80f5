"""The contact map of a surface and its critical points; see :mod:`pipeline.structures.sites`. Units: Å."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline.structures.environment import DEPTH_A, periodic_copies

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from pipeline.domain import Shell, SiteKind

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

PROBE = 1.4
"""Radius of the probe over the mean radius of the surface's atoms. Large enough that the four-fold hollow
of fcc(110) and bcc(100) is one, small enough that the second layer of fcc(110) shows at steps."""
NEIGHBOUR_FACTOR = 1.22
"""Atoms are neighbours below this multiple of the sum of their radii; bcc counts 8 + 6."""
BENEATH = 0.5
"""Atoms are straight below a point within this multiple of their radius; at a bridge of fcc(111) the
nearest one is 0.58 radii off."""
GRID_A = 0.4
"""Grid on which exposed atoms are looked for, Å."""
NEAR_MAP_A = 0.3
"""Caps this little below the map at a grid point may rise above it in between, Å."""
ON_MAP = 1e-3
"""A point this little below the map counts as on it, Å: atoms in a square touch the probe together."""
TOUCH = 0.08
"""An atom this close to touching belongs to the hollow, in units of the mean atomic diameter."""
MERGE = 0.13
"""Critical points this close are one site, in units of the mean atomic diameter. The long bridge and the
hollow of bcc(110) lie 0.20 apart."""

DISTINCT_A = 0.02
"""Points this close are one point found twice, Å."""
_KINDS: tuple[SiteKind, ...] = ("hollow", "top", "bridge")


@dataclass(frozen=True)
class CriticalPoint:
    """A top, bridge or hollow of the contact map."""

    kind: SiteKind
    position: tuple[float, float, float]
    """Centre of the probe."""
    atoms: tuple[int, ...]
    """Atoms that it touches, as indices into the map's periodic copies."""


@dataclass(frozen=True)
class ContactMap:
    """Caps of all atoms near a surface, periodic copies included."""

    cell: Array
    """In-plane cell vectors, shape (2, 2)."""
    n_own: int
    """The first so many atoms are those of the cell itself."""
    positions: Array
    symbols: tuple[str, ...]
    radii: Array
    """Atomic radii scaled to touch."""
    reach: Array
    """Cap radii ``R``."""

    @classmethod
    def of(cls, atoms: Atoms) -> ContactMap:
        """Build the map of a surface, top at high z."""
        from ase.data import covalent_radii

        shallow = atoms[atoms.positions[:, 2] > atoms.positions[:, 2].max() - DEPTH_A]
        bare = covalent_radii[shallow.numbers]
        positions, index = periodic_copies(shallow, 3 * (1 + PROBE) * float(bare.max()))
        scale = _touching_scale(positions, bare[index], len(shallow))
        radii = scale * bare[index]
        symbols = shallow.get_chemical_symbols()
        return cls(
            cell=shallow.cell.array[:2, :2],
            n_own=len(shallow),
            positions=positions,
            symbols=tuple(symbols[i] for i in index),
            radii=radii,
            reach=radii + PROBE * scale * float(bare.mean()),
        )

    @property
    def diameter(self) -> float:
        """Mean diameter of the atoms, Å."""
        return float(2 * self.radii.mean())

    def critical_points(self) -> list[CriticalPoint]:
        """Tops, bridges and hollows of one cell, nearly coinciding ones merged.

        In a merged cluster a hollow counts before a top, and a top before a bridge.
        """
        exposed = self._exposed
        found = {
            "hollow": self._hollows(exposed),
            "top": self._tops(exposed),
            "bridge": self._bridges(exposed),
        }
        kinds = np.repeat(list(found), [len(points) for points in found.values()])
        points = np.concatenate(list(found.values()))
        merged = []
        for cluster in _clusters(points, self.cell, MERGE * self.diameter):
            kind = next(kind for kind in _KINDS if kind in kinds[cluster])
            members = points[cluster][kinds[cluster] == kind]
            merged.append(self._critical_point(kind, _periodic_mean(members, self.cell)))
        return merged

    def _critical_point(self, kind: SiteKind, point: Array) -> CriticalPoint:
        excess = np.linalg.norm(self.positions - point, axis=1) - self.reach
        if kind == "hollow":
            n_atoms = max(3, int((excess < excess.min() + TOUCH * self.diameter).sum()))
        else:
            n_atoms = 1 if kind == "top" else 2
        x, y, z = (float(v) for v in point)
        return CriticalPoint(kind, (x, y, z), tuple(int(i) for i in np.argsort(excess)[:n_atoms]))

    def shell(self, atoms: tuple[int, ...]) -> Shell:
        """Elements of atoms and how many there are of each."""
        return tuple(sorted(Counter(self.symbols[i] for i in atoms).items()))

    def second_shell(self, atoms: tuple[int, ...]) -> Shell:
        """Neighbours of atoms, themselves left out."""
        near = set().union(*(self._neighbours(atom) for atom in atoms))
        return self.shell(tuple(near - set(atoms)))

    def neighbours(self, atoms: tuple[int, ...]) -> tuple[tuple[str, Shell], ...]:
        """Each atom's element and its own neighbours, sorted."""
        return tuple(sorted((self.symbols[i], self.shell(tuple(self._neighbours(i)))) for i in atoms))

    def beneath(self, point: Array, atoms: tuple[int, ...]) -> Shell:
        """Atoms straight below a point that touch one of ``atoms`` from below.

        Parameters
        ----------
        point
            Place over the surface, shape (3,), Å.
        atoms
            First shell of the point.
        """
        near = set().union(*(self._neighbours(atom) for atom in atoms)) - set(atoms)
        lowest = min(self.positions[i, 2] for i in atoms)
        offsets = np.linalg.norm(self.positions[:, :2] - point[:2], axis=1)
        return self.shell(
            tuple(i for i in near if self.positions[i, 2] < lowest and offsets[i] < BENEATH * self.radii[i])
        )

    def _neighbours(self, atom: int) -> set[int]:
        distances = np.linalg.norm(self.positions - self.positions[atom], axis=1)
        near = np.flatnonzero(distances < NEIGHBOUR_FACTOR * (self.radii + self.radii[atom]))
        return {int(i) for i in near} - {atom}

    def mean_height(self, atoms: tuple[int, ...]) -> float:
        """Mean z of atoms."""
        return float(self.positions[list(atoms), 2].mean())

    def _caps(self, lateral: Array, atoms: IntArray) -> Array:
        """Height of atoms' caps over lateral positions, minus infinity beside them."""
        squares = np.repeat(self.reach[atoms][None] ** 2, len(lateral), axis=0)
        for axis in (0, 1):
            squares -= np.subtract.outer(lateral[:, axis], self.positions[atoms, axis]) ** 2
        with np.errstate(invalid="ignore"):
            caps = self.positions[atoms, 2] + np.sqrt(squares)
        return np.where(squares > 0, caps, -np.inf)

    @cached_property
    def _exposed(self) -> IntArray:
        """Atoms (copies too) whose cap comes near the map anywhere: they alone decide its height."""
        counts = np.ceil(np.linalg.norm(self.cell, axis=1) / GRID_A).astype(int)
        grid = np.array(list(itertools.product(*(np.arange(n) / n for n in counts)))) @ self.cell
        crests = self.positions[:, 2] + self.reach
        upper = np.flatnonzero(self.positions[:, 2] > self.positions[:, 2].max() - self.reach.max())
        lowest = min(self._caps(chunk, upper).max(axis=1).min() for chunk in _chunks(grid))
        high = np.flatnonzero(crests > lowest - NEAR_MAP_A)
        is_near = np.zeros(len(high), dtype=bool)
        for chunk in _chunks(grid):
            caps = self._caps(chunk, high)
            is_near |= (caps > caps.max(axis=1, keepdims=True) - NEAR_MAP_A).any(axis=0)
        # All copies of an exposed atom count, wherever the grid met it.
        return high[np.isin(high % self.n_own, high[is_near] % self.n_own)]

    def _is_on_map(self, points: Array) -> NDArray[np.bool_]:
        if not len(points):
            return np.zeros(0, dtype=bool)
        heights = [self._caps(chunk[:, :2], self._exposed).max(axis=1) for chunk in _chunks(points)]
        return np.asarray(np.concatenate(heights) < points[:, 2] + ON_MAP)

    def _partners(self, atom: int, exposed: IntArray) -> IntArray:
        """Exposed atoms whose caps can meet the cap of ``atom``."""
        distances = np.linalg.norm(self.positions[exposed] - self.positions[atom], axis=1)
        chosen = (distances < self.reach[exposed] + self.reach[atom]) & (exposed != atom)
        return np.asarray(exposed[chosen])

    def _tops(self, exposed: IntArray) -> Array:
        own = exposed[exposed < self.n_own]
        points = self.positions[own] + self.reach[own, None] * [0.0, 0.0, 1.0]
        return np.asarray(points[self._is_on_map(points)])

    def _bridges(self, exposed: IntArray) -> Array:
        """Highest points of the circles in which two caps meet, if the map is lower on both sides."""
        found = [np.zeros((0, 3))]
        for atom in exposed[exposed < self.n_own]:
            partners = self._partners(atom, exposed)
            axis = self.positions[partners] - self.positions[atom]
            length = np.linalg.norm(axis, axis=1)
            axis = axis / length[:, None]
            along = (length**2 + self.reach[atom] ** 2 - self.reach[partners] ** 2) / (2 * length)
            square = self.reach[atom] ** 2 - along**2
            upward = np.array([0.0, 0.0, 1.0]) - axis[:, 2:] * axis
            steepness = np.linalg.norm(upward, axis=1)
            usable = (square > 0) & (steepness > 1e-6)
            radius = np.sqrt(square[usable])
            points = self.positions[atom] + along[usable, None] * axis[usable]
            points += (radius / steepness[usable])[:, None] * upward[usable]
            lateral = axis[usable, :2]
            from_first = ((points[:, :2] - self.positions[atom, :2]) * lateral).sum(axis=1)
            from_second = ((self.positions[partners[usable], :2] - points[:, :2]) * lateral).sum(axis=1)
            points = points[(from_first > 0) & (from_second > 0)]
            found.append(points[self._is_on_map(points)])
        return np.concatenate(found)

    def _hollows(self, exposed: IntArray) -> Array:
        """Points in which three caps meet and the map rises all around."""
        found = [np.zeros((0, 3))]
        for atom in exposed[exposed < self.n_own]:
            partners = self._partners(atom, exposed)
            pairs = np.array(list(itertools.combinations(partners, 2)), dtype=int).reshape(-1, 2)
            gaps = np.linalg.norm(self.positions[pairs[:, 0]] - self.positions[pairs[:, 1]], axis=1)
            points = self._meeting_points(atom, pairs[gaps < self.reach[pairs].sum(axis=1)])
            points = points[self._is_on_map(points)]
            found.append(points[[self._is_minimum(point) for point in points]] if len(points) else points)
        return np.concatenate(found)

    def _meeting_points(self, atom: int, pairs: IntArray) -> Array:
        """Upper intersections of an atom's cap with pairs of others (trilateration), shape (n, 3)."""
        first = self.positions[pairs[:, 0]] - self.positions[atom]
        second = self.positions[pairs[:, 1]] - self.positions[atom]
        length = np.linalg.norm(first, axis=1)
        x_axis = first / length[:, None]
        i = (x_axis * second).sum(axis=1)
        y_axis = second - i[:, None] * x_axis
        j = np.linalg.norm(y_axis, axis=1)
        spread = j > 1e-6  # three atoms in a row have no upper meeting point of their own
        x_axis, y_axis, length, i, j = (v[spread] for v in (x_axis, y_axis, length, i, j))
        y_axis = y_axis / j[:, None]
        own = self.reach[atom] ** 2
        one, other = self.reach[pairs[spread, 0]] ** 2, self.reach[pairs[spread, 1]] ** 2
        x = (own - one + length**2) / (2 * length)
        y = (own - other + i**2 + j**2) / (2 * j) - i / j * x
        square = own - x**2 - y**2
        z_axis = np.cross(x_axis, y_axis)
        z_axis = z_axis * np.where(z_axis[:, 2:] < 0, -1.0, 1.0)
        height = np.sqrt(np.maximum(square, 0.0))
        points = x[:, None] * x_axis + y[:, None] * y_axis + height[:, None] * z_axis
        return np.asarray(points[square > 0] + self.positions[atom])

    def _is_minimum(self, point: Array) -> bool:
        """Whether the touched atoms surround a point of the map, so that it rises on all sides."""
        distances = np.linalg.norm(self.positions - point, axis=1)
        touched = self.positions[distances < self.reach + ON_MAP, :2] - point[:2]
        angles = np.sort(np.arctan2(touched[:, 1], touched[:, 0]))
        gaps = np.diff(angles, append=angles[:1] + 2 * np.pi)
        return bool(gaps.max(initial=0.0) < np.pi + 0.01)


def _chunks(points: Array) -> list[Array]:
    """Parts small enough for the caps over them to stay in cache."""
    return np.array_split(points, len(points) // 100 + 1)


def _touching_scale(positions: Array, radii: Array, n_own: int) -> float:
    """Factor on the radii that makes the typical atom touch its nearest neighbour."""
    ratios = []
    for atom in range(n_own):
        distances = np.linalg.norm(positions - positions[atom], axis=1)
        distances[atom] = np.inf
        ratios.append((distances / (radii + radii[atom])).min())
    return float(np.mean(ratios))


def _clusters(points: Array, cell: Array, reach: float) -> list[IntArray]:
    """Groups of points that chain together within a distance, across the cell's borders."""
    from scipy.sparse.csgraph import connected_components

    offsets = points[:, None, :] - points[None, :, :]
    offsets[..., :2] = _nearest_image(offsets[..., :2], cell)
    n_clusters, labels = connected_components(np.linalg.norm(offsets, axis=2) < reach, directed=False)
    return [np.flatnonzero(labels == label) for label in range(n_clusters)]


def _nearest_image(offsets: Array, cell: Array) -> Array:
    """Shortest copy of in-plane offsets in a reduced cell."""
    fractional = offsets @ np.linalg.inv(cell)
    base = (fractional - np.round(fractional)) @ cell
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=2))) @ cell
    choices = base[..., None, :] + shifts
    best = np.argmin((choices**2).sum(axis=-1), axis=-1)
    return np.asarray(np.take_along_axis(choices, best[..., None, None], axis=-2)[..., 0, :])


def _periodic_mean(points: Array, cell: Array) -> Array:
    """Mean of points that lie close together, brought into the home cell.

    The same point is found once per atom that it touches, so coinciding ones count once.
    """
    near = points - points[0]
    near[:, :2] = _nearest_image(near[:, :2], cell)
    distinct: list[Array] = []
    for offset in near:
        if all(np.linalg.norm(offset - other) > DISTINCT_A for other in distinct):
            distinct.append(offset)
    mean = points[0] + np.mean(distinct, axis=0)
    fractional = mean[:2] @ np.linalg.inv(cell)
    mean[:2] -= np.floor(fractional + 1e-6) @ cell
    return np.asarray(mean)
