"""The BEEF-vdW ensemble: the same members in every calculation, and errors that cancel."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.dft.bee import BEEFEnsemble

from config.recipe import RecipeSettings
from dft.calculator import build
from dft.ensemble import CONTRIBUTIONS, N_MEMBERS, as_details, contributions, delta_e_std, members
from dft.jobs import AtomsRecord, CalculationKind, JobSpec, read_result, write_job
from dft.references import gas_atoms
from dft.relaxation import relax
from dft.worker import run_job

RNG = np.random.default_rng(7)
SLAB, GAS, BINDING = (RNG.normal(0.0, size, 32) for size in (20.0, 5.0, 0.2))
REFERENCE = {"H2": 0.5}
BEEF = RecipeSettings(
    xc="BEEF-vdW", cutoff_ev=250.0, gas_box_a=5.0, fmax_ev_per_a=0.2, max_steps=10, slab_kpoint_density=0.4
)


def details(values):
    return as_details(list(values))


def test_members_are_those_of_ase():
    energies = BEEFEnsemble(e=-3.0, contribs=SLAB, xc="BEEF-vdW", verbose=False).get_ensemble_energies()
    assert members(SLAB) == pytest.approx(energies + 3.0)
    assert members(SLAB).shape == (N_MEMBERS,)


def test_members_are_subtracted_one_by_one_so_that_common_errors_cancel():
    adslab = SLAB + 0.5 * GAS + BINDING
    found = delta_e_std(details(adslab), details(SLAB), {"H2": details(GAS)}, REFERENCE)
    assert found == pytest.approx(members(BINDING).std())
    apart = np.sqrt(members(adslab).var() + members(SLAB).var() + 0.25 * members(GAS).var())
    assert found < 0.05 * apart


@pytest.mark.parametrize("without", ["adslab", "slab", "gas"])
def test_one_calculation_without_ensemble_leaves_no_error_bar(without):
    parts = {"adslab": details(SLAB), "slab": details(SLAB), "gas": details(GAS)} | {without: {}}
    assert delta_e_std(parts["adslab"], parts["slab"], {"H2": parts["gas"]}, REFERENCE) is None
    assert delta_e_std(parts["adslab"], parts["slab"], {}, REFERENCE) is None


def test_other_functionals_have_no_ensemble():
    for recipe in (RecipeSettings(), RecipeSettings(engine="emt", xc="BEEF-vdW")):
        assert contributions(recipe, Atoms("H"), lambda: pytest.fail("computed for nothing")) is None


@pytest.mark.gpaw
def test_the_worker_leaves_the_contributions_of_a_real_calculation(tmp_path):
    molecule = gas_atoms("H2", BEEF.gas_box_a)
    spec = JobSpec(
        calculation_id="calc-1",
        kind=CalculationKind.GAS,
        attempt=1,
        label="gas H2",
        recipe=BEEF,
        atoms=AtomsRecord.from_atoms(molecule),
    )
    write_job(tmp_path, spec)
    assert run_job(tmp_path)
    result = read_result(tmp_path)
    assert result is not None
    assert result.energy is not None, result.message
    found = result.details[CONTRIBUTIONS]
    assert len(found) == 32
    # Exchange that grows with the electrons, and correlation, both negative: the leading terms are eV.
    assert found[0] < -5.0
    assert -4.0 < found[-1] < found[-2] + 4.0 < 4.0
    assert 0.1 < members(found).std() < 3.0
    assert result.setups["H"].startswith("H.PBE")


@pytest.mark.gpaw
def test_a_structure_that_was_only_read_back_is_computed_again(tmp_path):
    """As after a worker that was killed between its last step and its result."""
    whole = relax(BEEF, gas_atoms("H2", BEEF.gas_box_a), CalculationKind.GAS, tmp_path)
    final = whole.atoms.copy()
    final.calc = SinglePointCalculator(final, energy=whole.energy_ev, forces=np.zeros((2, 3)))
    log = tmp_path / "again.txt"
    found = contributions(BEEF, final, lambda: build(BEEF, final, CalculationKind.GAS, log))
    assert found == pytest.approx(whole.beef_contributions_ev, abs=0.01)


@pytest.mark.gpaw
def test_in_a_real_adsorption_energy_nearly_all_of_the_spread_cancels(tmp_path):
    """H on two layers of Al(111): each spreads by tens of eV, the difference by less than half an eV."""
    recipe = BEEF.model_copy(update={"smearing_ev": 0.2})
    slab = fcc111("Al", (1, 1, 2), a=4.05, vacuum=4.0)
    slab.set_constraint(FixAtoms([0, 1]))
    adslab = slab.copy()
    add_adsorbate(adslab, "H", 0.95, "fcc")
    adslab.set_constraint(FixAtoms([0, 1, 2]))
    molecule = gas_atoms("H2", BEEF.gas_box_a)
    molecule.set_constraint(FixAtoms([0, 1]))
    kept = []
    for kind, atoms in [
        (CalculationKind.ADSLAB, adslab),
        (CalculationKind.SLAB, slab),
        (CalculationKind.GAS, molecule),
    ]:
        kept.append(as_details(relax(recipe, atoms, kind, tmp_path).beef_contributions_ev))
    found = delta_e_std(kept[0], kept[1], {"H2": kept[2]}, REFERENCE)
    assert found is not None
    assert 0.02 < found < 0.5
    assert found < 0.05 * members(kept[1][CONTRIBUTIONS]).std()
