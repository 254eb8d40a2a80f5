"""Relaxation of molecules, slabs and adslabs at a fixed cell.

Quasi-Newton steps of the atoms that are free (:mod:`dft.hessian`) from a good start (:mod:`dft.start`); when
none is free, a single point. What clearly desorbs is given up (:mod:`dft.desorbing`). Slabs are moved inside
their cell to where GPAW finds the most symmetry and moved back at the end. A relaxation that was broken off
goes on step for step as if it had not been. Units: eV, Å, eV/Å, μB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dft import restart
from dft.calculator import SLAB_KINDS, build, fixed_indices, gpaw_parameters, symmetric_origin
from dft.codes import CalculationFailedError, FailureCode
from dft.desorbing import is_desorbing
from dft.ensemble import contributions
from dft.hessian import MAX_STEP_A, next_positions
from dft.jobs import LOG_FILE
from dft.magnetism import local_moments, starting_moments
from dft.recovery import NO_REMEDY, Remedy
from dft.sanity import check_bands, check_finite
from dft.start import seated
from dft.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin

    from config.recipe import RecipeSettings
    from dft.jobs import CalculationKind


@dataclass(frozen=True)
class Relaxed:
    """A relaxed structure and its energy."""

    atoms: Atoms
    """Final structure in the frame of the starting one, without calculator; its final moments, if it has
    spin, as initial ones."""
    energy_ev: float
    fmax_ev_per_a: float | None
    """Largest force on a free atom; None after a single point."""
    n_steps: int
    magnetic_moment: float | None
    """Total moment, μB; None without spin polarisation."""
    beef_contributions_ev: list[float] | None = None
    """What the functional's ensemble needs; None if it has none."""
    is_given_up: bool = False
    """Whether the adsorbate was leaving: not relaxed, and the energy is no adsorption energy."""


def relax(
    recipe: RecipeSettings,
    atoms: Atoms,
    kind: CalculationKind,
    job_dir: Path,
    watch: Watch | None = None,
    earlier: Sequence[Path] = (),
    remedy: Remedy = NO_REMEDY,
) -> Relaxed:
    """Relax the free atoms of a structure and return its energy.

    Parameters
    ----------
    atoms
        Starting structure; atoms under ``FixAtoms`` stay. It is not changed. An adsorbate (tag 0 on a slab
        of other tags) starts at the bond length that is usual for its site.
    job_dir
        Where GPAW's log, the trajectory ``relax.traj`` and the density go.
    watch
        Asked between steps whether to go on.
    earlier
        Job directories of the same relaxation, one of which is gone on with: the first that holds frames.
        ``job_dir`` itself may be among them, after a correction.
    remedy
        Corrections in force.

    Raises
    ------
    CalculationFailedError
        ``RELAXATION_NOT_CONVERGED`` if the forces stay above ``fmax_ev_per_a`` for ``max_steps``, those
        of earlier attempts included, unless one of these gave up for that very reason; ``NOT_FINITE`` if
        an energy or a force is no number.
    StoppedError
        When the watch says so.
    """
    watch = watch or Watch(job_dir)
    work, shift = _prepared(recipe, seated(atoms), kind)
    new_calculator = partial(_new_calculator, recipe, work, kind, job_dir, watch, remedy)
    n_steps, fmax, is_given_up = 0, None, False
    if len(fixed_indices(work)) == len(work):
        work.calc = new_calculator()
    else:
        descent = _Descent(recipe, work, kind, job_dir, watch, remedy, new_calculator)
        n_steps, fmax = descent.run(*_earlier_frames(earlier, work), restart.steps_forgiven(earlier))
        is_given_up = fmax >= recipe.fmax_ev_per_a
    energy = float(work.get_potential_energy())
    check_finite("energy", energy)
    _check_bands(recipe, work, kind)
    final = atoms.copy()
    final.set_positions(work.positions - shift, apply_constraint=False)
    moment = total_moment(work)
    if (moments := local_moments(work)) is not None:
        final.set_initial_magnetic_moments(moments)
    # Last: it may have to compute the structure once more.
    beef = contributions(recipe, work, new_calculator)
    return Relaxed(final, energy, fmax, n_steps, moment, beef, is_given_up)


def _prepared(
    recipe: RecipeSettings, atoms: Atoms, kind: CalculationKind
) -> tuple[Atoms, tuple[float, float, float]]:
    """Copy a structure to where it is computed; tell the translation, Å."""
    work = atoms.copy()
    set_initial_moments(recipe, work)
    shift = (0.0, 0.0, 0.0)
    if kind in SLAB_KINDS:
        # The dipole layer needs an open direction; plane waves themselves are periodic all the same.
        work.pbc = (True, True, not recipe.dipole_correction)
        if recipe.engine == "gpaw":
            shift = symmetric_origin(work)
    work.positions += shift
    return work, shift


def _new_calculator(
    recipe: RecipeSettings,
    atoms: Atoms,
    kind: CalculationKind,
    job_dir: Path,
    watch: Watch,
    remedy: Remedy,
) -> GetPropertiesMixin:
    calculator = build(recipe, atoms, kind, job_dir / LOG_FILE, remedy)
    watch.follow(calculator)
    return calculator


