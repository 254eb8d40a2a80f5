"""Equation of state of a crystal: its equilibrium volume at a recipe.

The cell is scaled isotropically and fractional coordinates are kept: axial ratios and internal
parameters stay those of the source, as they do in the slabs cut from it. Fit: the stabilised jellium
equation, Alchagirov et al., Phys. Rev. B 63 (2001) 224115. Units: eV, Å, GPa.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isclose, isfinite
from typing import TYPE_CHECKING, Any

from dft import restart
from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import LOG_FILE, CalculationKind
from dft.recovery import NO_REMEDY, Remedy, detour, detoured
from dft.sanity import check_finite
from dft.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms

    from config.recipe import RecipeSettings

MAX_SHIFTS = 2
"""How often the window of volumes may move towards the minimum."""
PRIMITIVE_SYMPREC_A = 1.0e-3
"""Tolerance for finding the primitive cell, Å."""


@dataclass(frozen=True)
class EquationOfState:
    """Equilibrium of a crystal; volumes and energies are those of the given cell."""

    linear_scale: float
    """Equilibrium over given lattice constant."""
    energy_ev: float
    """Energy at the equilibrium volume."""
    bulk_modulus_gpa: float
    volumes: tuple[float, ...]
    """Volumes that the fit rests on, Å³."""
    energies: tuple[float, ...]
    """Their energies, eV."""
    magnetic_moment: float | None
    """Total moment at the last volume computed, μB; None without spin polarisation."""
    n_volumes: int
    """Volumes computed, those of earlier windows included."""


@dataclass(frozen=True)
class Volume:
    """A computed point of an equation of state; figures are those of the given cell."""

    index: int
    """Where it lies, see :func:`strain_scale`."""
    volume: float
    """Å³."""
    energy: float
    """eV."""
    magnetic_moment: float | None
    """μB."""


def equation_of_state(
    recipe: RecipeSettings,
    atoms: Atoms,
    job_dir: Path,
    watch: Watch | None = None,
    earlier: Sequence[Path] = (),
    remedy: Remedy = NO_REMEDY,
) -> EquationOfState:
    """Compute the equilibrium volume of a crystal.

    Runs in the primitive cell, with the k-point mesh of the given volume throughout. Every volume ends at the
    recipe's own settings, and corrections lead each of them there.

    Parameters
    ----------
    atoms
        Crystal at the reference lattice; any cell.
    job_dir
        Where GPAW's log and the volumes ``eos.jsonl`` go.
    watch
        Asked before each volume whether to go on.
    earlier
        Job directories of the same equation of state: the volumes of the first that holds any are kept.
    remedy
        Corrections in force.

    Raises
    ------
    CalculationFailedError
        ``EOS_NOT_BRACKETED`` if no window of volumes holds the minimum; ``NOT_FINITE`` if an energy is no
        number.
    StoppedError
        When the watch says so.
    """
    from dft.calculator import build, gpaw_parameters
    from dft.relaxation import set_initial_moments, total_moment

    watch = watch or Watch(job_dir)
    primitive = primitive_cell(atoms)
    set_initial_moments(recipe, primitive)
    cell = primitive.cell.copy()
    copies = len(atoms) / len(primitive)
    computed = _earlier_volumes(recipe, earlier, atoms.get_volume(), watch)
    primitive.calc = build(recipe, primitive, CalculationKind.BULK, job_dir / LOG_FILE, remedy)
    watch.follow(primitive.calc)
    parameters = gpaw_parameters(recipe, primitive, CalculationKind.BULK, remedy)
    first = detoured(parameters, remedy)

    def compute(index: int) -> tuple[float, float]:
        if index not in computed:
            watch.boundary(len(computed))
            primitive.set_cell(cell * strain_scale(recipe, index), scale_atoms=True)
            if first is not None:  # every volume by the same way, not only the one that comes first
                detour(primitive.calc, first, parameters)
            energy = float(primitive.get_potential_energy()) * copies
            check_finite("energy", energy)
            moment = total_moment(primitive, copies)
            computed[index] = Volume(index, primitive.get_volume() * copies, energy, moment)
            restart.save_volumes(job_dir, [asdict(volume) for volume in computed.values()])
        return computed[index].volume, computed[index].energy

    points, (volume, energy, modulus) = find_minimum(
        recipe.eos_points, compute, MAX_SHIFTS + remedy.window_moves
    )
    return EquationOfState(
        linear_scale=(volume / atoms.get_volume()) ** (1 / 3),
        energy_ev=energy,
        bulk_modulus_gpa=modulus,
        volumes=tuple(v for v, _ in points),
        energies=tuple(e for _, e in points),
        magnetic_moment=list(computed.values())[-1].magnetic_moment,
        n_volumes=len(computed),
    )


def _earlier_volumes(
    recipe: RecipeSettings, earlier: Sequence[Path], reference: float, watch: Watch
) -> dict[int, Volume]:
    """Take over the volumes of an earlier attempt; all ranks get what the first one read.

    Parameters
    ----------
    reference
        Volume of the given crystal, Å³.
    """
    from ase.parallel import broadcast, world

    def fits(point: dict[str, Any]) -> bool:
        volume = Volume(**point)
        wanted = reference * strain_scale(recipe, volume.index) ** 3
        return isclose(volume.volume, wanted, rel_tol=1e-6) and isfinite(volume.energy)

    found: dict[int, Volume] = {}
    origin = ""
    if world.rank == 0:
        for folder in earlier:
            if points := restart.whole_volumes(folder, fits):
                found, origin = {point["index"]: Volume(**point) for point in points}, folder.name
                break
    found, origin = broadcast((found, origin))
    if found:
        watch.goes_on_from(origin, len(found))
    return found


def strain_scale(recipe: RecipeSettings, index: int) -> float:
    """Lattice constant of a point on the equation of state, over the reference's.

    Points ``0`` to ``eos_points - 1`` span ±``eos_strain``; others continue at the same spacing.
    """
    spacing = 2 * recipe.eos_strain / (recipe.eos_points - 1)
    return 1.0 - recipe.eos_strain + index * spacing


def find_minimum(
    n_points: int, compute: Callable[[int], tuple[float, float]], max_moves: int = MAX_SHIFTS
) -> tuple[list[tuple[float, float]], tuple[float, float, float]]:
    """Move a window of volumes until it holds the minimum of the fit.

    Parameters
    ----------
    n_points
        Points in a window.
    compute
        Volume (Å³) and energy (eV) of a point by its index; called again for known points.
    max_moves
        How often the window may move.

    Returns
    -------
    list of (float, float)
        The last window's volumes and energies.
    (float, float, float)
        Volume (Å³), energy (eV) and bulk modulus (GPa) at the minimum.

    Raises
    ------
    CalculationFailedError
        ``EOS_NOT_BRACKETED`` after so many moves.
    """
    start = 0
    for _ in range(max_moves + 1):
        points = [compute(index) for index in range(start, start + n_points)]
        lowest = min(range(n_points), key=lambda i: points[i][1])
        if 0 < lowest < n_points - 1:
            fitted = fit(points)
            if fitted is not None:
                return points, fitted
        start += lowest - n_points // 2 or 1
    volumes = [volume for volume, _ in points]
    message = f"no minimum of the energy between {volumes[0]:.2f} and {volumes[-1]:.2f} Å³"
    raise CalculationFailedError(FailureCode.EOS_NOT_BRACKETED, message)


def fit(points: list[tuple[float, float]]) -> tuple[float, float, float] | None:
    """Fit the equation of state.

    Returns
    -------
    (float, float, float) or None
        Volume (Å³), energy (eV) and bulk modulus (GPa) at the minimum; None if there is none inside
        the points.
    """
    from ase.eos import EquationOfState as Fit
    from ase.units import GPa

    volumes = [volume for volume, _ in points]
    try:
        volume, energy, modulus = Fit(volumes, [e for _, e in points], eos="sj").fit()
    except ValueError:  # ASE: "No minimum!"
        return None
    inside = volumes[0] < volume < volumes[-1] and modulus > 0
    return (float(volume), float(energy), float(modulus / GPa)) if inside else None


def primitive_cell(atoms: Atoms) -> Atoms:
    """Smallest cell of a crystal, at the same volume per atom."""
    import moyopy
    from ase import Atoms

    cell = moyopy.Cell(
        basis=atoms.cell.array.tolist(),
        positions=atoms.get_scaled_positions().tolist(),
        numbers=atoms.numbers.tolist(),
    )
    found = moyopy.MoyoDataset(cell, symprec=PRIMITIVE_SYMPREC_A).prim_std_cell
    return Atoms(numbers=found.numbers, scaled_positions=found.positions, cell=found.basis, pbc=True)
