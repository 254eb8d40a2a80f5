"""Crystals that the tests cut, and ways to describe the same crystal differently."""

import itertools
from pathlib import Path

import numpy as np
from ase import Atoms

from pipeline.domain import Bulk
from pipeline.structures.bulks import make_bulk
from pipeline.structures.library import library_bulk

NO_FILES = Path("/nonexistent")
LIBRARY = {
    "fcc Cu": "mp-30",
    "fcc Al": "mp-134",
    "bcc Fe": "mp-13",
    "hcp Ru": "mp-33",
    "hcp Zn": "mp-79",
    "B2 NiAl": "mp-1487",
    "L1_2 Ni3Al": "mp-2593",
    "monoclinic": "mp-112",
    "ternary Heusler": "mp-979910",
}
"""One library bulk per kind of crystal."""


def from_library(mpid: str) -> Bulk:
    return make_bulk(library_bulk(mpid).atoms(), mpid, "library")


def unimodular(rng: np.random.Generator) -> np.ndarray:
    """Random integer change of axes with determinant 1 or -1."""
    while True:
        change = rng.integers(-1, 2, (3, 3))
        if abs(round(np.linalg.det(change))) == 1:
            return change


def redescribed(atoms: Atoms, seed: int, noise: float = 1e-4) -> Atoms:
    """The same crystal: other cell, maybe doubled, turned, maybe mirrored, shifted, shuffled, noisy."""
    rng = np.random.default_rng(seed)
    supercells = [(1, 1, 1), *itertools.permutations((1, 1, 2)), (2, 2, 1)]
    atoms = atoms.repeat(supercells[rng.integers(len(supercells))])
    change = unimodular(rng)
    cell = change @ atoms.cell.array
    scaled = atoms.get_scaled_positions() @ np.linalg.inv(change) + rng.random(3)
    other = Atoms(atoms.numbers, cell=cell, scaled_positions=scaled % 1.0, pbc=True)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    other.set_cell(cell @ rotation, scale_atoms=True)
    other.positions += rng.normal(scale=noise, size=other.positions.shape)
    return other[rng.permutation(len(other))]
