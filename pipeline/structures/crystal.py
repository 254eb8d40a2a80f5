"""One description per crystal: the canonical conventional cell and its symmetry operations.

The same crystal arrives as a primitive or conventional cell or a supercell, with its atoms in any order,
shifted, rotated or slightly noisy. moyopy finds the space group and the standard cell. That cell is still
free in how the axes point when the crystal has less symmetry than its lattice (pyrite along +a or +b, a
polar crystal up or down); :func:`standardize` tries every orientation that keeps the lattice and takes
the one with the largest score, a number that depends on the structure and is equal for equivalent
orientations. Mirror images have equal energies and count as the same crystal.

Only the origin and the order of the atoms stay free; nothing downstream depends on them. Units: Å;
positions and operations are fractional in the conventional cell, ``x' = W x + w``.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SYMPREC_A = 0.037
"""Atoms this close to a symmetric place are taken to be there, Å; no round number, so that published
structures do not sit on the edge."""
SCORE_CUTOFF_A = 7.0
"""Neighbours that enter the score of an orientation, Å."""
ENANTIOMORPHS = {
    78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212,
}  # fmt: skip
"""Space groups that are the mirror image of another one, and that one."""
_WAVE_VECTORS = np.array([[0.731, 0.417, 0.253], [-0.372, 0.658, 0.519], [0.289, -0.534, 0.811]])
"""Three directions without any relation to a lattice, 1/Å."""


@dataclass(frozen=True)
class Symmetry:
    """Space group of a conventional cell."""

    number: int
    rotations: IntArray
    """Shape (n, 3, 3)."""
    translations: Array
    """Shape (n, 3)."""
    primitive: Array
    """Rows: a primitive basis in conventional coordinates, shape (3, 3)."""
    orbits: tuple[tuple[int, int], ...]
    """Atomic number and number of atoms per primitive cell of every orbit, sorted."""


def _dataset(atoms: Atoms) -> Any:
    """Run moyopy's symmetry search."""
    import moyopy

    # moyopy warns on every supercell, which is an input like any other here.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    cell = moyopy.Cell(
        atoms.cell.array.tolist(), atoms.get_scaled_positions().tolist(), [int(z) for z in atoms.numbers]
    )
    try:
        return moyopy.MoyoDataset(cell, symprec=SYMPREC_A)
    except Exception as error:  # moyopy raises bare ValueError and panics alike
        message = f"no symmetry found for {atoms.get_chemical_formula()}: {error}"
        raise StructureError(message) from error


def _primitive_rows(dataset: Any) -> Array:
    """Primitive basis in conventional coordinates; both cells share one Cartesian frame."""
    basis = np.array(dataset.prim_std_cell.basis) @ np.linalg.inv(np.array(dataset.std_cell.basis))
    return np.asarray(np.round(basis * 6) / 6)


