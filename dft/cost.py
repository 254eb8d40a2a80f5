"""Expected cost of a calculation, for planning: an order of magnitude, not a promise.

A plane-wave SCF step costs, per k-point, a Fourier transform of every band and the orthogonalisation of
all pairs of bands. With N electrons in a volume V at cutoff E this is proportional to
``n_k · N · V · E^1.5 · (1 + N / N0)``. The factors are fitted to the 28 calculations of a demo (one
core, 3 to 8 atoms, frozen slabs: 24 within a factor of 2, all within 3.2) and, for slabs that relax, to
those of ``benchmarks/dft_cost.py`` (4 to 8 atoms: within a factor of 3, unless the adsorbate leaves its
site). Units: Å, eV, CPU-seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dft.jobs import CalculationKind

if TYPE_CHECKING:
    from ase import Atoms

    from config.recipe import RecipeSettings

START_SECONDS = 2.5
"""Interpreter, imports, set-up of the calculator."""
CROSSOVER_ELECTRONS = 120.0
"""Electrons at which orthogonalisation costs as much as the transforms."""
EMT_SECONDS = 1.5
GAS_FACTOR = 1.2e-8
BULK_FACTOR = 1.5e-9
"""Each volume of the equation of state."""
SLAB_FACTOR = 4.0e-9
"""Single point of a frozen slab, with its symmetry."""
ADSLAB_FACTOR = 2.0e-8
"""An adsorbate that relaxes on a frozen slab, about six steps."""
RELAXED_FACTOR = 5.0e-8
"""A slab whose upper layers relax, with or without an adsorbate: three to eight steps."""


def cpu_seconds(recipe: RecipeSettings, kind: CalculationKind, atoms: Atoms) -> float:
    """Estimate the cost of a calculation.

    Parameters
    ----------
    atoms
        The structure; for an adslab the bare slab will do.
    """
    if recipe.engine == "emt":
        return EMT_SECONDS
    from dft.calculator import kpoint_mesh
    from dft.setups import valence_electrons

    first, second, third = kpoint_mesh(recipe, atoms, kind)
    electrons = sum(valence_electrons(symbol, recipe.xc) for symbol in atoms.get_chemical_symbols())
    work = first * second * third * electrons * (1 + electrons / CROSSOVER_ELECTRONS)
    work *= float(atoms.cell.volume) * recipe.cutoff_ev**1.5
    return float(START_SECONDS + work * _factor(recipe, kind, atoms))


def _factor(recipe: RecipeSettings, kind: CalculationKind, atoms: Atoms) -> float:
    from dft.calculator import fixed_indices

    if kind is CalculationKind.GAS:
        return GAS_FACTOR
    if kind is CalculationKind.BULK:
        return BULK_FACTOR * recipe.eos_points
    if len(fixed_indices(atoms)) < len(atoms):
        return RELAXED_FACTOR
    return SLAB_FACTOR if kind is CalculationKind.SLAB else ADSLAB_FACTOR
