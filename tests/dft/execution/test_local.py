"""What only the local back-end can show."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from ase.build import bulk

from config.errors import ExecutionError
from config.execution import LocalExecution
from config.loader import load_recipe
from dft.execution import JobPhase
from dft.execution.local import JOB_DIR_VARIABLE, LocalBackend
from dft.execution.processes import environment, sessions
from dft.jobs import AtomsRecord, CalculationKind, JobSpec, read_result, write_job
from tests.dft.execution.kit import (
    Jobs,
    is_running,
    phases,
    request,
    wait_child,
    wait_claimed,
    wait_gone,
)
from tests.dft.payloads import MODULE
from tests.waiting import wait_for


def local(timeout_minutes: float = 10.0, **more: object) -> LocalBackend:
    return LocalBackend(LocalExecution(timeout_minutes=timeout_minutes), payload=MODULE, **more)  # type: ignore[arg-type]


def submit(backend: LocalBackend, job_dir: Path) -> str:
    return backend.submit([request(job_dir)])[0]


def test_a_reused_pid_is_not_the_job(jobs: Jobs) -> None:
    backend = local()
    job_id = submit(backend, jobs("endless"))
    session, start, host = job_id.split("@")
    boot, ticks = start.split(".")
    later = f"{session}@{boot}.{int(ticks) + 1}@{host}"
    before_reboot = f"{session}@00000000.{ticks}@{host}"
    assert phases(backend.poll([later, before_reboot, job_id])) == {
        later: JobPhase.GONE,
        before_reboot: JobPhase.GONE,
        job_id: JobPhase.RUNNING,
    }
    backend.cancel([later])
    assert phases(backend.poll([job_id])) == {job_id: JobPhase.RUNNING}


def test_a_job_of_another_container_on_this_machine_is_out_of_sight(jobs: Jobs) -> None:
    session, start, _host = submit(local(), jobs("quick")).split("@")
    boot, _namespace, ticks = start.replace("-", ".").split(".")
    elsewhere = f"{session}@{boot}-77.{ticks}@other-container"
    assert local().poll([elsewhere]) == {}


def test_a_job_of_another_machine_is_out_of_sight_until_that_machine_is_given_up(jobs: Jobs) -> None:
    elsewhere = "12@00000000.345@login1"
    here = submit(local(), jobs("endless"))
    assert phases(local().poll([elsewhere, here])) == {here: JobPhase.RUNNING}
    given_up = local(lost_hosts=["login1"])
    assert phases(given_up.poll([elsewhere])) == {elsewhere: JobPhase.GONE}
    given_up.cancel([elsewhere])
    with pytest.raises(ExecutionError, match="cannot be ended from"):
        local().cancel([elsewhere])


def test_a_job_near_its_time_limit_is_told_and_leaves_its_result(jobs: Jobs) -> None:
    backend, job_dir = local(timeout_minutes=4 / 60), jobs("obedient")
    wait_gone(backend, submit(backend, job_dir))
    result = read_result(job_dir)
    assert result is not None
    assert result.code == "TIMEOUT"


def test_a_job_past_its_time_limit_ends_with_all_its_processes(jobs: Jobs) -> None:
    backend, job_dir = local(timeout_minutes=4 / 60), jobs("with_ranks")
    job_id = submit(backend, job_dir)
    child = wait_child(job_dir)
    wait_gone(backend, job_id)
    assert not is_running(child)


def test_a_worker_whose_leader_was_killed_still_runs_and_can_be_cancelled(jobs: Jobs) -> None:
    backend, job_dir = local(), jobs("with_ranks")
    job_id = submit(backend, job_dir)
    worker = wait_claimed(job_dir)
    leader = int(job_id.split("@")[0])
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: not is_running(leader), "death of the leader")
    assert phases(backend.poll([job_id])) == {job_id: JobPhase.RUNNING}
    found = backend.find(job_dir)
    assert found is not None
    assert phases(backend.poll([found])) == {found: JobPhase.RUNNING}
    backend.cancel([found])
    assert not is_running(worker)
    assert set(phases(backend.poll([job_id, found])).values()) == {JobPhase.GONE}


def test_a_terminated_leader_lets_the_worker_leave_its_result(jobs: Jobs) -> None:
    backend, job_dir = local(), jobs("obedient")
    job_id = submit(backend, job_dir)
    wait_for((job_dir / "listening").exists, "the worker")
    os.kill(int(job_id.split("@")[0]), signal.SIGTERM)
    wait_gone(backend, job_id)
    result = read_result(job_dir)
    assert result is not None
    assert result.code == "WORKER_LOST"


def test_cancel_returns_when_nothing_is_left(jobs: Jobs) -> None:
    backend, job_dirs = local(), [jobs("with_ranks") for _ in range(3)]
    job_ids = [submit(backend, job_dir) for job_dir in job_dirs]
    children = [wait_child(job_dir) for job_dir in job_dirs]
    backend.cancel(job_ids)
    assert set(phases(backend.poll(job_ids)).values()) == {JobPhase.GONE}
    assert not any(is_running(child) for child in children)


def test_a_dead_child_of_the_driver_leaves_no_zombie(jobs: Jobs) -> None:
    backend = local()
    job_id = submit(backend, jobs("quick"))
    wait_gone(backend, job_id)
    wait_for(lambda: not sessions({int(job_id.split("@")[0])}) or backend.poll([]), "reaping")


def test_a_job_runs_in_its_own_directory_and_knows_it(jobs: Jobs) -> None:
    backend, job_dir = local(), jobs("endless")
    submit(backend, job_dir)
    worker = wait_claimed(job_dir)
    assert Path(f"/proc/{worker}/cwd").resolve() == job_dir
    assert environment(worker)[JOB_DIR_VARIABLE] == str(job_dir)
    claim = json.loads((job_dir / "claim").read_text(encoding="utf-8"))
    assert claim["role"] == "worker"


def test_a_missing_interpreter_is_an_execution_error(jobs: Jobs) -> None:
    with pytest.raises(ExecutionError, match="cannot start a job"):
        submit(local(python="/nowhere/python"), jobs())


def test_the_worker_is_what_runs_unless_told_otherwise(tmp_path: Path) -> None:
    job_dir = tmp_path / "attempt-1"
    spec = JobSpec(
        calculation_id="cu",
        kind=CalculationKind.BULK,
        attempt=1,
        label="Cu",
        recipe=load_recipe("emt"),
        atoms=AtomsRecord.from_atoms(bulk("Cu", a=3.6)),
    )
    write_job(job_dir, spec)
    backend = LocalBackend(LocalExecution())
    wait_gone(backend, submit(backend, job_dir))
    result = read_result(job_dir)
    assert result is not None
    assert result.code is None
    # EMT was fitted to give Cu this lattice constant: Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394.
    assert result.details["linear_scale"] * 3.6 == pytest.approx(3.59, abs=0.02)
