"""Relaxation of molecules, slabs and adslabs at a fixed cell.

BFGS on the atoms that are free; when none is, a single point. Slabs are moved inside their cell to
where GPAW finds the most symmetry and moved back at the end. Units: eV, Å, eV/Å, μB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import TRAJECTORY_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from config.recipe import RecipeSettings
    from dft.jobs import CalculationKind


@dataclass(frozen=True)
class Relaxed:
    """A relaxed structure and its energy."""

    atoms: Atoms
    """Final structure in the frame of the starting one, without calculator."""
    energy_ev: float
    fmax_ev_per_a: float | None
    """Largest force on a free atom; None after a single point."""
    n_steps: int
    magnetic_moment: float | None
    """Total moment, μB; None without spin polarisation."""


def relax(recipe: RecipeSettings, atoms: Atoms, kind: CalculationKind, job_dir: Path) -> Relaxed:
    """Relax the free atoms of a structure and return its energy.

    Parameters
    ----------
    atoms
        Starting structure; atoms under ``FixAtoms`` stay. It is not changed.
    job_dir
        Where GPAW's log and the trajectory ``relax.traj`` go.

    Raises
    ------
    CalculationFailedError
        ``RELAXATION_NOT_CONVERGED`` if the forces stay above ``fmax_ev_per_a`` for ``max_steps``.
    """
    from dft.calculator import SLAB_KINDS, build, fixed_indices, symmetric_origin
    from dft.jobs import LOG_FILE

    work = atoms.copy()
    set_initial_moments(recipe, work)
    shift = (0.0, 0.0, 0.0)
    if kind in SLAB_KINDS:
        # The dipole layer needs an open direction; plane waves themselves are periodic all the same.
        work.pbc = (True, True, not recipe.dipole_correction)
        if recipe.engine == "gpaw":
            shift = symmetric_origin(work)
    work.positions += shift
    work.calc = build(recipe, work, kind, job_dir / LOG_FILE)
    all_fixed = len(fixed_indices(work)) == len(work)
    n_steps, fmax = (0, None) if all_fixed else _optimise(recipe, work, job_dir / TRAJECTORY_FILE)
    energy = float(work.get_potential_energy())
    final = atoms.copy()
    final.set_positions(work.positions - shift, apply_constraint=False)
    return Relaxed(final, energy, fmax, n_steps, total_moment(work))


def _optimise(recipe: RecipeSettings, atoms: Atoms, trajectory: Path) -> tuple[int, float]:
    """Move the free atoms downhill; return the steps taken and the largest force left, eV/Å."""
    from ase.optimize import BFGS

    with BFGS(atoms, logfile=None, trajectory=str(trajectory)) as optimiser:
        converged = optimiser.run(fmax=recipe.fmax_ev_per_a, steps=recipe.max_steps)
        n_steps = int(optimiser.nsteps)
    fmax = float((atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5)
    if not converged:
        message = f"largest force {fmax:.3f} eV/Å after {n_steps} steps; wanted {recipe.fmax_ev_per_a:g}"
        raise CalculationFailedError(FailureCode.RELAXATION_NOT_CONVERGED, message)
    return n_steps, fmax


def set_initial_moments(recipe: RecipeSettings, atoms: Atoms) -> None:
    """Give magnetic elements their starting moments, unless the recipe forbids spin."""
    from dft.magnetism import initial_moments

    moments = None if recipe.spin == "never" else initial_moments(atoms.numbers)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)


def total_moment(atoms: Atoms, copies: float = 1.0) -> float | None:
    """Total magnetic moment of ``copies`` of a computed cell, μB; None if it has no spin."""
    if not atoms.get_initial_magnetic_moments().any() or "magmom" not in atoms.calc.results:
        return None
    return float(atoms.calc.results["magmom"]) * copies
