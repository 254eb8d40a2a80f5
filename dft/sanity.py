"""Numbers that are none, cycles that never end and bands that are too few, noticed as they come up.

Units: electrons per valence electron.
"""

from __future__ import annotations

import math
from typing import Any

from dft.codes import CalculationFailedError, FailureCode

FAR_E_PER_ELECTRON = 0.1
"""Change of the density in one SCF iteration, electrons per valence electron, that is far from a solution."""
FAR_ITERATIONS = 60
"""So many such iterations in a row are a cycle that never ends. Of the cycles that were seen to converge, the
longest row was 29; 24 layers of Al whose charge sloshes stay at 0.2 to 1.3 for ever."""

TOPMOST = 0.01
"""Share of the highest band at any k-point that electrons may fill: with the usual smearing, what is cut off
above it is less than a meV."""


def check_finite(what: str, *numbers: float) -> None:
    """Refuse numbers that are none: comparisons with them are all false, and a force would seem small.

    Raises
    ------
    CalculationFailedError
        ``NOT_FINITE``.
    """
    if not all(map(math.isfinite, numbers)):
        message = f"{what} came out as no finite number"
        raise CalculationFailedError(FailureCode.NOT_FINITE, message)


def check_bands(calculator: Any) -> None:
    """Refuse a solution whose highest band holds electrons: further bands would hold some, too.

    Parameters
    ----------
    calculator : gpaw.new.ase_interface.ASECalculator
        After a converged calculation; collective, as every MPI rank calls it alike.

    Raises
    ------
    CalculationFailedError
        ``CRASHED``, with the words that GPAW has for it.
    """
    n_kpoints, n_spins = len(calculator.get_ibz_k_points()), calculator.get_number_of_spins()
    points = [(k, s) for k in range(n_kpoints) for s in range(n_spins)]
    filled = max(float(calculator.get_occupation_numbers(k, s, raw=True)[-1]) for k, s in points)
    if filled > TOPMOST:
        message = f"Too few bands! The highest one is filled by {filled:.1%} at some k-point"
        raise CalculationFailedError(FailureCode.CRASHED, message)


class Cycle:
    """Sees whether self-consistency cycles run away: those would never come back, and cost the same."""

    def __init__(self) -> None:
        self._n_far = 0

    def look(self, context: Any) -> None:
        """Look at an iteration; collective, as every MPI rank calls it alike.

        Parameters
        ----------
        context : gpaw.new.scf.SCFContext
            What GPAW tells of the iteration.

        Raises
        ------
        CalculationFailedError
            ``NOT_FINITE``, or ``SCF_NOT_CONVERGED`` long before the recipe's last iteration.
        """
        from gpaw.mpi import broadcast_float

        check_finite("the energy", broadcast_float(context.ham.e_total_extrapolated, context.wfs.world))
        error = broadcast_float(context.dens.error, context.wfs.world) / context.wfs.nvalence
        # Infinite in the first iteration, in which nothing has been mixed.
        self._n_far = self._n_far + 1 if context.niter > 1 and error > FAR_E_PER_ELECTRON else 0
        if self._n_far >= FAR_ITERATIONS:
            moved = f"{error:.2g} electrons per valence electron in iteration {context.niter}"
            message = f"the charge sloshes, {moved}, and was stopped"
            raise CalculationFailedError(FailureCode.SCF_NOT_CONVERGED, message)
