"""Gas-phase references of the adsorption energies.

An adsorbate's energy is counted from a molecule that GPAW describes well: ½ H2 for H and CO for CO, as
in Tran and Ulissi, Nature Catalysis 1 (2018) 696. Units: Å.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

REFERENCES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"H": MappingProxyType({"H2": 0.5}), "CO": MappingProxyType({"CO": 1.0})}
)
"""Adsorbate -> molecules whose energies, times these coefficients, add up to its reference energy."""


def gas_atoms(molecule: str, box_a: float) -> Atoms:
    """Build a molecule in the middle of its box.

    The edges differ by 0.2 Å, so that no orbital is degenerate because of the box alone.

    Parameters
    ----------
    molecule
        A name that ASE's G2 collection knows, such as ``H2`` or ``CO``.
    box_a
        Shortest edge of the periodic box, Å.

    Raises
    ------
    KeyError
        If ASE knows no such molecule.
    """
    from ase.build import molecule as build_molecule

    atoms: Atoms = build_molecule(molecule)
    atoms.set_cell([box_a, box_a + 0.2, box_a + 0.4])
    atoms.center()
    atoms.pbc = True
    return atoms
