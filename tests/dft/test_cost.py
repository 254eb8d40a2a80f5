"""Expected costs: which k-points count, and what doubles the price."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bcc100, bulk, fcc100, fcc110, fcc111
from ase.constraints import FixAtoms

from config.recipe import RecipeSettings
from dft.calculator import kpoint_mesh, symmetric_origin, symmetry_options
from dft.cost import BEEF_FACTOR, SPIN_FACTOR, START_SECONDS, cpu_seconds, n_irreducible
from dft.jobs import CalculationKind

RECIPE = RecipeSettings(cutoff_ev=300.0, slab_kpoint_density=2.0)


def slab(cut, symbol: str, a: float, *, fixed: int = 0, size: tuple[int, int, int] = (1, 1, 3)) -> Atoms:
    found = cut(symbol, size, a=a, vacuum=6.0)
    found.pbc = True
    found.set_constraint(FixAtoms(range(fixed)))
    return found


def rattled() -> Atoms:
    found = slab(fcc111, "Cu", 3.6)
    found.rattle(0.1, seed=1)
    return found


STRUCTURES = {
    "fcc(111)": slab(fcc111, "Cu", 3.6),
    "fcc(111), bottom fixed": slab(fcc111, "Cu", 3.6, fixed=1),
    "fcc(111), 2x2": slab(fcc111, "Cu", 3.6, size=(2, 2, 3)),
    "fcc(100)": slab(fcc100, "Pd", 3.9),
    "fcc(110)": slab(fcc110, "Pd", 3.9),
    "bcc(100)": slab(bcc100, "Fe", 2.87, fixed=2),
    "no symmetry": rattled(),
}


@pytest.mark.gpaw
@pytest.mark.parametrize("name", [*STRUCTURES, "bulk"])
def test_the_k_points_that_count_are_those_that_gpaw_computes(name: str) -> None:
    from gpaw.dft import MonkhorstPack, Symmetry

    kind = CalculationKind.BULK if name == "bulk" else CalculationKind.SLAB
    atoms = bulk("Al", a=4.05) if name == "bulk" else STRUCTURES[name].copy()
    mesh = kpoint_mesh(RECIPE, atoms, kind)
    found = n_irreducible(mesh, atoms)
    if kind is CalculationKind.SLAB:
        atoms.positions += symmetric_origin(atoms)
    symmetries = Symmetry(**symmetry_options(atoms, kind)).build(atoms)
    points = MonkhorstPack(size=mesh, gamma=True).build(atoms)
    assert found == len(points.reduce(symmetries, strict=False))
    assert 1 < found <= (np.prod(mesh) + 4) // 2


def work(recipe: RecipeSettings, kind: CalculationKind, atoms: Atoms) -> float:
    return cpu_seconds(recipe, kind, atoms) - START_SECONDS


def test_a_slab_without_symmetry_costs_more() -> None:
    straight, crooked = (work(RECIPE, CalculationKind.SLAB, a) for a in (slab(fcc111, "Cu", 3.6), rattled()))
    assert 2.0 * straight < crooked < 6.0 * straight


@pytest.mark.parametrize("kind", [CalculationKind.SLAB, CalculationKind.ADSLAB])
def test_spin_is_paid_for_where_it_is_used(kind: CalculationKind) -> None:
    nickel = slab(fcc111, "Ni", 3.5)
    nickel.set_initial_magnetic_moments(None)
    never = work(RECIPE.model_copy(update={"spin": "never"}), kind, nickel)
    assert work(RECIPE, kind, nickel) == pytest.approx(SPIN_FACTOR * never)
    nickel.set_initial_magnetic_moments([0.0] * 3)  # as of a slab that came out without a moment
    assert work(RECIPE, kind, nickel) == pytest.approx(never)
    copper = slab(fcc111, "Cu", 3.6)
    copper.set_initial_magnetic_moments(None)
    never = work(RECIPE.model_copy(update={"spin": "never"}), kind, copper)
    assert work(RECIPE, kind, copper) == pytest.approx(never)


def test_an_ensemble_of_functionals_costs_more() -> None:
    beef = RECIPE.model_copy(update={"xc": "BEEF-vdW"})
    copper = slab(fcc111, "Cu", 3.6)
    ratio = work(beef, CalculationKind.SLAB, copper) / work(RECIPE, CalculationKind.SLAB, copper)
    assert ratio == pytest.approx(BEEF_FACTOR)


@pytest.mark.parametrize(
    ("kind", "atoms", "measured"),
    [
        # CPU-seconds of jobs on one core of the machine that the factors come from, RPBE, 400 eV.
        (CalculationKind.SLAB, slab(fcc111, "Cu", 3.68, fixed=3), 5.0),
        (CalculationKind.SLAB, slab(fcc111, "Cu", 3.68, fixed=12, size=(2, 2, 3)), 23.1),
        (CalculationKind.ADSLAB, slab(fcc111, "Cu", 3.68, fixed=12, size=(2, 2, 3)), 76.3),
        (CalculationKind.BULK, bulk("Cu", a=3.68), 8.5),
    ],
)
def test_what_was_measured_is_met_within_a_factor_of_two(
    kind: CalculationKind, atoms: Atoms, measured: float
) -> None:
    recipe = RecipeSettings(slab_kpoint_density=1.95, bulk_kpoint_density=2.6)
    assert measured / 2 < cpu_seconds(recipe, kind, atoms) < 2 * measured
