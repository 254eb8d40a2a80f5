"""Expected cost of a calculation, for planning: an order of magnitude, not a promise.

A plane-wave SCF step costs, per k-point, a Fourier transform of every band and the orthogonalisation of
all pairs of bands. With N electrons in a volume V at cutoff E this work is proportional to
``N · V · E^1.5 · (1 + N / N0)``. The k-points that count are those that symmetry leaves: a slab without
symmetry costs several times what one of a symmetric face does. Times the energies that a calculation takes,
one factor then fits bulks, bare and covered slabs.

It rests on 78 calculations with RPBE without spin, 300 to 500 eV, on one core: the 32 of a demo, the 38 of
a convergence study of H on Cu(111) (frozen slabs, 2 to 13 atoms) and the eight adslabs of
``benchmarks/dft_cost.py`` (upper layers free, 4 to 8 atoms). Given the energies that they took, 61 of the 62
bare and covered slabs cost what is expected within a factor of 1.5. That number is not known beforehand: by
its mean, 47 are within a factor of 2 and 58 within 3; all 10 bulks are within 1.5, all 6 gases within 2.
Units: Å, eV, CPU-seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dft.jobs import CalculationKind

if TYPE_CHECKING:
    from ase import Atoms

    from config.recipe import RecipeSettings

START_SECONDS = 2.5
"""Interpreter, imports, set-up of the calculator."""
EMT_SECONDS = 1.5
KPOINT_SECONDS = 0.02
"""Each energy and k-point, however small the cell."""
WORK_SECONDS = 1.7e-8
"""Each energy, with its forces, and unit of work."""
CROSSOVER_ELECTRONS = 240.0
"""Electrons at which orthogonalisation costs as much as the transforms."""
GAS_ENERGIES = 2.0
ADSLAB_ENERGIES = 4.3
"""Energies until an adsorbate has relaxed on a frozen slab, mean of 31: most take 3 or 4, CO up to 9, and
19 where it went far."""
RELAXED_ENERGIES = 7.0
"""Energies until upper layers have relaxed, mean of eight adslabs: 3 to 8, and 19 for one that left its
site."""
SPIN_FACTOR = 2.2
"""Two spins against none: 10.8 and 4.8 CPU-seconds for an energy of three layers of Ni(111), 1x1, 350 eV."""
BEEF_FACTOR = 2.0
"""BEEF-vdW against RPBE: 1.7 to 2 for whole relaxations, 2.2 for a single energy of that slab with the
contributions of its ensemble."""
SYMPREC_A = 1.0e-3


def cpu_seconds(recipe: RecipeSettings, kind: CalculationKind, atoms: Atoms) -> float:
    """Estimate the cost of a calculation.

    Parameters
    ----------
    atoms
        The structure; for an adslab the bare slab will do, whose moments are then those of its elements.
    """
    if recipe.engine == "emt":
        return EMT_SECONDS
    from dft.calculator import kpoint_mesh
    from dft.magnetism import starting_moments
    from dft.setups import valence_electrons

    electrons = sum(valence_electrons(symbol, recipe.xc) for symbol in atoms.get_chemical_symbols())
    work = electrons * (1 + electrons / CROSSOVER_ELECTRONS) * atoms.cell.volume * recipe.cutoff_ev**1.5
    seconds = _n_energies(recipe, kind, atoms) * (KPOINT_SECONDS + WORK_SECONDS * work)
    seconds *= n_irreducible(kpoint_mesh(recipe, atoms, kind), atoms)
    if any(starting_moments(recipe.spin, atoms) or []):
        seconds *= SPIN_FACTOR
    if recipe.xc == "BEEF-vdW":
        seconds *= BEEF_FACTOR
    return float(START_SECONDS + seconds)


def _n_energies(recipe: RecipeSettings, kind: CalculationKind, atoms: Atoms) -> float:
    """How many self-consistent energies a calculation is expected to take."""
    from dft.calculator import fixed_indices

    if kind is CalculationKind.GAS:
        return GAS_ENERGIES
    if kind is CalculationKind.BULK:
        return float(recipe.eos_points)
    if len(fixed_indices(atoms)) < len(atoms):
        return RELAXED_ENERGIES
    return 1.0 if kind is CalculationKind.SLAB else ADSLAB_ENERGIES


def n_irreducible(mesh: tuple[int, int, int], atoms: Atoms) -> int:
    """Count the k-points of a Γ-centred mesh that symmetry and time reversal leave.

    Atoms held fixed count as different from free ones, as they do in the calculation. GPAW finds fewer
    operations where some go with a fractional translation.
    """
    import moyopy

    from dft.calculator import fixed_indices

    if mesh == (1, 1, 1):
        return 1
    numbers = atoms.numbers + 1000 * np.isin(np.arange(len(atoms)), fixed_indices(atoms))
    cell = moyopy.Cell(
        basis=atoms.cell.array.tolist(),
        positions=atoms.get_scaled_positions().tolist(),
        numbers=numbers.tolist(),
    )
    operations = moyopy.MoyoDataset(cell, symprec=SYMPREC_A).operations
    points = np.indices(mesh).reshape(3, -1).T
    lowest = np.arange(len(points))  # the first point of the mesh that each one is an image of
    for rotation in np.unique(np.array(operations.rotations), axis=0):
        for sign in (1, -1):
            images = sign * (points / mesh) @ rotation * mesh
            nearest = np.rint(images).astype(int)
            if np.allclose(images, nearest, atol=1.0e-6):
                lowest = np.minimum(lowest, np.ravel_multi_index(tuple((nearest % mesh).T), mesh))
    return len(np.unique(lowest))
