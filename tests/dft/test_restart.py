"""An attempt that is broken off, by whatever and wherever, is gone on with as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.constraints import FixAtoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dft import restart
from dft.codes import FailureCode
from dft.execution.base import JOB_END_VARIABLE
from dft.jobs import (
    HEARTBEAT_FILE,
    LATE_RESULT_FILE,
    TRAJECTORY_FILE,
    AtomsRecord,
    CalculationKind,
    JobResult,
    JobSpec,
    ResultState,
    cpu_seconds_so_far,
    read_heartbeat,
    read_result,
    write_job,
    write_result,
)
from dft.references import gas_atoms
from dft.restart import DENSITY_FILE, VOLUMES_FILE, earlier_attempts, whole_frames
from dft.watch import StoppedError, Watch
from dft.worker import run_job
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
SAME_ENERGY_EV = 1.0e-3


def rattled_slab() -> Atoms:
    slab = fcc111("Cu", (2, 1, 3), a=3.6, vacuum=5.0)
    slab.pbc = True
    slab.rattle(0.2, seed=1)
    slab.set_constraint(FixAtoms([0, 1]))
    return slab


def covered_slab() -> Atoms:
    """The same with an adsorbate so high that its relaxation starts lower."""
    slab = rattled_slab()
    add_adsorbate(slab, "H", 1.5, "fcc")
    return slab


def prepare(home: Path, attempt: int, atoms: Atoms, kind: str, recipe, restart_from=None, **fields) -> Path:
    folder = home / f"attempt-{attempt}"
    spec = JobSpec(
        calculation_id="calc-0123456789ab",
        kind=CalculationKind(kind),
        attempt=attempt,
        label=f"{kind} {atoms.symbols}",
        recipe=recipe,
        atoms=AtomsRecord.from_atoms(atoms),
        restart_from=restart_from,
        **fields,
    )
    write_job(folder, spec)
    return folder


def finish(folder: Path) -> JobResult:
    assert run_job(folder)
    result = read_result(folder)
    assert result is not None
    assert result.state is ResultState.DONE, result.message
    return result


def run_until_killed(folder: Path, replacement: int, *, before: bool) -> bool:
    """Run a job in a process that kills itself at its n-th replacement of a file; False if it ended first."""
    pid = os.fork()
    if pid == 0:
        count = 0
        replace = Path.replace

        def fatal_replace(self, target):
            nonlocal count
            count += 1
            if count == replacement and before:
                os.kill(os.getpid(), signal.SIGKILL)
            moved = replace(self, target)
            if count == replacement:
                os.kill(os.getpid(), signal.SIGKILL)
            return moved

        Path.replace = fatal_replace  # type: ignore[method-assign]
        try:
            run_job(folder)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize(
    ("kind", "atoms"),
    [("slab", rattled_slab()), ("adslab", covered_slab()), ("bulk", bulk("Cu", a=3.4))],
)
def test_killed_anywhere_and_again_it_ends_where_the_uninterrupted_one_does(
    tmp_path, emt_recipe, kind, atoms
):
    whole = finish(prepare(tmp_path / "whole", 1, atoms, kind, emt_recipe))
    assert whole.n_steps > 5
    assert whole.details.get("restarted_from") is None
    kill_points = [(n, before) for n in (1, 2, 3, 6, 9, 15) for before in (True, False)]
    n_killed = 0
    for n, before in kill_points:
        home = tmp_path / f"{n}-{before}"
        first = prepare(home, 1, atoms, kind, emt_recipe)
        if not run_until_killed(first, n, before=before):
            break
        n_killed += 1
        second = prepare(home, 2, atoms, kind, emt_recipe, "attempt-1")
        run_until_killed(second, 2, before=before)
        third = finish(prepare(home, 3, atoms, kind, emt_recipe, "attempt-2"))
        assert third.energy == pytest.approx(whole.energy, abs=1e-9)
        assert third.n_steps == whole.n_steps
        assert third.atoms is not None
        assert whole.atoms is not None
        assert np.allclose(third.atoms.positions, whole.atoms.positions, atol=1e-9)
        assert third.details.get("steps_before", 0) >= (n - 2) // 2 - 1  # nothing whole was thrown away
    assert n_killed >= 6


@pytest.fixture(scope="module")
def finished_frames(tmp_path_factory) -> bytes:
    from config.recipe import RecipeSettings

    home = tmp_path_factory.mktemp("finished")
    folder = prepare(home, 1, rattled_slab(), "slab", RecipeSettings(engine="emt"))
    finish(folder)
    return (folder / TRAJECTORY_FILE).read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), junk=st.binary(max_size=64))
def test_a_trajectory_cut_at_any_byte_or_damaged_gives_its_first_frames(
    tmp_path, finished_frames, where, junk
):
    path = tmp_path / TRAJECTORY_FILE
    start = rattled_slab()
    path.write_bytes(finished_frames)
    every = whole_frames(tmp_path, start)
    cut = int(where * len(finished_frames))
    path.write_bytes(finished_frames[:cut] + junk + finished_frames[cut + len(junk) :] * bool(junk))
    some = whole_frames(tmp_path, start)
    assert len(some) <= len(every)
    if not junk:
        for one, other in zip(some, every, strict=False):
            assert np.array_equal(one.positions, other.positions)
            assert np.array_equal(one.get_forces(), other.get_forces())


def test_frames_of_another_start_are_left_aside(tmp_path, finished_frames):
    (tmp_path / TRAJECTORY_FILE).write_bytes(finished_frames)
    moved = rattled_slab()
    moved.positions[-1] += 0.01
    assert whole_frames(tmp_path, rattled_slab())
    assert whole_frames(tmp_path, moved) == []


def test_volumes_of_another_lattice_and_broken_lines_are_left_aside(tmp_path, emt_recipe):
    first = prepare(tmp_path, 1, bulk("Cu", a=3.6), "bulk", emt_recipe)
    whole = finish(first)
    lines = (first / VOLUMES_FILE).read_text().splitlines()
    (first / VOLUMES_FILE).write_text("\n".join([lines[0], "[]", '{"index": 0}', lines[1], lines[2][:20]]))
    second = finish(prepare(tmp_path, 2, bulk("Cu", a=3.6), "bulk", emt_recipe, "attempt-1"))
    assert second.details["steps_before"] == 2
    assert second.energy == pytest.approx(whole.energy, abs=1e-9)
    third = finish(prepare(tmp_path, 3, bulk("Cu", a=3.7), "bulk", emt_recipe, "attempt-1"))
    assert "restarted_from" not in third.details


@pytest.mark.parametrize("name", ["attempt-7", "../attempt-1", "/", "..", ".", ""])
def test_an_earlier_attempt_that_is_not_there_means_from_scratch(tmp_path, emt_recipe, name):
    result = finish(prepare(tmp_path, 2, rattled_slab(), "slab", emt_recipe, name))
    assert "restarted_from" not in result.details


def test_another_calculations_folder_and_a_circle_are_not_followed(tmp_path, emt_recipe):
    from dft.jobs import read_job

    first = prepare(tmp_path, 1, rattled_slab(), "slab", emt_recipe, "attempt-2")
    second = prepare(tmp_path, 2, rattled_slab(), "slab", emt_recipe, "attempt-1")
    assert earlier_attempts(read_job(second), second) == [first]
    write_job(first, read_job(first).model_copy(update={"calculation_id": "calc-other"}))
    assert earlier_attempts(read_job(second), second) == []


def test_steps_are_counted_and_capped_over_all_attempts(tmp_path, emt_recipe):
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-4})
    run_job(first := prepare(tmp_path, 1, rattled_slab(), "slab", recipe))
    (first / "result.json").unlink()  # as if it had been killed at the last moment
    run_job(second := prepare(tmp_path, 2, rattled_slab(), "slab", recipe, "attempt-1"))
    result = read_result(second)
    assert result is not None
    assert result.code is FailureCode.RELAXATION_NOT_CONVERGED
    assert "after 6 steps" in result.message


# --- the watch


def test_a_relaxation_that_gave_up_gets_as_many_steps_again(tmp_path, emt_recipe):
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-4})
    for attempt in (1, 2):
        earlier = f"attempt-{attempt - 1}" if attempt > 1 else None
        folder = prepare(tmp_path, attempt, rattled_slab(), "slab", recipe, earlier)
        assert run_job(folder)
        result = read_result(folder)
        assert result.code is FailureCode.RELAXATION_NOT_CONVERGED
        assert result.n_steps == 6 * attempt  # and once more in small steps


def test_no_step_is_begun_that_would_not_fit(tmp_path):
    watch = Watch(tmp_path, time.time() + 1.0)
    time.sleep(0.2)
    watch.boundary(1)  # 0.8 s are left for another 0.2 s
    time.sleep(0.5)
    with pytest.raises(StoppedError, match="left after step 2") as stopped:
        watch.boundary(2)  # 0.3 s for 0.5 s
    assert stopped.value.code is FailureCode.TIMEOUT


def test_a_worker_told_when_its_time_is_up_stops_by_itself_and_the_next_goes_on(
    tmp_path, emt_recipe, monkeypatch
):
    whole = finish(prepare(tmp_path / "whole", 1, rattled_slab(), "slab", emt_recipe))
    monkeypatch.setenv(JOB_END_VARIABLE, str(time.time() - 1))
    run_job(first := prepare(tmp_path, 1, rattled_slab(), "slab", emt_recipe))
    stopped = read_result(first)
    assert stopped is not None
    assert (stopped.state, stopped.code) == (ResultState.FAILED, FailureCode.TIMEOUT)
    monkeypatch.delenv(JOB_END_VARIABLE)
    second = finish(prepare(tmp_path, 2, rattled_slab(), "slab", emt_recipe, "attempt-1"))
    assert second.details == {"restarted_from": "attempt-1", "steps_before": 0}
    assert second.energy == pytest.approx(whole.energy, abs=1e-9)


def test_a_worker_whose_attempt_was_given_up_stops_and_keeps_what_it_says_aside(tmp_path, emt_recipe):
    folder = prepare(tmp_path, 1, rattled_slab(), "slab", emt_recipe)
    verdict = JobResult(calculation_id="calc-0123456789ab", kind="slab", attempt=1, state="FAILED")
    write_result(folder, verdict)
    assert run_job(folder)
    assert read_result(folder) == verdict
    late = JobResult.model_validate_json((folder / LATE_RESULT_FILE).read_text())
    assert (late.code, late.message) == (FailureCode.WORKER_LOST, "the attempt was given up meanwhile")


def test_a_signal_before_the_work_begins_is_not_lost(tmp_path):
    watch = Watch(tmp_path)
    with watch.heeding_signals():
        os.kill(os.getpid(), signal.SIGUSR2)
        with pytest.raises(StoppedError, match="SIGUSR2"), watch.stopping_at_once():
            raise AssertionError
        os.kill(os.getpid(), signal.SIGTERM)  # and none breaks off what comes after


def test_a_swallowed_signal_stops_at_the_next_boundary(tmp_path):
    watch = Watch(tmp_path)
    with watch.heeding_signals():
        with suppress(StoppedError), watch.stopping_at_once():  # as Python does in destructors
            os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(StoppedError, match="SIGUSR1"):
            watch.boundary(1)


def test_a_killed_worker_leaves_what_it_cost(tmp_path, emt_recipe):
    folder = prepare(tmp_path, 1, rattled_slab(), "slab", emt_recipe)
    assert cpu_seconds_so_far(folder) == 0.0
    assert run_until_killed(folder, 7, before=False)
    heartbeat = read_heartbeat(folder)
    assert heartbeat is not None
    assert 0 < cpu_seconds_so_far(folder) == heartbeat.cpu_seconds < 10
    assert heartbeat.n_steps > 0
    (folder / HEARTBEAT_FILE).write_text("{")
    assert cpu_seconds_so_far(folder) == 0.0


# --- real GPAW, real processes


def start_worker(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "dft.worker", str(folder)], cwd=ROOT)


def steps_done(folder: Path) -> int:
    heartbeat = read_heartbeat(folder)
    return heartbeat.n_steps if heartbeat else -1


def break_off(folder: Path, number: int, after_step: int) -> None:
    worker = start_worker(folder)
    wait_for(lambda: steps_done(folder) >= after_step or worker.poll() is not None, "a step", 120)
    assert worker.poll() is None
    worker.send_signal(number)
    worker.wait(60)


@pytest.mark.gpaw
def test_gpaw_goes_on_from_density_and_geometry_to_the_same_energy(
    tmp_path, cheap_recipe, hydrogen_on_aluminium
):
    recipe = cheap_recipe.model_copy(update={"fmax_ev_per_a": 0.02, "dipole_correction": True})
    atoms = hydrogen_on_aluminium
    whole = finish(prepare(tmp_path / "whole", 1, atoms, "adslab", recipe))
    assert whole.n_steps >= 3
    first = prepare(tmp_path, 1, atoms, "adslab", recipe)
    break_off(first, signal.SIGKILL, after_step=1)
    assert read_result(first) is None
    assert cpu_seconds_so_far(first) > 0.1
    second = prepare(tmp_path, 2, atoms, "adslab", recipe, "attempt-1")
    break_off(second, signal.SIGUSR2, after_step=2)
    stopped = read_result(second)
    assert stopped is not None
    assert stopped.code is FailureCode.TIMEOUT
    assert stopped.details["restarted_from"] == "attempt-1"
    assert (second / DENSITY_FILE).exists()
    third = finish(prepare(tmp_path, 3, atoms, "adslab", recipe, "attempt-2"))
    assert third.energy == pytest.approx(whole.energy, abs=SAME_ENERGY_EV)
    assert abs(third.n_steps - whole.n_steps) <= 1
    assert third.details["steps_before"] >= 2
    assert list(tmp_path.glob(f"attempt-*/{DENSITY_FILE}")) == []  # of no more use


@pytest.mark.gpaw
@pytest.mark.slow
def test_a_magnetic_slab_stays_in_its_state(tmp_path, cheap_recipe):
    slab = fcc111("Ni", (1, 1, 2), a=3.4, vacuum=3.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0]))
    recipe = cheap_recipe.model_copy(update={"fmax_ev_per_a": 0.05})
    whole = finish(prepare(tmp_path / "whole", 1, slab, "slab", recipe))
    first = prepare(tmp_path, 1, slab, "slab", recipe)
    break_off(first, signal.SIGKILL, after_step=0)
    second = finish(prepare(tmp_path, 2, slab, "slab", recipe, "attempt-1"))
    assert second.energy == pytest.approx(whole.energy, abs=SAME_ENERGY_EV)
    assert second.magnetic_moment == pytest.approx(whole.magnetic_moment, abs=0.02)


@pytest.mark.gpaw
@pytest.mark.parametrize("damage", [b"", b"- of Ulm", None])
def test_without_a_usable_density_the_geometry_is_gone_on_with(tmp_path, cheap_recipe, damage):
    recipe = cheap_recipe.model_copy(update={"fmax_ev_per_a": 0.02, "max_steps": 1})
    atoms = gas_atoms("H2", 5.0)
    atoms.positions[1] += (0, 0, 0.1)
    first = prepare(tmp_path, 1, atoms, "gas", recipe)
    run_job(first)
    density = (first / DENSITY_FILE).read_bytes()
    (first / DENSITY_FILE).write_bytes(density[:2000] if damage is None else damage)
    more = recipe.model_copy(update={"max_steps": 20})
    second = finish(prepare(tmp_path, 2, atoms, "gas", more, "attempt-1"))
    assert second.details["steps_before"] == 2  # one, and one more in small steps
    assert second.n_steps > 1


@pytest.mark.gpaw
def test_ranks_go_on_where_a_serial_worker_was_killed(tmp_path, cheap_recipe, hydrogen_on_aluminium):
    recipe = cheap_recipe.model_copy(update={"fmax_ev_per_a": 0.02})
    atoms = hydrogen_on_aluminium
    first = prepare(tmp_path, 1, atoms, "adslab", recipe)
    break_off(first, signal.SIGKILL, after_step=1)
    assert len(restart.whole_frames(first, _shifted(atoms))) >= 2
    second = finish(prepare(tmp_path, 2, atoms, "adslab", recipe, "attempt-1", cores=2))
    assert second.details["restarted_from"] == "attempt-1"
    assert second.fmax is not None
    assert second.fmax < 0.02


def _shifted(atoms: Atoms) -> Atoms:
    from dft.calculator import symmetric_origin
    from dft.start import seated

    work = seated(atoms)
    work.positions += symmetric_origin(work)
    return work
