"""How ``relaxations.extxyz`` was made: real relaxations whose outcome the validation must tell.

GPAW (RPBE, plane waves) on slabs of one to three layers, held fixed, which are small enough to take a minute
each; EMT for metal atoms that change their places, which it describes well. The energies mean nothing, the
geometries are those that the forces led to. Units: Å, eV.

Usage: ``python -m tests.dft.data.make_relaxations [NAME ...]`` writes one ``NAME.extxyz`` for each case with
the frames ``initial`` and ``final`` (and ``bare`` for EMT), into the current folder; concatenate them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.constraints import FixAtoms
from ase.io import write

from config.recipe import RecipeSettings
from dft.jobs import CalculationKind
from dft.relaxation import relax

if TYPE_CHECKING:
    from collections.abc import Callable

FINE = RecipeSettings(
    cutoff_ev=250.0, slab_kpoint_density=0.9, smearing_ev=0.2, spin="never", fmax_ev_per_a=0.1, max_steps=60
)
COARSE = FINE.model_copy(update={"slab_kpoint_density": 0.45, "fmax_ev_per_a": 0.15})
H = Atoms("H")
CO = Atoms("CO", [(0, 0, 0), (0, 0, 1.16)])
CO_UPSIDE_DOWN = Atoms("CO", [(0, 0, 1.16), (0, 0, 0)])
CO_LEANING = Atoms("CO", [(0, 0, 0), (-0.95, 0, -0.35)])
OOH = Atoms("OOH", [(0, 0, 0), (1.15, 0, 0.9), (0.85, 0, 1.82)])
OOH_FLAT = Atoms("OOH", [(-0.7, 0, 0), (0.75, 0, 0.1), (1.05, 0, 1.0)])
OFF_TOP, OFF_BRIDGE = (0.5, 0.25), (0.25, 0.145)


def metal(symbol: str, size: tuple[int, int, int], a: float) -> Atoms:
    slab = fcc111(symbol, size, a=a, vacuum=4.5, periodic=True)
    slab.set_constraint(FixAtoms(range(len(slab))))
    return slab


def case(
    recipe: RecipeSettings,
    slab: Atoms,
    adsorbate: Atoms,
    site: str,
    height: float,
    aside: tuple[float, float] = (0.0, 0.0),
) -> Callable[[], list[Atoms]]:
    """A relaxation with GPAW.

    ``height`` of the adsorbate's first atom above the top layer and how far it is ``aside`` of the site, Å.
    """

    def run() -> list[Atoms]:
        initial = slab.copy()
        add_adsorbate(initial, adsorbate, height, site)
        initial.positions[-len(adsorbate) :, :2] += aside
        initial.positions[:, 2] -= initial.positions[:, 2].min() - 3.0
        with tempfile.TemporaryDirectory() as folder:
            final = relax(recipe, initial, CalculationKind.ADSLAB, Path(folder)).atoms
        return [initial, final]

    return run


def n_upsets_adatom() -> list[Atoms]:
    """A Cu atom that balances on top of another, with EMT, until a N atom beside it upsets it."""
    recipe = RecipeSettings(engine="emt", fmax_ev_per_a=0.03, max_steps=300)
    start = fcc111("Cu", (3, 3, 2), a=3.61, vacuum=4.5, periodic=True)
    start.set_constraint(FixAtoms([atom.index for atom in start if atom.tag == 2]))
    add_adsorbate(start, "Cu", 2.3, "ontop")
    with tempfile.TemporaryDirectory() as folder:
        bare = relax(recipe, start, CalculationKind.SLAB, Path(folder)).atoms
    initial = bare.copy()
    place = bare.positions[-1, :2] + [2.0, 0.6]
    initial += Atoms("N", [(*place, bare.positions[:-1, 2].max() + 1.2)])
    with tempfile.TemporaryDirectory() as folder:
        final = relax(recipe, initial, CalculationKind.ADSLAB, Path(folder)).atoms
    return [initial, final, bare]


CASES = {
    "n_upsets_adatom": n_upsets_adatom,
    "h_stays": case(FINE, metal("Al", (1, 1, 2), 4.05), H, "fcc", 0.9),
    "h_stays_on_bridge": case(FINE, metal("Al", (2, 2, 1), 4.05), H, "bridge", 1.1),
    "h_slides_back": case(COARSE, metal("Ni", (1, 1, 2), 3.52), H, "ontop", 1.45, OFF_TOP),
    "h_rolls_off_bridge": case(FINE, metal("Al", (1, 1, 2), 4.05), H, "bridge", 1.0, OFF_BRIDGE),
    "h_sinks": case(COARSE, metal("Al", (1, 1, 3), 4.05), H, "fcc", -0.9),
    "co_stays": case(FINE, metal("Ni", (2, 2, 1), 3.52), CO, "ontop", 1.85),
    "co_desorbs": case(FINE, metal("Al", (2, 2, 1), 4.05), CO_UPSIDE_DOWN, "ontop", 1.16 + 1.9),
    "co_gets_up": case(COARSE, metal("Ni", (2, 2, 1), 3.52), CO_LEANING, "ontop", 2.0),
    "ooh_stays": case(FINE, metal("Al", (2, 2, 1), 4.05), OOH, "ontop", 1.85),
    "ooh_falls_apart": case(COARSE, metal("Al", (2, 2, 1), 4.05), OOH_FLAT, "bridge", 1.4),
}


def main() -> None:
    for name in sys.argv[1:] or CASES:
        frames = CASES[name]()
        for frame, role in zip(frames, ("initial", "final", "bare"), strict=False):
            frame.info = {"case": name, "role": role}
        write(f"{name}.extxyz", frames, columns=["symbols", "positions", "move_mask"])


if __name__ == "__main__":
    main()