def symmetry(atoms: Atoms) -> Symmetry:
    """Operations of a cell that :func:`standardize` returned, modulo lattice translations.

    Raises
    ------
    StructureError
        If ``atoms`` is no standard conventional cell.
    """
    dataset = _dataset(atoms)
    to_input = np.array(dataset.std_linear, dtype=float)
    primitive = _primitive_rows(dataset) @ to_input.T
    orbit_of = np.array(dataset.orbits)
    n_cells = round(1 / abs(np.linalg.det(primitive)))
    orbits = sorted(
        (int(atoms.numbers[label]), int((orbit_of == label).sum()) // n_cells)
        for label in np.unique(orbit_of)
    )
    return Symmetry(
        number=ENANTIOMORPHS.get(dataset.number, dataset.number),
        rotations=np.array(dataset.operations.rotations, dtype=np.int64),
        translations=np.array(dataset.operations.translations, dtype=float),
        primitive=primitive,
        orbits=tuple(orbits),
    )


def standardize(atoms: Atoms) -> Atoms:
    """Canonical conventional cell, refined to its symmetry.

    Parameters
    ----------
    atoms
        Any cell of a three-dimensional crystal.

    Returns
    -------
    Atoms
        Right-handed conventional cell (standard setting of the International Tables) in the standard
        Cartesian frame, the same for every description of the crystal but for origin and atom order.

    Raises
    ------
    StructureError
        If no symmetry can be found.
    """
    current = _conventional(_dataset(atoms))
    dataset = _dataset(current)
    for _ in range(3):  # refining may bring atoms within reach of more symmetry
        refined = _conventional(dataset)
        again = _dataset(refined)
        if again.number == dataset.number and len(refined) == len(current):
            break
        current, dataset = refined, again
    if dataset.number in ENANTIOMORPHS:
        current.set_scaled_positions(-current.get_scaled_positions())
        current = _conventional(_dataset(current))
    return _oriented(current)


def primitive(atoms: Atoms) -> Atoms:
    """Primitive standard cell of a crystal.

    Raises
    ------
    StructureError
        If no symmetry can be found.
    """
    return _to_atoms(_dataset(atoms).prim_std_cell)


def _conventional(dataset: Any) -> Atoms:
    return _to_atoms(dataset.std_cell)


def _to_atoms(cell: Any) -> Atoms:
    """Cell of moyopy as ASE atoms."""
    from ase import Atoms

    return Atoms(cell.numbers, scaled_positions=cell.positions, cell=np.array(cell.basis), pbc=True)


def _oriented(atoms: Atoms) -> Atoms:
    """Turn the crystal in its lattice to the orientation with the largest score."""
    dataset = _dataset(atoms)
    rotations = np.array(dataset.operations.rotations)
    primitive = _primitive_rows(dataset) @ np.array(dataset.std_linear).T
    candidates = [
        change
        for change in _lattice_symmetries(atoms.cell.array, primitive)
        if _keeps_point_group(change, rotations)
    ]
    if len(candidates) <= len(np.unique(rotations, axis=0)):
        return atoms
    scores = _scores(atoms, candidates)
    best = candidates[int(np.argmax(scores > scores.max() - 1e-6 * np.abs(scores).max()))]
    turned: Atoms = atoms.copy()
    # The lattice is kept, so the old cell holds the new coordinates, mirrored or not.
    turned.set_scaled_positions(atoms.get_scaled_positions() @ np.linalg.inv(best))
    turned.wrap()
    return turned


def _lattice_symmetries(cell: Array, primitive: Array) -> list[IntArray]:
    """Integer changes of axes that keep lengths, angles and centring (the lattice's point group)."""
    rows = [np.array(r) for r in itertools.product((-1, 0, 1), repeat=3) if any(r)]
    metric = cell @ cell.T
    close = 1e-3 * metric.trace()
    lengths = [[r for r in rows if abs(r @ metric @ r - metric[i, i]) < close] for i in range(3)]
    found = []
    for a, b, c in itertools.product(*lengths):
        change = np.array([a, b, c])
        if (
            abs(round(np.linalg.det(change))) != 1
            or np.abs(change @ metric @ change.T - metric).max() > close
        ):
            continue
        centring = primitive @ np.linalg.inv(change) @ np.linalg.inv(primitive)
        if np.abs(centring - np.round(centring)).max() < 1e-6:
            found.append(change)
    return found


def _keeps_point_group(change: IntArray, rotations: IntArray) -> bool:
    """Whether changed axes leave every kind of axis and mirror where the standard setting has it."""
    turn = np.linalg.inv(change).T
    turned = np.round(turn @ rotations @ np.linalg.inv(turn)).astype(int)
    return {w.tobytes() for w in turned} == {w.tobytes() for w in rotations.astype(int)}


def _scores(atoms: Atoms, changes: list[IntArray]) -> Array:
    """Score of the crystal seen along changed axes, shape (n_changes,).

    A sum over atoms of products of three local structure factors: neighbours' directions enter in
    triples, so that a crystal, its inverse and its mirror image differ even when all atoms are alike.
    """
    import vesin

    first, second, vectors, distances = vesin.ase_neighbor_list("ijDd", atoms, SCORE_CUTOFF_A)
    weights = (1 - (distances / SCORE_CUTOFF_A) ** 2) ** 2 * np.sqrt(atoms.numbers[second])
    environment = np.bincount(first, weights / distances**2, minlength=len(atoms))
    fractional = vectors @ np.linalg.inv(atoms.cell.array)
    scores = []
    for change in changes:
        turned = fractional @ np.linalg.inv(change) @ atoms.cell.array
        product = environment.astype(complex)
        for wave_vector in _WAVE_VECTORS:
            waves = weights * np.exp(1j * (turned @ wave_vector))
            real = np.bincount(first, waves.real, minlength=len(atoms))
            product *= real + 1j * np.bincount(first, waves.imag, minlength=len(atoms))
        scores.append((product.real + product.imag).sum() / len(atoms))
    return np.array(scores)