def _earlier_frames(earlier: Sequence[Path], start: Atoms) -> tuple[Path | None, list[Atoms]]:
    """Find the first job directory with frames; all ranks get what the first one read."""
    from ase.parallel import broadcast, world

    found: tuple[Path | None, list[Atoms]] = (None, [])
    if world.rank == 0:
        for folder in earlier:
            if frames := restart.whole_frames(folder, start):
                found = (folder, frames)
                break
    result: tuple[Path | None, list[Atoms]] = broadcast(found)
    return result


class _Descent:
    """A way downhill that leaves behind whatever another attempt needs to go on in its place."""

    def __init__(
        self,
        recipe: RecipeSettings,
        atoms: Atoms,
        kind: CalculationKind,
        job_dir: Path,
        watch: Watch,
        remedy: Remedy,
        new_calculator: Callable[[], GetPropertiesMixin],
    ) -> None:
        self._recipe = recipe
        self._atoms = atoms
        self._kind = kind
        self._job_dir = job_dir
        self._watch = watch
        self._remedy = remedy
        self._new_calculator = new_calculator
        self._frames: list[Atoms] = []

    def run(self, earlier: Path | None, frames: list[Atoms], n_forgiven: int = 0) -> tuple[int, float]:
        """Move the free atoms downhill; return the steps taken and the largest force left, eV/Å.

        What was computed for the last of the earlier frames is taken from there, so that going on costs
        no calculation of its own. A largest force above the recipe's means that it was given up.
        """
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = self._atoms
        n_forgiven = max(n_forgiven, self._remedy.since_step)
        if earlier is not None:
            self._frames = frames
            self._watch.goes_on_from(earlier.name, len(frames) - 1)
            restart.save_frames(self._job_dir, frames)
            atoms.set_positions(frames[-1].positions, apply_constraint=False)
            atoms.calc = SinglePointCalculator(atoms, **frames[-1].calc.results)
        else:
            atoms.calc = self._new_calculator()
            self._record()
        fmax = _largest_force(atoms)
        while fmax >= self._recipe.fmax_ev_per_a and not is_desorbing(self._frames):
            n_steps = len(self._frames) - 1
            self._watch.boundary(n_steps)
            if n_steps >= n_forgiven + self._recipe.max_steps:
                wanted = f"wanted {self._recipe.fmax_ev_per_a:g}"
                message = f"largest force {fmax:.3f} eV/Å after {n_steps} steps; {wanted}"
                raise CalculationFailedError(FailureCode.RELAXATION_NOT_CONVERGED, message)
            known = self._frames[self._remedy.since_step :] or self._frames[-1:]
            atoms.set_positions(next_positions(known, self._remedy.max_step_a or MAX_STEP_A))
            if isinstance(atoms.calc, SinglePointCalculator):
                assert earlier is not None
                atoms.calc = self._continued_calculator(earlier)
            self._record()
            fmax = _largest_force(atoms)
        return len(self._frames) - 1, fmax

    def _continued_calculator(self, earlier: Path) -> GetPropertiesMixin:
        """Make a calculator that starts from the density of an earlier attempt, if it left one."""
        if self._recipe.engine == "gpaw" and not self._remedy.is_fresh:
            parameters = gpaw_parameters(self._recipe, self._atoms, self._kind, self._remedy)
            found = restart.load_density(earlier, self._atoms, self._job_dir / LOG_FILE, parameters)
            if found is not None:
                self._watch.follow(found)
                return found  # type: ignore[no-any-return]
        return self._new_calculator()

    def _record(self) -> None:
        """Compute the structure and leave it, with its density, for the next attempt."""
        frame = restart.snapshot(self._atoms)
        check_finite("force or energy", frame.get_potential_energy(), *frame.get_forces().flat)
        _check_bands(self._recipe, self._atoms, self._kind)
        self._frames.append(frame)
        restart.save_frames(self._job_dir, self._frames)
        if self._recipe.engine == "gpaw":
            restart.save_density(self._atoms.calc, self._job_dir)


def _check_bands(recipe: RecipeSettings, atoms: Atoms, kind: CalculationKind) -> None:
    """Refuse a slab that was computed here with too few bands; those of molecules are as GPAW sets them."""
    if recipe.engine == "gpaw" and kind in SLAB_KINDS and hasattr(atoms.calc, "dft"):
        check_bands(atoms.calc)


def _largest_force(atoms: Atoms) -> float:
    """Largest force on a free atom, eV/Å."""
    return float((atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5)


def set_initial_moments(recipe: RecipeSettings, atoms: Atoms) -> None:
    """Give a structure the moments that it starts from, unless the recipe forbids spin."""
    atoms.set_initial_magnetic_moments(starting_moments(recipe.spin, atoms))


def total_moment(atoms: Atoms, copies: float = 1.0) -> float | None:
    """Total magnetic moment of ``copies`` of a computed cell, μB; None if it has no spin."""
    if not atoms.get_initial_magnetic_moments().any() or "magmom" not in atoms.calc.results:
        return None
    return float(atoms.calc.results["magmom"]) * copies
