"""Why a calculation gave no adsorption energy: the one list of codes.

``FAILED`` calculations carry a code because they produced no trustworthy energy; ``REJECTED`` ones
produced an energy whose final geometry is not the adsorbate on its site.
"""

from __future__ import annotations

from enum import StrEnum


class FailureCode(StrEnum):
    """Reason of a failed or rejected calculation, stored with it for ever."""

    SCF_NOT_CONVERGED = "SCF_NOT_CONVERGED"
    """The self-consistency cycle ran out of iterations, or its charge sloshed on and it was stopped."""
    RELAXATION_NOT_CONVERGED = "RELAXATION_NOT_CONVERGED"
    """Forces above the recipe's fmax after its largest number of steps."""
    EOS_NOT_BRACKETED = "EOS_NOT_BRACKETED"
    """The minimum of the equation of state lies outside the volumes computed, even after widening."""
    NOT_FINITE = "NOT_FINITE"
    """An energy or a force came out as no number."""
    ATOMS_TOO_CLOSE = "ATOMS_TOO_CLOSE"
    """Two atoms overlap: in the starting structure, of which nothing was computed, or on their way."""
    MISSING_SETUP = "MISSING_SETUP"
    """GPAW has no PAW setup of an element for the functional."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """The worker could not allocate memory."""
    TIMEOUT = "TIMEOUT"
    """The job reached its time limit."""
    WORKER_LOST = "WORKER_LOST"
    """The worker process vanished without leaving a result (killed, cancelled in the queue)."""
    NODE_FAIL = "NODE_FAIL"
    """The node failed under the job, as the scheduler tells."""
    PREEMPTED = "PREEMPTED"
    """The scheduler gave the job's place to another."""
    INVALID_RESULT = "INVALID_RESULT"
    """The result file is unreadable or belongs to another calculation."""
    CRASHED = "CRASHED"
    """The worker raised an error that no other code describes; see the job's log."""
    DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
    """A calculation that this one needs (bulk, slab or gas) failed."""
    DESORBED = "DESORBED"
    """The adsorbate left the surface."""
    TURNED_OVER = "TURNED_OVER"
    """The adsorbate is bound by another atom than the one that it was put down with."""
    DISSOCIATED = "DISSOCIATED"
    """The adsorbate fell apart, or became another molecule."""
    RECONSTRUCTED = "RECONSTRUCTED"
    """The surface moved away from the relaxed bare slab."""
    ABSORBED = "ABSORBED"
    """The adsorbate went below the surface."""
    MIGRATED = "MIGRATED"
    """The adsorbate ended on another site; the energy is stored under that site."""
    ENERGY_OUT_OF_RANGE = "ENERGY_OUT_OF_RANGE"
    """The adsorption energy is outside what chemistry allows."""


RETRYABLE = frozenset(
    {FailureCode.WORKER_LOST, FailureCode.NODE_FAIL, FailureCode.PREEMPTED, FailureCode.TIMEOUT}
)
"""Codes that say nothing about the calculation itself: another attempt may succeed."""


class CalculationFailedError(Exception):
    """Raised inside a calculation that cannot go on; the worker turns it into a result.

    It never leaves ``dft``: outside, a failed calculation is a code, not an exception.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
