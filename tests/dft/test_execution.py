"""What every back-end promises, tried with real processes, and what only the local one can show."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from config.errors import ExecutionError
from config.loader import load_recipe
from config.recipe import RecipeSettings
from dft.execution import Backend, JobPhase
from dft.execution import local as local_backend
from dft.execution.local import JOB_DIR_VARIABLE, LocalBackend
from dft.jobs import RUNS_FILE, AtomsRecord, CalculationKind, JobSpec, read_claim, read_result, write_job
from tests.dft import payloads

Payload = Callable[[Path], None]
MakeBackend = Callable[[Payload], Backend]
ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


@pytest.fixture(params=["local"])
def make_backend(request: pytest.FixtureRequest) -> MakeBackend:
    """A back-end that runs a payload in place of the worker; each call is a driver started anew."""
    return {"local": lambda payload: LocalBackend(payload=payload)}[request.param]


@pytest.fixture
def new_job(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Make job directories; whatever still runs in them at the end is killed."""
    made: list[Path] = []

    def make() -> Path:
        job_dir = tmp_path / f"job-{len(made)}" / "attempt-1"
        spec = JobSpec(
            calculation_id=f"c{len(made)}",
            kind=CalculationKind.GAS,
            attempt=1,
            label="H2",
            recipe=RecipeSettings(engine="emt"),
            atoms=AtomsRecord.from_atoms(molecule("H2", vacuum=3.0)),
        )
        write_job(job_dir, spec)
        made.append(job_dir)
        return job_dir

    yield make
    backend = LocalBackend(payload=payloads.quick)
    for job_dir in made:
        while job_id := backend.find(job_dir):
            backend.cancel(job_id)


def submit(backend: Backend, job_dir: Path, timeout_minutes: float = 10.0) -> str:
    return backend.submit(job_dir, cores=1, timeout_minutes=timeout_minutes, name="H2 test")


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


def wait_gone(backend: Backend, *job_ids: str) -> None:
    wait_until(lambda: set(backend.poll(job_ids).values()) == {JobPhase.GONE}, "GONE")


def wait_claimed(job_dir: Path) -> int:
    wait_until(lambda: read_claim(job_dir), "the claim")
    claim = read_claim(job_dir)
    assert claim is not None
    return int(claim["pid"])


def n_runs(job_dir: Path) -> int:
    path = job_dir / RUNS_FILE
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def is_running(pid: int) -> bool:
    process = local_backend._read_process(pid)
    return process is not None and process.is_alive


# What every back-end promises -----------------------------------------------------------------------


def test_a_job_leaves_its_result_and_is_gone(make_backend: MakeBackend, new_job: Callable[[], Path]) -> None:
    backend, job_dir = make_backend(payloads.quick), new_job()
    job_id = submit(backend, job_dir)
    wait_gone(backend, job_id)
    result = read_result(job_dir)
    assert result is not None
    assert result.energy == -1.0
    assert result.details["omp_num_threads"] == "1"


def test_many_jobs_are_polled_in_one_call(make_backend: MakeBackend, new_job: Callable[[], Path]) -> None:
    backend, job_dirs = make_backend(payloads.slow), [new_job() for _ in range(10)]
    job_ids = [submit(backend, job_dir) for job_dir in job_dirs]
    assert len(set(job_ids)) == 10
    assert set(backend.poll(job_ids)) == set(job_ids)
    wait_gone(backend, *job_ids)
    assert all(read_result(job_dir) for job_dir in job_dirs)
    assert backend.poll([]) == {}


def test_a_new_driver_sees_and_finds_the_jobs_of_another(
    make_backend: MakeBackend, new_job: Callable[[], Path]
) -> None:
    job_dir = new_job()
    job_id = submit(make_backend(payloads.endless), job_dir)
    successor = make_backend(payloads.endless)
    assert successor.poll([job_id]) == {job_id: JobPhase.RUNNING}
    assert successor.find(job_dir) == job_id


def test_a_directory_without_a_job_finds_none(make_backend: MakeBackend, new_job: Callable[[], Path]) -> None:
    backend, job_dir, other = make_backend(payloads.quick), new_job(), new_job()
    submit(backend, other)
    assert backend.find(job_dir) is None


