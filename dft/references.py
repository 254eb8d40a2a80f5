"""Gas-phase references of the adsorption energies: the molecules that ``config.adsorbates`` allows.

Geometries and magnetic moments are those of ASE's G2 set, where relaxations start. Units: Å, μB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

G2_NAMES = {"H2S": "SH2"}
"""Molecules that the G2 set calls otherwise."""


def gas_atoms(molecule: str, box_a: float) -> Atoms:
    """Build a molecule in the middle of its box.

    The edges differ by 0.2 Å, so that no orbital is degenerate because of the box alone.

    Parameters
    ----------
    molecule
        One of :data:`config.adsorbates.REFERENCE_MOLECULES`, or another that ASE's G2 set knows.
    box_a
        Shortest edge of the periodic box, Å.

    Raises
    ------
    KeyError
        If ASE knows no such molecule.
    """
    from ase.build import molecule as build_molecule

    atoms: Atoms = build_molecule(G2_NAMES.get(molecule, molecule))
    atoms.set_cell([box_a, box_a + 0.2, box_a + 0.4])
    atoms.center()
    atoms.pbc = True
    return atoms
