"""Where spin-polarised calculations start from.

Without initial moments GPAW stays in the non-magnetic solution, which is 0.71 eV per atom too high for
bcc iron. Units: μB.

References
----------
.. [1] C. Kittel, *Introduction to Solid State Physics*, 8th ed. (Wiley, 2005), chapter 12: measured
   moments of ferromagnetic Fe, Co and Ni (2.22, 1.72 and 0.606), rounded up a little here because a
   moment shrinks easily during the self-consistency cycle and hardly ever grows from near zero.
.. [2] Hund's rule gives the free Mn and Cr atoms 5 and 6; 3 is a start from which alloys find either a
   high or a low moment. Antiferromagnetic order is not tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INITIAL_MOMENTS = {24: 3.0, 25: 3.0, 26: 2.4, 27: 1.8, 28: 0.8}
"""Atomic number -> initial moment (Cr, Mn, Fe, Co, Ni), μB [1]_ [2]_."""


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
