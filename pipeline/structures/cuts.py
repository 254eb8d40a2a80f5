"""Geometry of a facet: its lattice basis, its atomic planes, and slabs cut from them.

Units: Å. A *phase* is ``h·x`` for fractional ``x``: height over the facet in units of the lattice-plane
distance times :attr:`Facet.period`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from config.campaign import MillerIndex
    from pipeline.domain import Shell
    from pipeline.structures.crystal import Symmetry

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

PLANE_GAP_A = 0.1137
"""Atoms whose heights differ by less belong to one atomic plane, Å."""
HEIGHT_TOLERANCE_A = 0.01
"""Slack in comparing heights and widths with settings, Å: noise must not add a layer."""
CELL_MARGIN_A = 2.0
"""Length of a surface's cell above its height, Å."""


@dataclass(frozen=True)
class Plane:
    """One atomic plane of a period of a facet."""

    phase: float
    """Of its middle."""
    phases: Array
    """Of its atoms; continuous, so that the plane does not wrap around the period."""
    atoms: IntArray
    """Their indices in the bulk's primitive set."""
    shell: Shell


@dataclass(frozen=True)
class Facet:
    """A direction to cut a crystal along, with everything that all its terminations share."""

    outward: MillerIndex
    period: float
    """Smallest phase of a lattice vector: one lattice plane to the next."""
    spacing: float
    """Distance of lattice planes, Å."""
    frame: Array
    """Rows: lattice vectors a and b in the plane, and one that climbs one lattice plane, in the
    Cartesian frame of the slab (a along x, outward normal along z), shape (3, 3), Å."""
    numbers: IntArray
    """Atoms of a primitive cell."""
    positions: Array
    """Their positions in the frame's Cartesian coordinates, Å."""
    planes: tuple[Plane, ...]
    """From low to high phase over one period."""

    @classmethod
    def of(cls, atoms: Atoms, group: Symmetry, outward: MillerIndex) -> Facet:
        """Work out the facet of a conventional cell."""
        primitive = group.primitive
        climbs = np.round(primitive @ np.array(outward) * 6).astype(int)
        steps = int(np.gcd.reduce(climbs))
        lattice = _plane_basis(climbs // steps) @ primitive @ atoms.cell.array
        lattice[:2] = _reduced(lattice[:2])
        frame, rotation = _surface_frame(lattice, np.linalg.inv(atoms.cell.array) @ np.array(outward))
        chosen = _one_per_primitive_cell(atoms, primitive)
        fractional = atoms.get_scaled_positions()[chosen]
        period = steps / 6
        phases = fractional @ np.array(outward) % period
        spacing = float(frame[2, 2])
        return cls(
            outward=outward,
            period=period,
            spacing=spacing,
            frame=frame,
            numbers=atoms.numbers[chosen],
            positions=fractional @ atoms.cell.array @ rotation.T,
            planes=_planes(phases, atoms.numbers[chosen], period, spacing),
        )

    def plane_at(self, phase: float) -> int:
        """Index of the plane whose middle is nearest to a phase, modulo the period."""
        offsets = np.array([plane.phase for plane in self.planes]) - phase
        return int(np.argmin(np.abs(offsets - self.period * np.round(offsets / self.period))))

    def shift_below(self, plane: int) -> float:
        """Middle of the gap above a plane as a fraction of the period, for display."""
        above = self.planes[(plane + 1) % len(self.planes)]
        gap = (above.phases.min() - self.planes[plane].phases.max()) % self.period
        return float((self.planes[plane].phases.max() + gap / 2) % self.period / self.period)


def cut_slab(facet: Facet, top_plane: int, height: float) -> Atoms:
    """Cut the half crystal under a plane at the fewest planes that reach a height.

    Parameters
    ----------
    facet, top_plane
        The termination.
    height
        Smallest distance between topmost and lowest atom, Å.

    Returns
    -------
    Atoms
        Top at high z and lowest atom at z = 0; tags number the planes from 1 at the top; periodic in the
        plane only.
    """
    from ase import Atoms

    numbers, positions, tags = [], [], []
    top = -np.inf
    lowest = np.inf
    layer = 0
    while layer == 0 or top - lowest < height - HEIGHT_TOLERANCE_A:
        index = (top_plane - layer) % len(facet.planes)
        periods_down = (layer + len(facet.planes) - 1 - top_plane) // len(facet.planes)
        plane = facet.planes[index]
        placed = _in_plane(facet, plane, periods_down)
        numbers.append(facet.numbers[plane.atoms])
        positions.append(placed)
        tags.append(np.full(len(placed), layer + 1))
        top, lowest = max(top, placed[:, 2].max()), min(lowest, placed[:, 2].min())
        layer += 1
    stacked = np.concatenate(positions)
    stacked[:, 2] -= lowest
    cell = facet.frame.copy()
    cell[2] = [0.0, 0.0, top - lowest + CELL_MARGIN_A]
    atoms = Atoms(
        np.concatenate(numbers), stacked, cell=cell, pbc=(True, True, False), tags=np.concatenate(tags)
    )
    atoms.wrap()
    return atoms


def _in_plane(facet: Facet, plane: Plane, periods_down: int) -> Array:
    """Positions of a plane's atoms, ``periods_down`` lattice planes below the first period."""
    positions = facet.positions[plane.atoms]
    phases = positions[:, 2] / facet.spacing
    climb = np.round(plane.phases / facet.period - phases) - periods_down
    return np.asarray(positions + climb[:, None] * facet.frame[2])


def _planes(phases: Array, numbers: IntArray, period: float, spacing: float) -> tuple[Plane, ...]:
    """Group atoms whose heights chain together, around the period."""
    order = np.argsort(phases)
    ordered = phases[order]
    gaps = np.diff(ordered, append=ordered[0] + period) * spacing / period
    # A dense stack of lattice planes may leave no gap that wide: then the widest ones part the planes.
    starts_after = np.flatnonzero(gaps > min(PLANE_GAP_A, gaps.max() - HEIGHT_TOLERANCE_A))
    planes = []
    for previous, last in zip(starts_after, np.roll(starts_after, -1), strict=True):
        n_atoms = (last - previous) % len(order) or len(order)
        members = (previous + 1 + np.arange(n_atoms)) % len(order)
        continuous = ordered[members]
        continuous = continuous + period * (continuous < continuous[0] - 1e-12)
        counts = Counter(int(z) for z in numbers[order[members]])
        planes.append(Plane(float(continuous.mean()), continuous, order[members], _shell(counts)))
    return tuple(sorted(planes, key=lambda plane: float(plane.phases[0])))


def _shell(counts: Counter[int]) -> Shell:
    from ase.data import chemical_symbols

    return tuple(sorted((chemical_symbols[z], n) for z, n in counts.items()))


def _plane_basis(climbs: IntArray) -> IntArray:
    """Unimodular rows: two lattice vectors that stay in a lattice plane, one that climbs to the next.

    Parameters
    ----------
    climbs
        Lattice planes that each basis vector climbs, coprime integers, shape (3,).
    """
    rows = np.eye(3, dtype=int)
    values = climbs.copy()
    while np.count_nonzero(values) > 1:  # Euclid's algorithm on three numbers at once
        pivot = int(np.argmin(np.where(values == 0, np.iinfo(int).max, np.abs(values))))
        for other in range(3):
            if other != pivot:
                quotient = values[other] // values[pivot]
                rows[other] -= quotient * rows[pivot]
                values[other] -= quotient * values[pivot]
    climbing = int(np.flatnonzero(values)[0])
    rows[climbing] *= values[climbing]
    return rows[[i for i in range(3) if i != climbing] + [climbing]]


def _reduced(plane: Array) -> Array:
    """Shortest basis of a two-dimensional lattice (Gauss), at an acute or right angle."""
    a, b = sorted(plane, key=np.linalg.norm)
    while True:
        b = b - round(float(a @ b) / float(a @ a) - 1e-6) * a
        if np.linalg.norm(b) >= np.linalg.norm(a) - 1e-6:
            break
        a, b = b, a
    return np.array([a, b if a @ b > -1e-6 else -b])


def _surface_frame(lattice: Array, normal: Array) -> tuple[Array, Array]:
    """Turn lattice rows so that a lies along x and the outward normal along z, right-handed.

    Returns
    -------
    tuple
        The turned rows and the rotation (Cartesian columns), each of shape (3, 3).
    """
    z = normal / np.linalg.norm(normal)
    if np.linalg.det(np.array([lattice[0], lattice[1], z])) < 0:
        lattice = np.array([lattice[0], -lattice[1], lattice[2]])
        other = lattice[0] + lattice[1]
        if lattice[0] @ lattice[1] < -1e-6 and np.linalg.norm(other) < np.linalg.norm(lattice[1]) + 1e-3:
            lattice[1] = other  # hexagonal: 60 degrees rather than 120
    x = lattice[0] / np.linalg.norm(lattice[0])
    rotation = np.array([x, np.cross(z, x), z])
    frame = lattice @ rotation.T
    frame[:2, 2] = 0.0
    return frame, rotation


def _one_per_primitive_cell(atoms: Atoms, primitive: Array) -> IntArray:
    """Indices of one atom out of each set that centring makes equal."""
    cell = primitive @ atoms.cell.array
    in_primitive = atoms.get_positions() @ np.linalg.inv(cell)
    chosen: list[int] = []
    for index, position in enumerate(in_primitive):
        offsets = in_primitive[chosen] - position
        offsets -= np.round(offsets)
        distances = np.linalg.norm(offsets @ cell, axis=1)
        if not chosen or distances[atoms.numbers[chosen] == atoms.numbers[index]].min(initial=np.inf) > 0.1:
            chosen.append(index)
    return np.array(chosen)
