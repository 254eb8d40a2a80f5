"""Every failure code can be made to happen; what may become of an adsorbate, done for real.

Other tests that make a code happen carry ``@pytest.mark.provokes(code)`` too, wherever they are.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.constraints import FixAtoms

from config.recipe import RecipeSettings
from dft.codes import FailureCode
from dft.failure_codes import ADVICE, meanings, render_reference
from dft.jobs import CalculationKind
from dft.relaxation import relax
from dft.validation import Outcome, SiteImage, judge_adslab

TESTS = Path(__file__).resolve().parents[1]
MARK = re.compile(r"mark\.provokes\(\s*FailureCode\.(\w+)\s*\)")


def test_every_code_has_a_test_that_makes_it_happen():
    provoked = {code for file in TESTS.rglob("test_*.py") for code in MARK.findall(file.read_text())}
    assert provoked == {code.name for code in FailureCode}


def test_the_reference_of_failure_codes_is_up_to_date():
    page = TESTS.parent / "docs" / "reference" / "failure-codes.md"
    assert page.read_text() == render_reference(), (
        "run: python -m dft.failure_codes > docs/reference/failure-codes.md"
    )


def test_every_code_has_a_meaning_and_every_failure_an_advice():
    assert set(meanings()) == set(FailureCode)
    outcomes = "DESORBED TURNED_OVER DISSOCIATED RECONSTRUCTED ABSORBED MIGRATED ENERGY_OUT_OF_RANGE"
    assert {code.name for code in set(FailureCode) - set(ADVICE)} == set(outcomes.split())


# --- what becomes of an adsorbate, relaxed here and now


def metal(symbol: str, size: tuple[int, int, int], a: float, vacuum: float = 5.0) -> Atoms:
    slab = fcc111(symbol, size, a=a, vacuum=vacuum, periodic=True)
    slab.set_constraint(FixAtoms(range(len(slab))))
    return slab


def outcome(
    recipe: RecipeSettings,
    initial: Atoms,
    folder: Path,
    n_adsorbate_atoms: int = 1,
    bare: Atoms | None = None,
    delta_e_ev: float = 0.0,
    start: str = "fcc",
) -> Outcome:
    """Relax an adslab and judge it, by the sites of a 1x1 cell or, in larger ones, of its first copy."""
    final = relax(recipe, initial, CalculationKind.ADSLAB, folder).atoms
    n_slab = len(initial) - n_adsorbate_atoms
    top = initial.positions[:n_slab, 2].argmax()
    repeat = round(
        float(initial.cell.lengths()[0]) / np.linalg.norm(initial.positions[1] - initial.positions[0])
    )
    origin = initial.get_scaled_positions()[top, :2]
    sites = {"top": (0.0, 0.0), "bridge": (0.5, 0.0), "fcc": (1 / 3, 1 / 3), "hcp": (2 / 3, 2 / 3)}
    places = {name: origin + np.array(xy) / max(1, repeat) for name, xy in sites.items()}
    return judge_adslab(
        initial,
        final,
        n_adsorbate_atoms,
        sites=[SiteImage(name, (float(x), float(y))) for name, (x, y) in places.items()],
        start_site_id=start,
        bare_slab=bare if bare is not None else initial[:n_slab],
        delta_e_ev=delta_e_ev,
    )


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.DESORBED)
def test_co_far_above_aluminium_stays_away(tmp_path, cheap_recipe):
    slab = metal("Al", (1, 1, 1), 4.05)
    add_adsorbate(slab, Atoms("CO", [(0, 0, 0), (0, 0, 1.16)]), 4.0, "ontop")
    recipe = cheap_recipe.model_copy(update={"cutoff_ev": 300.0, "fmax_ev_per_a": 0.5})
    assert outcome(recipe, slab, tmp_path, 2, start="top").code is FailureCode.DESORBED


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.ABSORBED)
def test_hydrogen_between_two_layers_stays_there(tmp_path, cheap_recipe):
    slab = metal("Al", (1, 1, 2), 4.05)
    add_adsorbate(slab, "H", -1.1, "fcc")
    assert outcome(cheap_recipe, slab, tmp_path).code is FailureCode.ABSORBED


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.MIGRATED)
def test_hydrogen_rolls_off_the_bridge(tmp_path, cheap_recipe):
    slab = metal("Al", (1, 1, 2), 4.05)
    add_adsorbate(slab, "H", 1.0, "bridge")
    slab.positions[-1] += 0.35 * (slab.cell[0] + slab.cell[1]) / 6
    found = outcome(cheap_recipe, slab, tmp_path, start="bridge")
    assert (found.code, found.site_id in {"fcc", "hcp"}) == (FailureCode.MIGRATED, True), found


@pytest.mark.provokes(FailureCode.DISSOCIATED)
def test_hydrogen_molecule_splits_on_copper(tmp_path, emt_recipe):
    """Stand-in: EMT, whose hydrogen splits without a barrier; with GPAW it takes a cell of minutes."""
    slab = metal("Cu", (2, 2, 3), 3.61)
    molecule = Atoms("H2", [(-0.37, 0, 0), (0.37, 0, 0)])
    add_adsorbate(slab, molecule, 1.5, "bridge")
    assert outcome(emt_recipe, slab, tmp_path, 2).code is FailureCode.DISSOCIATED


@pytest.mark.provokes(FailureCode.RECONSTRUCTED)
def test_hydrogen_pushes_a_layer_that_is_stacked_on_top_into_its_hollow(tmp_path, emt_recipe):
    """Stand-in: EMT, which is good at metals. The bare layer stays on top by symmetry."""
    slab = fcc111("Cu", (1, 1, 3), a=3.61, vacuum=6.0, periodic=True)
    slab.positions[2] = slab.positions[1] + [0.0, 0.0, 2.3]
    slab.set_constraint(FixAtoms([0, 1]))
    (tmp_path / "bare").mkdir()
    bare = relax(emt_recipe, slab, CalculationKind.SLAB, tmp_path / "bare").atoms
    assert np.linalg.norm(bare.positions[2] - slab.positions[2]) < 0.3
    add_adsorbate(slab, "H", 0.9, (1.0, 0.6))
    assert outcome(emt_recipe, slab, tmp_path, bare=bare).code is FailureCode.RECONSTRUCTED


@pytest.mark.provokes(FailureCode.ENERGY_OUT_OF_RANGE)
def test_an_energy_that_chemistry_does_not_know_is_refused(tmp_path, emt_recipe):
    """Stand-in: EMT, and a bare slab at another lattice than the adslab's: a mistake that the limit finds."""
    folders = [tmp_path / name for name in ("bare", "adslab", "judged")]
    for folder in folders:
        folder.mkdir()
    bare = relax(emt_recipe, metal("Cu", (1, 1, 3), 3.61), CalculationKind.SLAB, folders[0])
    squeezed = metal("Cu", (1, 1, 3), 2.9)
    add_adsorbate(squeezed, "H", 0.95, "fcc")
    adslab = relax(emt_recipe, squeezed, CalculationKind.ADSLAB, folders[1])
    found = outcome(emt_recipe, squeezed, folders[2], delta_e_ev=adslab.energy_ev - bare.energy_ev)
    assert found.code is FailureCode.ENERGY_OUT_OF_RANGE, found
