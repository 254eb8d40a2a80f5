"""Where spin-polarised calculations start from.

Without initial moments GPAW stays in the non-magnetic solution, which is 0.71 eV per atom too high for
bcc iron. Spin doubles the cost, so it is used where something says that it is needed:

- bulks and bare slabs with a magnetic element start ferromagnetic;
- an adslab starts from the moments that its bare slab ended with, so that ΔE compares one magnetic state
  with itself; a slab that ended without any is computed without spin from then on;
- molecules start with the moments of ASE's G2 set: NO has an unpaired electron, H2O has none;
- everything else is not polarised.

Whether slab and adslab did end in the same state is told by :func:`change_beside_adsorbate`. Units: μB.

References
----------
.. [1] C. Kittel, *Introduction to Solid State Physics*, 8th ed. (Wiley, 2005), chapter 12: measured
   moments of ferromagnetic Fe, Co and Ni (2.22, 1.72 and 0.606), rounded up a little here because a
   moment shrinks easily during the self-consistency cycle and hardly ever grows from near zero.
.. [2] Hund's rule gives the free Mn and Cr atoms 5 and 6; 3 is a start from which alloys find either a
   high or a low moment. Antiferromagnetic order is not tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

INITIAL_MOMENTS = {24: 3.0, 25: 3.0, 26: 2.4, 27: 1.8, 28: 0.8}
"""Atomic number -> initial moment (Cr, Mn, Fe, Co, Ni), μB [1]_ [2]_."""
NO_MOMENT = 0.05
"""A structure whose atoms all have less is not magnetic, μB."""
TOUCHED = 1.5
"""Slab atoms nearer to the adsorbate than this times the covalent sum bind to it: it may change theirs."""
OTHER_STATE = 0.4
"""A slab atom that the adsorbate does not touch and whose moment changes by more is in another magnetic
state, μB: nickel without its moment, the smallest of the magnetic metals, differs by 0.6."""


def starting_moments(spin: Literal["auto", "never"], atoms: Atoms) -> list[float] | None:
    """Moments that a calculation starts from: the structure's own, or else those of its elements.

    Parameters
    ----------
    spin
        :attr:`config.recipe.RecipeSettings.spin`.

    Returns
    -------
    list of float or None
        One moment per atom, μB; all zero, or None, where no spin is needed.
    """
    if spin == "never":
        return None
    if atoms.has("initial_magmoms"):
        return [float(moment) for moment in atoms.get_initial_magnetic_moments()]
    return initial_moments(atoms.numbers)


def local_moments(atoms: Atoms) -> list[float] | None:
    """Moments that a computed structure ended with.

    Returns
    -------
    list of float or None
        One moment per atom, μB, to two decimals; all zero if none exceeds :data:`NO_MOMENT`; None if
        they are not known.
    """
    found = atoms.calc.results.get("magmoms")
    if found is None:
        return None
    moments = np.round(np.asarray(found, dtype=float), 2) + 0.0
    return [float(moment) for moment in (moments if np.abs(moments).max() > NO_MOMENT else 0.0 * moments)]


def change_beside_adsorbate(slab: Atoms, adslab: Atoms, n_adsorbate_atoms: int) -> float | None:
    """Largest change of a moment among the slab's atoms that the adsorbate does not touch.

    Parameters
    ----------
    slab, adslab
        Relaxed, their final moments as initial ones; atom order as in each other, the adsorbate last.

    Returns
    -------
    float or None
        μB; None if the moments of one of them are not known, or it touches all atoms.
    """
    from dft.geometry import bond_ratios

    if not (slab.has("initial_magmoms") and adslab.has("initial_magmoms")):
        return None
    adsorbate = range(len(slab), len(slab) + n_adsorbate_atoms)
    beside = bond_ratios(adslab, range(len(slab)), adsorbate).min(axis=1) > TOUCHED
    before, after = slab.get_initial_magnetic_moments(), adslab.get_initial_magnetic_moments()
    changes = np.abs(after[: len(slab)] - before)[beside]
    return float(changes.max()) if len(changes) else None


def initial_moments(numbers: Sequence[int]) -> list[float] | None:
    """Ferromagnetic starting moments of a structure.

    Parameters
    ----------
    numbers
        Atomic numbers, length ``n_atoms``.

    Returns
    -------
    list of float or None
        One moment per atom, μB; None if no element of the structure is magnetic.
    """
    moments = [INITIAL_MOMENTS.get(int(number), 0.0) for number in numbers]
    return moments if any(moments) else None
