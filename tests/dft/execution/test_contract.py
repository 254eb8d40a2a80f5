"""What every back-end promises, tried with real processes and a real Slurm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ExecutionError
from dft.execution import JobPhase
from dft.jobs import read_claim, read_result, take_claim
from tests.dft.execution.kit import (
    ROOT,
    Place,
    is_running,
    n_runs,
    phases,
    request,
    wait_child,
    wait_claimed,
    wait_gone,
    wait_phase,
)
from tests.waiting import PATIENCE_S, wait_for


def test_a_job_leaves_its_result_and_is_gone(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("quick")
    wait_gone(backend, place.submit(job_dir, backend))
    result = read_result(job_dir)
    assert result is not None
    assert result.energy == -1.0
    assert result.details["omp_num_threads"] == "1"
    assert backend.find(job_dir) is None


def test_a_worker_knows_its_own_id_and_the_time_of_its_end(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("quick")
    job_id = place.submit(job_dir, backend)
    wait_gone(backend, job_id)
    result, claim = read_result(job_dir), read_claim(job_dir)
    assert result is not None
    assert claim is not None
    assert claim["job_id"] == job_id
    assert result.details["job_id"] == job_id
    left = float(result.details["job_end"]) - time.time()
    assert 200.0 < left <= 24 * 3600.0 + 1.0  # whole seconds


def test_no_job_sees_the_credentials_of_the_database(
    unpacked: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SABATIER_MONGODB_URI", "mongodb://me:opensesame@db/")
    monkeypatch.setenv("SABATIER_MONGODB_PASSWORD", "opensesame")
    job_dir = unpacked.jobs("slow")
    job_id = unpacked.submit(job_dir)
    worker = wait_claimed(job_dir)
    assert b"opensesame" not in Path(f"/proc/{worker}/environ").read_bytes()
    wait_gone(unpacked.backend(), job_id)
    result = read_result(job_dir)
    assert result is not None
    assert result.details["secrets"] == []
    for path in job_dir.iterdir():
        assert b"opensesame" not in path.read_bytes(), path


def test_many_jobs_are_polled_in_one_call(place: Place) -> None:
    backend, job_dirs = place.backend(), [place.jobs("quick") for _ in range(6)]
    size = min(3, backend.group_size(request(job_dirs[0]).kind))
    groups = [job_dirs[i : i + size] for i in range(0, len(job_dirs), size)]
    job_ids = [i for group in groups for i in backend.submit([request(job_dir) for job_dir in group])]
    assert len(set(job_ids)) == len(job_dirs)
    assert set(backend.poll(job_ids)) == set(job_ids)
    wait_gone(backend, *job_ids)
    for job_dir, job_id in zip(job_dirs, job_ids, strict=True):
        result = read_result(job_dir)
        assert result is not None
        assert result.details["job_id"] == job_id
    assert backend.poll([]) == {}


def test_a_new_driver_sees_and_finds_the_jobs_of_another(place: Place) -> None:
    job_dir = place.jobs("endless")
    job_id = place.submit(job_dir)
    successor = place.backend()
    wait_claimed(job_dir)
    status = successor.poll([job_id])[job_id]
    assert status.phase is JobPhase.RUNNING
    assert status.elapsed_seconds is not None
    assert 0.0 <= status.elapsed_seconds < PATIENCE_S
    assert successor.find(job_dir) == job_id


def test_a_directory_without_a_job_finds_none(unpacked: Place) -> None:
    job_dir, other = unpacked.jobs("quick"), unpacked.jobs("quick")
    unpacked.submit(other)
    assert unpacked.backend().find(job_dir) is None
    assert unpacked.backend().find(job_dir.with_name("nowhere")) is None


def test_a_directory_submitted_twice_computes_once(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("slow")
    job_ids = [place.submit(job_dir, backend), place.submit(job_dir, backend)]
    wait_gone(backend, *job_ids)
    assert n_runs(job_dir) == 1
    assert read_result(job_dir)


def test_a_directory_whose_claim_is_taken_never_computes(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("quick")
    assert take_claim(job_dir, {"role": "driver"})
    wait_gone(backend, place.submit(job_dir, backend))
    assert n_runs(job_dir) == 0
    assert read_result(job_dir) is None


def test_a_killed_worker_is_gone_without_a_result(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("endless")
    job_id = place.submit(job_dir, backend)
    os.kill(wait_claimed(job_dir), signal.SIGKILL)
    wait_gone(backend, job_id)
    assert read_result(job_dir) is None


def test_cancel_ends_every_process_of_a_job(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("with_ranks")
    job_id = place.submit(job_dir, backend)
    worker, child = wait_claimed(job_dir), wait_child(job_dir)
    backend.cancel([job_id])
    wait_gone(backend, job_id)
    assert not is_running(worker)
    assert not is_running(child)
    backend.cancel([job_id])


def test_a_cancelled_worker_may_leave_its_result(place: Place) -> None:
    backend, job_dir = place.backend(), place.jobs("obedient")
    job_id = place.submit(job_dir, backend)
    wait_for((job_dir / "listening").exists, "the worker")
    backend.cancel([job_id])
    wait_gone(backend, job_id)
    result = read_result(job_dir)
    assert result is not None
    assert result.code == "WORKER_LOST"


def test_a_directory_without_job_json_is_refused(unpacked: Place, tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"job\.json"):
        unpacked.backend().submit([request(tmp_path)])


@pytest.mark.parametrize("nonsense", ["", "a@b@c", "1@2@3", "17_", "3 4", "--help"])
def test_an_id_of_another_backend_is_refused(unpacked: Place, nonsense: str) -> None:
    with pytest.raises(ExecutionError, match="is no id of"):
        unpacked.backend().poll([nonsense])


# A driver that dies -------------------------------------------------------------------------------------

DRIVER = """
    import json, signal, sys, time
    from pathlib import Path
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have left it ignored
    from tests.dft.execution.conftest import LocalBackend, LocalExecution, on_slurm
    from tests.dft.execution.kit import request
    from tests.dft.payloads import MODULE

    name, job_dir = sys.argv[1:]
    backend = LocalBackend(LocalExecution(), payload=MODULE) if name == "local" else on_slurm(pack=name)
    print(json.dumps(backend.submit([request(Path(job_dir))])), flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def driver(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A driver in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_jobs_outlive_whatever_kills_the_drivers_process_group(
    unpacked: Place, number: signal.Signals
) -> None:
    job_dir = unpacked.jobs("slow")
    with driver(unpacked.name, job_dir) as process:
        assert process.stdout is not None
        job_ids = json.loads(process.stdout.readline())
        os.killpg(process.pid, number)
        process.communicate(timeout=1.0)  # nothing of the job holds the driver's pipe open
    wait_gone(unpacked.backend(), *job_ids)
    assert read_result(job_dir)
    assert n_runs(job_dir) == 1


def test_a_job_whose_id_was_lost_is_found_and_leaves_its_result(place: Place) -> None:
    job_dir = place.jobs("slow")
    place.submit(job_dir)  # the driver dies before it can write the id down
    backend = place.backend()
    job_id = backend.find(job_dir)
    assert job_id is not None
    wait_gone(backend, job_id)
    assert read_result(job_dir)
    assert n_runs(job_dir) == 1


def test_phases_only_go_forward(unpacked: Place) -> None:
    backend, job_dir = unpacked.backend(), unpacked.jobs("slow")
    job_id = unpacked.submit(job_dir, backend)
    seen: list[JobPhase] = []
    while JobPhase.GONE not in seen:
        seen.append(phases(backend.poll([job_id]))[job_id])
    order = [JobPhase.PENDING, JobPhase.RUNNING, JobPhase.GONE]
    assert seen == sorted(seen, key=order.index)
    wait_phase(backend, [job_id], JobPhase.GONE)
