"""From a recipe to an ASE calculator: GPAW with plane waves, or EMT to try out the plumbing.

What is fixed here rather than in the recipe, with what it rests on:

- The new ``gpaw.new`` code path, 1.2 to 1.5 times faster than the legacy one.
- Γ-centred meshes: a shifted mesh breaks the symmetry of hexagonal cells.
- Slabs have fewer empty bands than GPAW's 20 % and four more: as many iterations, or nearly, each 10 %
  cheaper (``docs/explanation/cost.md``).
- Symmetry is used in relaxations too. Atoms that are held fixed count as different from those that
  move, so only operations that the relaxation keeps are found: forces follow them, and the error of a
  symmetric slab with a fixed bottom cannot occur. Halves the cost of an atom in a hollow of fcc(111).

Units: eV, Å; k-points per Å⁻¹ of the reciprocal cell (with the factor 2π), as ASE counts them.
"""

from __future__ import annotations

from math import ceil, pi
from typing import TYPE_CHECKING, Any

from dft.jobs import CalculationKind
from dft.recovery import NO_REMEDY, Remedy, corrected, detoured, land

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin

    from config.recipe import RecipeSettings

GAS_SMEARING_EV = 0.01
"""Occupation width of molecules: narrow against their gap, wide enough for the solver."""
SYMMETRY_TOLERANCE_A = 1.0e-4
"""Atoms this close to their image under an operation count as symmetric."""
EMPTY_BANDS, ATOMS_PER_EMPTY_BAND = 3, 3
"""Bands of a slab beyond those that its electrons fill: so many, and one more for so many atoms."""
SLAB_KINDS = frozenset({CalculationKind.SLAB, CalculationKind.ADSLAB})


def build(
    recipe: RecipeSettings,
    atoms: Atoms,
    kind: CalculationKind,
    log_path: Path,
    remedy: Remedy = NO_REMEDY,
) -> GetPropertiesMixin:
    """Make the calculator for one calculation.

    Parameters
    ----------
    atoms
        The starting structure: sets the k-point mesh and which atoms are free.
    log_path
        Where GPAW writes its log.
    remedy
        Corrections in force. Whatever way they take, energy and forces are those of the recipe.
    """
    if recipe.engine == "emt":
        from ase.calculators.emt import EMT

        return EMT()
    from gpaw.new.ase_interface import GPAW

    parameters = gpaw_parameters(recipe, atoms, kind, remedy)
    first = detoured(parameters, remedy)
    if first is None:
        return GPAW(txt=log_path, **parameters)  # type: ignore[no-any-return]
    calculator = GPAW(txt=log_path, **first)
    land(calculator, parameters)
    return calculator  # type: ignore[no-any-return]


def gpaw_parameters(
    recipe: RecipeSettings, atoms: Atoms, kind: CalculationKind, remedy: Remedy = NO_REMEDY
) -> dict[str, Any]:
    """Keyword arguments of GPAW for one calculation, with corrections that leave its solution alone."""
    width = GAS_SMEARING_EV if kind is CalculationKind.GAS else recipe.smearing_ev
    parameters: dict[str, Any] = {
        "mode": {"name": "pw", "ecut": recipe.cutoff_ev},
        "xc": recipe.xc,
        "kpts": {"size": kpoint_mesh(recipe, atoms, kind), "gamma": True},
        "occupations": {"name": "fermi-dirac", "width": width},
        "symmetry": symmetry_options(atoms, kind),
        "maxiter": recipe.scf_max_iterations,
        "convergence": {
            "energy": recipe.scf_energy_ev_per_electron,
            "density": recipe.scf_density_e_per_electron,
        },
    }
    if recipe.dipole_correction and kind in SLAB_KINDS:
        parameters["poissonsolver"] = {"dipolelayer": "xy"}
    if kind in SLAB_KINDS:
        # GPAW takes a negative number for how many bands there are beyond the filled ones.
        parameters["nbands"] = -(EMPTY_BANDS + ceil(len(atoms) / ATOMS_PER_EMPTY_BAND))
    return corrected(parameters, atoms, remedy)


def kpoint_mesh(recipe: RecipeSettings, atoms: Atoms, kind: CalculationKind) -> tuple[int, int, int]:
    """Γ-centred Monkhorst-Pack size of a structure; one point for molecules and along a slab's normal."""
    if kind is CalculationKind.GAS:
        return (1, 1, 1)
    if kind in SLAB_KINDS and recipe.slab_kpoint_mesh is not None:
        return (*recipe.slab_kpoint_mesh, 1)
    density = recipe.bulk_kpoint_density if kind is CalculationKind.BULK else recipe.slab_kpoint_density
    lengths = 2 * pi * atoms.cell.reciprocal().lengths()
    # A hair is taken off so that rounding noise of the cell cannot add a point.
    first, second, third = (max(1, ceil(density * float(length) - 1.0e-6)) for length in lengths)
    return (first, second, 1 if kind in SLAB_KINDS else third)


def symmetry_options(atoms: Atoms, kind: CalculationKind) -> dict[str, Any]:
    """Symmetry that the calculation may rely on to the end.

    Molecules have a single k-point, so symmetry gains nothing and is off.
    """
    if kind is CalculationKind.GAS:
        return {"point_group": False}
    fixed = set(fixed_indices(atoms))
    groups = [int(index in fixed) for index in range(len(atoms))]
    return {"extra_ids": groups, "tolerance": SYMMETRY_TOLERANCE_A}


def symmetric_origin(atoms: Atoms) -> tuple[float, float, float]:
    """Translation of a slab that lets GPAW find the most symmetry, Å.

    GPAW only uses operations without a fractional translation, so the axis through an adsorbate must
    pass through the origin. Every atom is tried as the in-plane origin; along z the slab goes to the
    middle of the cell, where a mirror plane or an inversion centre of the slab lies on the cell's own
    and the dipole layer falls into the vacuum.

    Parameters
    ----------
    atoms
        A slab with c along z, not wrapped around the cell in z.
    """
    from gpaw.dft import Symmetry

    heights = atoms.positions[:, 2]
    z = float(atoms.cell[2, 2] / 2 - (heights.min() + heights.max()) / 2)
    symmetry = Symmetry(**symmetry_options(atoms, CalculationKind.SLAB))
    best_shift, most = (0.0, 0.0, z), 0
    for x, y, _ in atoms.positions:
        shift = (-float(x), -float(y), z)
        moved = atoms.copy()
        moved.positions += shift
        n_operations = len(symmetry.build(moved))
        if n_operations > most:
            best_shift, most = shift, n_operations
    return best_shift


def fixed_indices(atoms: Atoms) -> list[int]:
    """Sorted indices of the atoms held in place."""
    from dft.jobs import AtomsRecord

    return list(AtomsRecord.from_atoms(atoms).fixed)
