"""Slabs that came out without a moment: when they start again, which energy is kept, what a kill costs."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bcc100, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read

from config.recipe import RecipeSettings
from dft import second_start
from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import JobResult, ResultState, read_job, read_result
from dft.ladders import LADDERS
from dft.recovery import NO_REMEDY, Remedy, read_taken
from dft.relaxation import relax
from dft.second_start import FIRST_FILE, FREE_ATOM_MOMENTS
from dft.worker import run_job
from tests.dft.test_restart import prepare, run_until_killed

STRONG = next(rung for ladder in LADDERS for rung in ladder.rungs if rung.moments > 1.0)
BINDING_EV = 0.5
"""By so much the magnetic state of :class:`MagneticEMT` is the lower one."""


class MagneticEMT(EMT):
    """EMT with a magnetic state that only large moments lead to, lower and a little wider than the other."""

    implemented_properties = (*EMT.implemented_properties, "magmom", "magmoms")
    widening = 0.98

    def calculate(self, atoms, properties, system_changes):
        moments = atoms.get_initial_magnetic_moments()
        is_magnetic = np.abs(moments).max() > 1.0
        squeezed = atoms.copy()
        squeezed.positions[:, 2] *= self.widening if is_magnetic else 1.0
        super().calculate(squeezed, properties, system_changes)
        self.atoms = atoms.copy()
        found = 0.3 * moments if is_magnetic else 0.0 * moments
        if is_magnetic:
            for key in ("energy", "free_energy"):
                self.results[key] -= BINDING_EV
            self.results["forces"][:, 2] *= self.widening
        self.results |= {"magmoms": found, "magmom": float(found.sum())}


@pytest.fixture
def magnetic_emt(monkeypatch):
    monkeypatch.setattr("dft.relaxation.build", lambda *_: MagneticEMT())


def nickel(*, covered: bool = False) -> Atoms:
    slab = fcc111("Ni", (1, 1, 4), a=3.52, vacuum=6.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0, 1]))
    if covered:
        add_adsorbate(slab, "H", 1.2, "fcc")
    return slab


def run(folder) -> JobResult:
    assert run_job(folder)
    result = read_result(folder)
    assert result is not None
    return result


# --- on real frames and files, with EMT


@pytest.mark.parametrize("covered", [False, True])
def test_the_second_start_goes_on_where_the_first_ended_and_its_lower_energy_is_kept(
    tmp_path, emt_recipe, magnetic_emt, covered
):
    slab = nickel(covered=covered)
    folder = prepare(tmp_path, 1, slab, "adslab" if covered else "slab", emt_recipe)
    result = run(folder)
    told = result.details["second_start"]
    assert told["kept"] == "second"
    assert result.energy == told["second_energy_ev"] < told["first_energy_ev"] - 0.9 * BINDING_EV
    assert result.magnetic_moment == told["second_moment"] == pytest.approx(0.3 * 2.0 * 4)
    assert result.atoms is not None
    assert result.atoms.tags == read_job(folder).atoms.tags
    first, second = (read(folder / name, index=":") for name in ("first-relax.traj", "relax.traj"))
    assert np.allclose(second[0].positions, first[-1].positions)
    assert len(second) - 1 == result.n_steps > 0


def test_both_starts_end_alike_where_there_is_no_moment(tmp_path, emt_recipe, monkeypatch):
    class NeverMagnetic(MagneticEMT):
        def calculate(self, atoms, properties, system_changes):
            bare = atoms.copy()
            bare.set_initial_magnetic_moments(np.zeros(len(atoms)))
            super().calculate(bare, properties, system_changes)
            self.atoms = atoms.copy()

    monkeypatch.setattr("dft.relaxation.build", lambda *_: NeverMagnetic())
    folder = prepare(tmp_path, 1, nickel(), "slab", emt_recipe)
    result = run(folder)
    assert result.details["second_start"]["kept"] == "first"
    assert result.energy == result.details["second_start"]["first_energy_ev"]
    assert result.n_steps > 0
    assert len(read(folder / "relax.traj", index=":")) == 1, "the second start took no step"


def test_a_second_start_that_was_killed_anywhere_is_gone_on_with(tmp_path, emt_recipe, magnetic_emt):
    whole = run(prepare(tmp_path / "whole", 1, nickel(), "slab", emt_recipe))
    assert whole.n_steps > 1
    n_killed = n_in_second = 0
    # Files are replaced 5 times by the first start, then twice as the second begins, 9 times by that.
    for n, before in itertools.product((3, 6, 7, 8, 10, 13), (True, False)):
        home = tmp_path / f"{n}-{before}"
        assert run_until_killed(prepare(home, 1, nickel(), "slab", emt_recipe), n, before=before)
        n_killed += 1
        has_begun = (home / "attempt-1" / FIRST_FILE).exists()
        n_in_second += has_begun
        again = run(prepare(home, 2, nickel(), "slab", emt_recipe, "attempt-1"))
        assert again.energy == pytest.approx(whole.energy, abs=1e-9)
        assert (again.n_steps, again.magnetic_moment) == (whole.n_steps, whole.magnetic_moment)
        if has_begun:
            assert not (home / "attempt-2" / "first-relax.traj").exists(), "the first was computed twice"
    assert n_killed > n_in_second > 2


# --- when there is none


def ended(atoms: Atoms, kind: str = "slab", moment: float | None = 0.01, **changes) -> JobResult:
    from dft.jobs import AtomsRecord

    record = AtomsRecord.from_atoms(atoms)
    record = record.model_copy(update={"moments": changes.pop("moments", (0.0,) * len(atoms))})
    return JobResult(
        calculation_id="calc-1", kind=kind, attempt=1, state="DONE", energy=-1.0, atoms=record,
        magnetic_moment=moment, **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "remedy", "due"),
    [
        (ended(nickel()), NO_REMEDY, True),
        (ended(nickel(covered=True), "adslab"), NO_REMEDY, True),
        (ended(nickel(), moment=None), NO_REMEDY, False),  # without spin, as beside a slab that has none
        (ended(nickel(), moments=(0.6, -0.6, 0.6, -0.6), moment=0.0), NO_REMEDY, False),
        (ended(fcc111("Cu", (1, 1, 2), vacuum=5.0)), NO_REMEDY, False),
        (ended(nickel(), "bulk"), NO_REMEDY, False),
        (ended(Atoms("NO", positions=[[0, 0, 0], [0, 0, 1.2]]), "gas"), NO_REMEDY, False),
        (ended(nickel()), Remedy((STRONG,)), False),
    ],
)
def test_it_is_due_only_where_moments_were_lost_that_nothing_larger_was_tried_against(first, remedy, due):
    assert second_start.is_due(first, remedy) is due


# --- how it may end


@pytest.fixture
def second_ends(monkeypatch):
    """Let the second start end in some way; count the starts."""
    starts: list[str] = []

    def arrange(how: BaseException | float) -> list[str]:
        def fake(recipe, atoms, kind, folder, watch, earlier, remedy):
            is_second = atoms.get_initial_magnetic_moments().max(initial=0.0) == FREE_ATOM_MOMENTS[28]
            starts.append("second" if is_second else "first")
            first = relax(recipe, atoms, kind, folder, watch, earlier, remedy)
            if not is_second:
                return first
            if isinstance(how, BaseException):
                raise how
            return replace(first, energy_ev=how)

        monkeypatch.setattr("dft.relaxation.build", lambda *_: MagneticEMT())
        monkeypatch.setattr("dft.relaxation.relax", fake)
        return starts

    return arrange


@pytest.mark.parametrize(
    "how",
    [
        CalculationFailedError(FailureCode.SCF_NOT_CONVERGED, "the charge sloshes"),
        CalculationFailedError(FailureCode.RELAXATION_NOT_CONVERGED, "forces stay"),
        KeyError("x"),
    ],
)
def test_a_second_start_that_fails_costs_no_energy_and_is_not_corrected(
    tmp_path, emt_recipe, second_ends, how
):
    starts = second_ends(how)
    result = run(prepare(tmp_path, 1, nickel(), "slab", emt_recipe))
    assert starts == ["first", "second"]
    assert result.state is ResultState.DONE
    told = result.details["second_start"]
    assert (result.energy, told["kept"]) == (told["first_energy_ev"], "first")
    assert told["second_energy_ev"] is None
    assert str(how.args[-1]) in told["message"]
    assert read_taken(tmp_path / "attempt-1") == ()
    assert result.cpu_seconds > 0
    assert result.versions


def test_a_higher_magnetic_state_is_not_kept(tmp_path, emt_recipe, second_ends):
    second_ends(+1000.0)
    result = run(prepare(tmp_path, 1, nickel(), "slab", emt_recipe))
    assert result.details["second_start"]["kept"] == "first"
    assert result.details["second_start"]["second_energy_ev"] == 1000.0
    assert result.energy is not None
    assert result.energy < 1000.0
    assert result.atoms is not None
    assert not any(result.atoms.moments)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_stops_the_second_start_is_told_and_the_next_attempt_begins_with_it(
    tmp_path, emt_recipe, second_ends, frozen
):
    slab = nickel()
    if frozen:
        slab.set_constraint(FixAtoms(range(4)))
    starts = second_ends(MemoryError("no room"))
    stopped = run(prepare(tmp_path, 1, slab, "slab", emt_recipe))
    assert (stopped.state, stopped.code) == (ResultState.FAILED, FailureCode.OUT_OF_MEMORY)
    assert starts == ["first", "second"]
    second_ends(-1000.0)
    result = run(prepare(tmp_path, 2, slab, "slab", emt_recipe, "attempt-1"))
    assert starts == ["first", "second", "second"]
    assert (result.energy, result.attempt) == (-1000.0, 2)


def test_a_damaged_record_means_that_there_was_no_second_start(tmp_path, emt_recipe, magnetic_emt):
    whole = run(prepare(tmp_path / "whole", 1, nickel(), "slab", emt_recipe))
    folder = prepare(tmp_path, 1, nickel(), "slab", emt_recipe)
    (folder / FIRST_FILE).write_text("{")
    result = run(prepare(tmp_path, 2, nickel(), "slab", emt_recipe, "attempt-1"))
    assert result.energy == pytest.approx(whole.energy, abs=1e-9)
    assert json.loads((tmp_path / "attempt-2" / FIRST_FILE).read_text())["attempt"] == 2


# --- on real GPAW

QUICK = RecipeSettings(cutoff_ev=180.0, slab_kpoint_density=0.8, smearing_ev=0.2)


@pytest.mark.gpaw
def test_iron_that_lost_its_moment_finds_it(tmp_path):
    slab = bcc100("Fe", (1, 1, 1), a=2.87, vacuum=4.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0]))
    slab.set_initial_magnetic_moments([0.01])  # as beside a bare slab that has nearly lost its own
    result = run(prepare(tmp_path, 1, slab, "slab", QUICK))
    told = result.details["second_start"]
    assert told["kept"] == "second"
    assert result.energy == told["second_energy_ev"] < told["first_energy_ev"] - 1.0
    assert result.magnetic_moment == pytest.approx(3.3, abs=0.2)


@pytest.mark.gpaw
def test_nickel_beside_aluminium_has_no_moment_to_find_and_spin_is_paid_for_no_more(tmp_path):
    slab = Atoms("AlNi", positions=[[0, 0, 5.0], [1.44, 1.44, 6.44]], cell=[2.88, 2.88, 11.4], pbc=True)
    slab.set_constraint(FixAtoms([0, 1]))
    polarised = run(prepare(tmp_path, 1, slab, "slab", QUICK))
    told = polarised.details["second_start"]
    assert told["kept"] == "first"
    assert told["second_energy_ev"] == pytest.approx(polarised.energy, abs=1e-3)
    assert polarised.magnetic_moment == pytest.approx(0.0, abs=0.02)
    assert polarised.atoms is not None
    again = run(prepare(tmp_path / "again", 1, polarised.atoms.to_atoms(), "slab", QUICK))
    assert again.magnetic_moment is None
    assert "second_start" not in again.details
    assert again.energy == pytest.approx(polarised.energy, abs=0.002)
