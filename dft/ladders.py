"""What Sabatier tries when a calculation does not converge: ladders of corrections, as data.

A correction changes how a solution is reached, never what is computed. Mixing, eigensolver, iterations,
bands, starting moments and the steps of the optimiser leave the solution alone. What does change it, such
as a wider smearing, is a *detour*: it makes a first density, from which the same calculation goes on to
the recipe's own settings. The order rests on what was seen in GPAW 26.7, see
``docs/explanation/recovery.md``. Units: Å; mixing weights are GPAW's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dft.codes import FailureCode

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CORRECTIONS = 8
"""Corrections of one attempt, of all ladders together."""


@dataclass(frozen=True)
class Correction:
    """One rung: everything that is done differently once it has been taken."""

    name: str
    """What records call it; never given a new meaning."""
    says: str
    """What it does, for people."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """GPAW's parameters, to the end: only such as leave the solution alone."""
    first_width: float = 1.0
    """A detour: how many times the recipe's smearing the first density is converged with."""
    iterations: int = 1
    """How many times the recipe's SCF iterations."""
    moments: float = 1.0
    """How many times the starting moments, or those of the elements where they are larger."""
    is_fresh: bool = False
    """Starts from atomic densities, leaving what earlier steps found aside."""
    max_step_a: float | None = None
    """Longest step of an atom, Å; also forgets the curvature learnt so far, and allows the recipe's steps
    once more."""
    window_moves: int = 0
    """How many times more the window of an equation of state may move."""
    needs_moments: bool | None = None
    """True: only for structures with moments; False: only for those without."""


@dataclass(frozen=True)
class Ladder:
    """Corrections for one way to fail, the most promising for its price first."""

    codes: tuple[FailureCode, ...]
    rungs: tuple[Correction, ...]
    about: str
    """Of the ladders about one thing, only the last correction taken is in force."""
    sign: str = ""
    """Regular expression that tells one kind of failure, by its message, from others of the same code."""


GENTLE_MIXING = {"name": "pulay", "beta": 0.03, "nmaxold": 8, "weight": 100.0}
"""Small steps, long waves damped: for charge that sloshes through a long cell."""
_GENTLE = Correction(
    "gentle-mixing",
    "mixes densities in small steps, with twice the iterations",
    parameters={"mixer": GENTLE_MIXING},
    iterations=2,
    is_fresh=True,
)
_WIDE = Correction(
    "wide-smearing-first",
    "converges with ten times the smearing first, mixing in small steps, then with the recipe's own",
    parameters={"mixer": GENTLE_MIXING},
    first_width=10.0,
    iterations=2,
    is_fresh=True,
    needs_moments=False,
)

LADDERS = (
    Ladder((FailureCode.SCF_NOT_CONVERGED,), (_GENTLE, _WIDE), about="cycle", sign="sloshes"),
    Ladder(
        (FailureCode.SCF_NOT_CONVERGED, FailureCode.NOT_FINITE),
        (
            Correction(
                "strong-moments",
                "starts from atomic densities with moments 1.5 times as large, of the elements at least",
                moments=1.5,
                is_fresh=True,
                needs_moments=True,
            ),
            Correction("more-iterations", "allows three times the iterations", iterations=3, is_fresh=True),
            _GENTLE,
            _WIDE,
        ),
        about="cycle",
    ),
    Ladder(
        (FailureCode.RELAXATION_NOT_CONVERGED,),
        (Correction("small-steps", "forgets the curvature and moves atoms 0.05 Å at most", max_step_a=0.05),),
        about="course",
    ),
    Ladder(
        (FailureCode.EOS_NOT_BRACKETED,),
        (Correction("wider-search", "moves the window of volumes up to four times more", window_moves=4),),
        about="volumes",
    ),
    Ladder(
        (FailureCode.CRASHED,),
        (
            Correction("usual-bands", "computes as many bands as GPAW would", parameters={"nbands": None}),
            Correction("more-bands", "computes twice the occupied bands", parameters={"nbands": "200%"}),
        ),
        about="bands",
        sign="Too few bands",
    ),
    Ladder(
        (FailureCode.CRASHED,),
        (
            Correction(
                "fresh-density", "starts from atomic densities at the last whole frame", is_fresh=True
            ),
            Correction(
                "other-eigensolver",
                "finds the wave functions by RMM-DIIS from atomic densities",
                parameters={"eigensolver": {"name": "rmm-diis"}},
                is_fresh=True,
            ),
        ),
        about="eigensolver",
        sign="LinAlgError|positive definite|[Ss]ingular",
    ),
    Ladder(
        (FailureCode.CRASHED,),
        (
            Correction(
                "no-symmetry",
                "uses no symmetry of the structure",
                parameters={"symmetry": {"point_group": False}},
                is_fresh=True,
            ),
        ),
        about="symmetry",
        sign="SymmetryBrokenError",
    ),
)