def test_a_job_that_ended_is_found_no_more(make_backend: MakeBackend, new_job: Callable[[], Path]) -> None:
    backend, job_dir = make_backend(payloads.quick), new_job()
    wait_gone(backend, submit(backend, job_dir))
    assert backend.find(job_dir) is None


def test_a_directory_submitted_twice_computes_once(
    make_backend: MakeBackend, new_job: Callable[[], Path]
) -> None:
    backend, job_dir = make_backend(payloads.slow), new_job()
    job_ids = [submit(backend, job_dir), submit(backend, job_dir)]
    wait_gone(backend, *job_ids)
    assert n_runs(job_dir) == 1
    assert read_result(job_dir)


def test_a_killed_worker_is_gone_without_a_result(
    make_backend: MakeBackend, new_job: Callable[[], Path]
) -> None:
    backend, job_dir = make_backend(payloads.endless), new_job()
    job_id = submit(backend, job_dir)
    os.kill(wait_claimed(job_dir), signal.SIGKILL)
    wait_gone(backend, job_id)
    assert read_result(job_dir) is None


def test_cancel_ends_every_process_of_a_job(make_backend: MakeBackend, new_job: Callable[[], Path]) -> None:
    backend, job_dir = make_backend(payloads.with_ranks), new_job()
    job_id = submit(backend, job_dir)
    worker = wait_claimed(job_dir)
    child = int((job_dir / "child").read_text(encoding="utf-8"))
    backend.cancel(job_id)
    assert backend.poll([job_id]) == {job_id: JobPhase.GONE}
    assert not is_running(worker)
    assert not is_running(child)
    backend.cancel(job_id)


def test_a_job_past_its_time_limit_ends_with_all_its_processes(
    make_backend: MakeBackend, new_job: Callable[[], Path]
) -> None:
    backend, job_dir = make_backend(payloads.with_ranks), new_job()
    job_id = submit(backend, job_dir, timeout_minutes=4 / 60)
    wait_claimed(job_dir)
    child = int((job_dir / "child").read_text(encoding="utf-8"))
    wait_gone(backend, job_id)
    assert not is_running(child)
    assert n_runs(job_dir) == 1


def test_a_directory_without_job_json_is_refused(make_backend: MakeBackend, tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"job\.json"):
        submit(make_backend(payloads.quick), tmp_path)


# A driver that dies -------------------------------------------------------------------------------------

DRIVER = """
    import sys, time
    from pathlib import Path
    from dft.execution.local import LocalBackend
    from tests.dft import payloads

    backend = LocalBackend(payload=payloads.slow)
    for job_dir in sys.argv[1:]:
        print(backend.submit(Path(job_dir), cores=1, timeout_minutes=10.0, name="H2"), flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def driver(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A driver in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_jobs_outlive_whatever_kills_the_drivers_process_group(
    number: signal.Signals, new_job: Callable[[], Path]
) -> None:
    job_dirs = [new_job(), new_job()]
    with driver(DRIVER, *job_dirs) as process:
        job_ids = [read_line(process) for _ in job_dirs]
        os.killpg(process.pid, number)
        process.wait(PATIENCE_S)
    backend = LocalBackend(payload=payloads.slow)
    assert [backend.find(job_dir) for job_dir in job_dirs] == job_ids
    wait_gone(backend, *job_ids)
    assert all(read_result(job_dir) for job_dir in job_dirs)
    assert [n_runs(job_dir) for job_dir in job_dirs] == [1, 1]


def test_a_driver_behind_a_pipe_closes_it_when_it_ends(new_job: Callable[[], Path]) -> None:
    with driver(DRIVER, new_job()) as process:
        read_line(process)
        process.kill()
        started = time.monotonic()
        process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - started < 1.0


KILLED_WITHIN_SUBMIT = """
    import os, signal, sys
    from pathlib import Path
    from dft.execution import local
    from tests.dft import payloads

    def die(process):
        os.kill(os.getpid(), signal.SIGKILL)

    local._job_id = die  # called between the start of the process and the rename of its pickle
    backend = local.LocalBackend(payload=payloads.slow)
    backend.submit(Path(sys.argv[1]), cores=1, timeout_minutes=10.0, name="H2")
