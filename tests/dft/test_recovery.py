"""Ladders of corrections: what they may change, when they end, what they leave, where they go on."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from itertools import pairwise

import pytest
from ase import Atoms
from ase.build import bulk, fcc100, fcc111
from ase.constraints import FixAtoms

from config.recipe import RecipeSettings
from dft import recovery
from dft.bulk import equation_of_state
from dft.calculator import build, gpaw_parameters
from dft.codes import RETRYABLE, CalculationFailedError, FailureCode
from dft.jobs import CalculationKind, JobResult, ResultState, read_result
from dft.ladders import LADDERS, MAX_CORRECTIONS, Correction
from dft.recovery import RECOVERY_FILE, Remedy, read_taken, remedy_of
from dft.references import gas_atoms
from dft.relaxation import relax
from dft.sanity import FAR_ITERATIONS
from dft.watch import StoppedError, Watch
from dft.worker import run_job
from tests.dft.test_restart import prepare, rattled_slab, run_until_killed

RUNGS = list({rung.name: rung for ladder in LADDERS for rung in ladder.rungs}.values())
HOW_ONLY = {"mixer", "eigensolver", "nbands", "symmetry", "maxiter", "magmoms"}
"""Parameters of GPAW that lead to the solution and are no part of it."""
IMPOSSIBLE = {
    "scf_max_iterations": 10,
    "scf_density_e_per_electron": 1e-18,
    "scf_energy_ev_per_electron": 1e-18,
}


def failure(code: FailureCode, message: str = "") -> JobResult:
    return JobResult(
        calculation_id="calc-1", kind="slab", attempt=1, state="FAILED", code=code, message=message
    )


def climb(folder, result: JobResult, *, is_magnetic: bool) -> list[str]:
    """Take every rung that there is against one failure."""
    names = []
    while rung := recovery.next_correction(result, folder, is_magnetic=lambda: is_magnetic):
        names.append(rung.name)
        recovery.take(folder, rung, result, 1.0)
        assert len(names) < 100, "a ladder without an end"
    return names


def run(folder) -> JobResult:
    assert run_job(folder)
    result = read_result(folder)
    assert result is not None
    return result


# --- the data


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_no_correction_changes_what_is_computed(rung: Correction):
    slab = fcc111("Ni", (1, 1, 2), a=3.5, vacuum=4.0)
    slab.set_initial_magnetic_moments([0.8, 0.8])
    plain = gpaw_parameters(RecipeSettings(), slab, CalculationKind.SLAB)
    parameters = gpaw_parameters(RecipeSettings(), slab, CalculationKind.SLAB, Remedy((rung,)))
    assert {key for key in parameters if parameters[key] != plain.get(key)} <= HOW_ONLY
    assert set(plain) <= set(parameters)


def test_names_are_told_apart_and_every_rung_does_something():
    for rung in RUNGS:
        assert rung != Correction(rung.name, rung.says, needs_moments=rung.needs_moments)
    for ladder in LADDERS:
        assert all(rung in RUNGS for rung in ladder.rungs)  # one name, one meaning


def test_what_says_nothing_of_the_calculation_is_left_to_the_ledger():
    for ladder in LADDERS:
        assert not set(ladder.codes) & (RETRYABLE | {FailureCode.OUT_OF_MEMORY})


@pytest.mark.parametrize("is_magnetic", [True, False])
@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: f"{ladder.about}-{ladder.sign[:7]}")
def test_every_ladder_is_climbed_in_order_and_ends(tmp_path, ladder, is_magnetic):
    result = failure(ladder.codes[0], ladder.sign.split("|")[0])
    expected = [r.name for r in ladder.rungs if r.needs_moments in (None, is_magnetic)]
    assert climb(tmp_path, result, is_magnetic=is_magnetic) == expected


def test_all_ladders_together_are_capped(tmp_path):
    n = 0
    for ladder in LADDERS:
        for code in ladder.codes:
            for is_magnetic in (True, False):
                n += len(climb(tmp_path, failure(code, ladder.sign.split("|")[0]), is_magnetic=is_magnetic))
    assert n == len(read_taken(tmp_path)) == min(MAX_CORRECTIONS, len(RUNGS))


def test_an_unknown_crash_is_not_tried_again(tmp_path):
    result = failure(FailureCode.CRASHED, "KeyError: 'x'")
    assert recovery.next_correction(result, tmp_path, is_magnetic=lambda: True) is None


def test_of_each_ladder_the_last_rung_is_in_force(tmp_path):
    scf, course = failure(FailureCode.SCF_NOT_CONVERGED), failure(FailureCode.RELAXATION_NOT_CONVERGED)
    (first, second, *_), (small_steps, *_) = [
        next(x.rungs for x in LADDERS if failed.code in x.codes and not x.sign) for failed in (scf, course)
    ]
    for rung, failed in [(first, scf), (small_steps, course), (second, scf)]:
        recovery.take(tmp_path, rung, failed, 1.0)
    assert remedy_of(read_taken(tmp_path)).corrections == (second, small_steps)


@pytest.mark.parametrize("text", ["", "{", "7", "[1]", '[{"correction": 1}]'])
def test_a_damaged_record_means_that_nothing_was_tried(tmp_path, text):
    (tmp_path / RECOVERY_FILE).write_text(text)
    assert read_taken(tmp_path) == ()


def test_a_correction_of_another_release_is_left_aside(tmp_path):
    recovery.take(tmp_path, Correction("no-such", "helps"), failure(FailureCode.SCF_NOT_CONVERGED), 1.0)
    assert remedy_of(read_taken(tmp_path)) == Remedy()


# --- the worker on its ladder


def test_what_was_tried_is_in_the_result_of_one_that_fails(tmp_path, emt_recipe):
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-5})
    result = run(prepare(tmp_path, 1, rattled_slab(), "slab", recipe))
    assert (result.state, result.code) == (ResultState.FAILED, FailureCode.RELAXATION_NOT_CONVERGED)
    (tried,) = result.details["corrections"]
    assert (tried["correction"], tried["code"], tried["n_steps"]) == (
        "small-steps",
        "RELAXATION_NOT_CONVERGED",
        3,
    )
    assert "after 3 steps" in tried["message"]
    assert result.n_steps == 6  # the recipe's steps once more, and no more
    assert result.energy is None
    assert (tmp_path / "attempt-1" / "relax.traj").exists()


def test_small_steps_are_small_and_go_on_from_the_last_frame(tmp_path, emt_recipe):
    import numpy as np
    from ase.io import read

    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-5})
    folder = prepare(tmp_path, 1, rattled_slab(), "slab", recipe)
    run(folder)
    frames = read(folder / "relax.traj", index=":")
    steps = [np.linalg.norm(b.positions - a.positions, axis=1).max() for a, b in pairwise(frames)]
    assert len(steps) == 6
    assert max(steps[3:]) <= 0.05 + 1e-9 < max(steps[:3])


def test_a_window_that_may_move_farther_finds_a_distant_minimum(tmp_path, emt_recipe):
    result = run(prepare(tmp_path, 1, bulk("Cu", a=4.7), "bulk", emt_recipe))
    assert result.code is None
    assert 4.7 * result.details["linear_scale"] == pytest.approx(3.59, abs=0.01)  # EMT's copper
    assert [c["correction"] for c in result.details["corrections"]] == ["wider-search"]


def test_killed_on_a_rung_it_goes_on_at_that_rung_to_the_same_end(tmp_path, emt_recipe):
    enough = run(prepare(tmp_path / "enough", 1, rattled_slab(), "slab", emt_recipe))
    recipe = emt_recipe.model_copy(update={"max_steps": enough.n_steps - 3})
    whole = run(prepare(tmp_path / "whole", 1, rattled_slab(), "slab", recipe))
    assert whole.code is None
    assert [c["correction"] for c in whole.details["corrections"]] == ["small-steps"]
    n_killed_on_the_rung = 0
    for n in range(2 * enough.n_steps - 6, 2 * enough.n_steps + 20, 3):
        home = tmp_path / str(n)
        first = prepare(home, 1, rattled_slab(), "slab", recipe)
        if not run_until_killed(first, n, before=True):
            break
        n_killed_on_the_rung += bool(read_taken(first))
        second = run(prepare(home, 2, rattled_slab(), "slab", recipe, "attempt-1"))
        assert second.energy == pytest.approx(whole.energy, abs=1e-9)
        assert second.n_steps == whole.n_steps
        assert len(second.details["corrections"]) == 1  # the rung is not climbed twice
    assert n_killed_on_the_rung >= 2


def test_a_person_who_asks_again_has_the_ladder_climbed_anew(tmp_path, emt_recipe):
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-5})
    run(prepare(tmp_path, 1, rattled_slab(), "slab", recipe))
    again = run(prepare(tmp_path, 2, rattled_slab(), "slab", recipe, "attempt-1"))
    assert [c["n_steps"] for c in again.details["corrections"]] == [9]


def test_a_stop_signal_on_the_ladder_stops(tmp_path, emt_recipe, monkeypatch):
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-5})
    take = recovery.take

    def told_to_stop(*arguments):
        take(*arguments)
        os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setattr(recovery, "take", told_to_stop)
    result = run(prepare(tmp_path, 1, rattled_slab(), "slab", recipe))
    assert result.code is FailureCode.TIMEOUT
    assert [c["correction"] for c in result.details["corrections"]] == ["small-steps"]


def test_a_stop_signal_while_ranks_leave_their_failure_begins_no_rung(tmp_path, emt_recipe, monkeypatch):
    """What the ranks left goes before the signal; the rung is noted for the next attempt all the same."""
    folder = prepare(tmp_path, 1, rattled_slab(), "slab", emt_recipe, cores=2)
    runs = []

    def ranks_that_failed(spec, _):
        runs.append(1)
        with suppress(StoppedError):
            os.kill(os.getpid(), signal.SIGUSR2)
        return failure(FailureCode.RELAXATION_NOT_CONVERGED)

    monkeypatch.setattr("dft.worker.run_ranks", ranks_that_failed)
    result = run(folder)
    assert (len(runs), result.code) == (1, FailureCode.TIMEOUT)
    assert [c["correction"] for c in result.details["corrections"]] == ["small-steps"]


def test_a_record_that_cannot_be_read_back_makes_no_endless_ladder(tmp_path, emt_recipe, monkeypatch):
    recipe = emt_recipe.model_copy(update={"max_steps": 1, "fmax_ev_per_a": 1e-5})
    taken = []

    def take(*_):
        taken.append(1)
        assert len(taken) < 50, "a ladder without an end"

    monkeypatch.setattr(recovery, "take", take)
    result = run(prepare(tmp_path, 1, rattled_slab(), "slab", recipe))
    assert result.code is FailureCode.RELAXATION_NOT_CONVERGED
    assert len(taken) == MAX_CORRECTIONS


# --- real GPAW


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.SCF_NOT_CONVERGED)
def test_a_cycle_that_never_converges_ends_with_all_that_was_tried(tmp_path, cheap_recipe):
    recipe = cheap_recipe.model_copy(update=IMPOSSIBLE)
    folder = prepare(tmp_path, 1, gas_atoms("H2", 5.0), "gas", recipe)
    result = run(folder)
    assert (result.state, result.code) == (ResultState.FAILED, FailureCode.SCF_NOT_CONVERGED)
    ladder = next(x for x in LADDERS if FailureCode.SCF_NOT_CONVERGED in x.codes and not x.sign)
    names = [rung.name for rung in ladder.rungs if not rung.needs_moments]
    assert [c["correction"] for c in result.details["corrections"]] == names
    logs = sorted(path.name for path in folder.glob("gpaw*.txt"))
    assert logs == sorted(["gpaw.txt", *(f"gpaw-{n}.txt" for n in range(1, len(names) + 1))])
    assert all("iter:" in (folder / log).read_text() for log in logs)


@pytest.mark.gpaw
def test_too_few_iterations_are_recovered_from_to_the_energy_of_the_recipe(tmp_path, cheap_recipe):
    whole = run(prepare(tmp_path / "whole", 1, gas_atoms("H2", 5.0), "gas", cheap_recipe))
    short = cheap_recipe.model_copy(update={"scf_max_iterations": 10, "scf_density_e_per_electron": 1e-7})
    result = run(prepare(tmp_path, 1, gas_atoms("H2", 5.0), "gas", short))
    assert result.code is None, result.message
    assert [c["correction"] for c in result.details["corrections"]] == ["more-iterations"]
    assert result.energy == pytest.approx(whole.energy, abs=1e-3)


def aluminium_slab() -> Atoms:
    slab = fcc111("Al", (1, 1, 2), a=4.05, vacuum=3.5)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0, 1]))
    return slab


@pytest.mark.gpaw
@pytest.mark.parametrize(
    "rung", [rung for rung in RUNGS if rung.first_width != 1.0], ids=lambda rung: rung.name
)
def test_a_detour_lands_on_the_energy_of_the_recipe(tmp_path, cheap_recipe, rung):
    atoms = aluminium_slab()
    recipe = cheap_recipe.model_copy(update={"scf_density_e_per_electron": 1e-6})
    energies, forces = [], []
    for name, remedy in [("plain", Remedy()), ("detour", Remedy((rung,)))]:
        atoms.calc = build(recipe, atoms, CalculationKind.SLAB, tmp_path / f"{name}.txt", remedy)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    assert energies[1] == pytest.approx(energies[0], abs=1e-4)
    assert forces[1] == pytest.approx(forces[0], abs=5e-3)
    assert "going on to the settings of the recipe" in (tmp_path / "detour.txt").read_text()


@pytest.mark.gpaw
@pytest.mark.parametrize(
    "rung", [rung for rung in RUNGS if rung.first_width != 1.0], ids=lambda rung: rung.name
)
def test_every_volume_takes_the_detour_and_lands(tmp_path, cheap_recipe, aluminium, rung):
    found = {}
    for name, remedy in [("plain", Remedy()), ("detour", Remedy((rung,)))]:
        (tmp_path / name).mkdir()
        found[name] = equation_of_state(cheap_recipe, aluminium, tmp_path / name, remedy=remedy)
    log = (tmp_path / "detour" / "gpaw.txt").read_text()
    assert log.count("going on to the settings of the recipe") == found["detour"].n_volumes
    assert found["detour"].energies == pytest.approx(found["plain"].energies, abs=1e-3)
    assert found["detour"].linear_scale == pytest.approx(found["plain"].linear_scale, abs=1e-4)


@pytest.mark.gpaw
def test_a_slab_that_had_nearly_lost_its_moment_finds_it_again(tmp_path, cheap_recipe):
    """From so little GPAW converges nickel to the state without moment."""
    nickel = fcc111("Ni", (1, 1, 1), a=3.52, vacuum=3.0, periodic=True)
    nickel.set_initial_magnetic_moments([0.01])
    (rung,) = (rung for rung in RUNGS if rung.moments > 1.0)
    log = tmp_path / "strong.txt"
    nickel.calc = build(cheap_recipe, nickel, CalculationKind.SLAB, log, Remedy((rung,)))
    nickel.get_potential_energy()
    assert nickel.calc.results["magmom"] > 0.3


@pytest.mark.gpaw
@pytest.mark.parametrize("n_bands", [1, 0], ids=["fewer-than-electrons-fill", "none-that-is-empty"])
def test_too_few_bands_are_recovered_from(tmp_path, cheap_recipe, monkeypatch, n_bands):
    """Stand-in: the number of bands has not been seen to be too small, so GPAW is asked for so few.

    One band does not hold the electrons, which GPAW refuses; with just those that hold them (0 empty ones)
    the highest is filled, which GPAW does not mind.
    """
    plain = recovery.corrected
    monkeypatch.setattr(
        recovery, "corrected", lambda parameters, *rest: plain(parameters | {"nbands": n_bands}, *rest)
    )
    monkeypatch.setattr("dft.calculator.corrected", recovery.corrected)
    result = run(prepare(tmp_path, 1, aluminium_slab(), "slab", cheap_recipe))
    assert result.code is None, result.message
    (tried,) = result.details["corrections"]
    assert (tried["correction"], tried["code"]) == ("usual-bands", "CRASHED")


@pytest.mark.gpaw
def test_ranks_climb_the_ladder_too(tmp_path, cheap_recipe):
    recipe = cheap_recipe.model_copy(update={"max_steps": 1, "fmax_ev_per_a": 1e-4})
    atoms = gas_atoms("H2", 5.0)
    atoms.positions[1] += (0, 0, 0.05)
    result = run(prepare(tmp_path, 1, atoms, "gas", recipe, cores=2))
    assert result.code is FailureCode.RELAXATION_NOT_CONVERGED
    assert [c["correction"] for c in result.details["corrections"]] == ["small-steps"]
    assert result.n_steps == 2
    assert json.loads((tmp_path / "attempt-1" / RECOVERY_FILE).read_text())


# --- numbers that are none, and cycles that run away


def poisoned(monkeypatch, n_times: int) -> None:
    """Stand-in: in a real cycle, the wave functions turn into no numbers; real ones have not been seen to."""
    follow, left = Watch.follow, [n_times]

    def follow_and_poison(self, calculator):
        follow(self, calculator)
        on_iteration = calculator.hooks["scf_step"]

        def poison(context):
            on_iteration(context)
            if context.niter == 2 and left[0]:
                left[0] -= 1
                for waves in context.ibzwfs:
                    waves.psit_nX.data[:] = float("nan")

        calculator.hooks["scf_step"] = poison

    monkeypatch.setattr(Watch, "follow", follow_and_poison)


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.NOT_FINITE)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_density_that_is_no_number_ends_as_such(tmp_path, cheap_recipe, monkeypatch):
    poisoned(monkeypatch, 99)
    result = run(prepare(tmp_path, 1, aluminium_slab(), "slab", cheap_recipe))
    assert result.code is FailureCode.NOT_FINITE, result.message
    assert {c["code"] for c in result.details["corrections"]} == {"NOT_FINITE"}


@pytest.mark.gpaw
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_one_that_is_none_only_once_is_recovered_from(tmp_path, cheap_recipe, monkeypatch):
    whole = run(prepare(tmp_path / "whole", 1, aluminium_slab(), "slab", cheap_recipe))
    poisoned(monkeypatch, 1)
    result = run(prepare(tmp_path, 1, aluminium_slab(), "slab", cheap_recipe))
    assert result.code is None, result.message
    assert len(result.details["corrections"]) == 1
    assert result.energy == pytest.approx(whole.energy, abs=5e-3)


@pytest.mark.parametrize("what", ["energy", "forces"])
def test_no_number_counts_as_converged(tmp_path, emt_recipe, monkeypatch, what):
    from ase.calculators.emt import EMT

    calculate = EMT.calculate

    def spoilt(self, *arguments, **keywords):
        calculate(self, *arguments, **keywords)
        self.results[what] = self.results[what] * float("nan")

    monkeypatch.setattr(EMT, "calculate", spoilt)
    folder = prepare(tmp_path, 1, rattled_slab(), "slab", emt_recipe)
    assert run(folder).code is FailureCode.NOT_FINITE
    assert not (folder / "relax.traj").exists()  # it is no frame to go on from


@pytest.mark.gpaw
def test_a_cycle_that_runs_away_is_stopped_early(tmp_path, cheap_recipe, monkeypatch):
    """Eight layers of aluminium without any mixing: charge sloshes from side to side for ever."""
    monkeypatch.setattr(
        "dft.calculator.corrected",
        lambda parameters, *_: dict(parameters) | {"mixer": {"name": "no-mixing"}},
    )
    slab = fcc100("Al", (1, 1, 8), a=4.05, vacuum=6.0, periodic=True)
    slab.set_constraint(FixAtoms(range(8)))
    recipe = cheap_recipe.model_copy(update={"cutoff_ev": 150.0, "slab_kpoint_density": 0.4})
    with pytest.raises(CalculationFailedError, match="sloshes") as stopped:
        relax(recipe, slab, CalculationKind.SLAB, tmp_path)
    assert stopped.value.code is FailureCode.SCF_NOT_CONVERGED
    assert (tmp_path / "gpaw.txt").read_text().count("iter:") <= FAR_ITERATIONS + 2
    assert recipe.scf_max_iterations > 2 * FAR_ITERATIONS


# --- the other codes that a ladder knows, in real GPAW


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.RELAXATION_NOT_CONVERGED)
def test_a_molecule_out_of_steps_carries_its_code(tmp_path, cheap_recipe):
    recipe = cheap_recipe.model_copy(update={"max_steps": 1, "fmax_ev_per_a": 1e-4})
    atoms = gas_atoms("H2", 5.0)
    atoms.positions[1] += (0, 0, 0.05)
    result = run(prepare(tmp_path, 1, atoms, "gas", recipe))
    assert result.code is FailureCode.RELAXATION_NOT_CONVERGED
    assert len(result.details["corrections"]) == 1


@pytest.mark.gpaw
@pytest.mark.provokes(FailureCode.EOS_NOT_BRACKETED)
def test_a_lattice_far_from_equilibrium_carries_its_code(tmp_path, cheap_recipe):
    recipe = cheap_recipe.model_copy(update={"eos_strain": 0.002})
    result = run(prepare(tmp_path, 1, bulk("Al", a=4.6), "bulk", recipe))
    assert result.code is FailureCode.EOS_NOT_BRACKETED, result.message
    assert [c["correction"] for c in result.details["corrections"]] == ["wider-search"]