"""


def test_a_submission_cut_short_is_found_and_completed(new_job: Callable[[], Path]) -> None:
    job_dir = new_job()
    with driver(KILLED_WITHIN_SUBMIT, job_dir) as process:
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    backend = LocalBackend(payload=payloads.slow)
    job_id = backend.find(job_dir)
    assert job_id is not None
    wait_gone(backend, job_id)
    assert read_result(job_dir)
    assert n_runs(job_dir) == 1


# What only the local back-end can show --------------------------------------------------------------------


def test_a_reused_pid_is_not_the_job(new_job: Callable[[], Path]) -> None:
    backend = LocalBackend(payload=payloads.endless)
    job_id = submit(backend, new_job())
    session, start, host = job_id.split("@")
    boot, ticks = start.split(".")
    later = f"{session}@{boot}.{int(ticks) + 1}@{host}"
    before_reboot = f"{session}@00000000.{ticks}@{host}"
    assert backend.poll([later, before_reboot, job_id]) == {
        later: JobPhase.GONE,
        before_reboot: JobPhase.GONE,
        job_id: JobPhase.RUNNING,
    }
    backend.cancel(later)
    assert backend.poll([job_id]) == {job_id: JobPhase.RUNNING}


def test_a_job_of_another_machine_is_not_called_gone() -> None:
    with pytest.raises(ExecutionError, match="resume the campaign on 'login1'"):
        LocalBackend(payload=payloads.quick).poll(["12@00000000.345@login1"])


@pytest.mark.parametrize("nonsense", ["", "17", "a@b@c", "1@2@3"])
def test_an_id_of_another_backend_is_refused(nonsense: str) -> None:
    with pytest.raises(ExecutionError, match="no id of a local job"):
        LocalBackend(payload=payloads.quick).poll([nonsense])


def test_a_worker_whose_controller_was_killed_still_runs_and_can_be_cancelled(
    new_job: Callable[[], Path],
) -> None:
    backend, job_dir = LocalBackend(payload=payloads.with_ranks), new_job()
    job_id = submit(backend, job_dir)
    worker = wait_claimed(job_dir)
    controller = int(job_id.split("@")[0])
    os.kill(controller, signal.SIGKILL)
    wait_until(lambda: not is_running(controller), "death of the controller")
    assert backend.poll([job_id]) == {job_id: JobPhase.RUNNING}
    found = backend.find(job_dir)
    assert found is not None
    assert backend.poll([found]) == {found: JobPhase.RUNNING}
    backend.cancel(found)
    assert not is_running(worker)
    assert backend.poll([job_id, found]) == {job_id: JobPhase.GONE, found: JobPhase.GONE}


def test_a_dead_child_of_the_driver_leaves_no_zombie(new_job: Callable[[], Path]) -> None:
    backend = LocalBackend(payload=payloads.quick)
    job_id = submit(backend, new_job())
    wait_gone(backend, job_id)
    wait_until(
        lambda: not local_backend._sessions({int(job_id.split("@")[0])}) or backend.poll([]), "reaping"
    )


def test_a_job_runs_in_its_own_directory_and_knows_it(new_job: Callable[[], Path]) -> None:
    backend, job_dir = LocalBackend(payload=payloads.endless), new_job()
    submit(backend, job_dir)
    worker = wait_claimed(job_dir)
    assert Path(f"/proc/{worker}/cwd").resolve() == job_dir
    assert local_backend._environment(worker)[JOB_DIR_VARIABLE] == str(job_dir)
    claim = json.loads((job_dir / "claim").read_text(encoding="utf-8"))
    assert claim["role"] == "worker"


def test_a_missing_interpreter_is_an_execution_error(new_job: Callable[[], Path]) -> None:
    with pytest.raises(ExecutionError, match="cannot start a job"):
        submit(LocalBackend(python="/nowhere/python", payload=payloads.quick), new_job())


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
    backend = LocalBackend()
    wait_gone(backend, submit(backend, job_dir))
    result = read_result(job_dir)
    assert result is not None
    assert result.code is None
    # EMT was fitted to give Cu this lattice constant: Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394.
    assert result.details["linear_scale"] * 3.6 == pytest.approx(3.59, abs=0.02)
