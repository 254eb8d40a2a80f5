"""A full disk delays what a worker has to say; it does not lose it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from dft.execution.base import JOB_END_VARIABLE
from dft.jobs import JobResult, JobSpec, ResultState
from dft.references import gas_atoms
from dft.worker import run_job
from tests.dft.test_restart import finish, prepare, rattled_slab


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 kB (root only)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a file system but for some bytes."""
    statistics = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(statistics.f_bavail * statistics.f_bsize - leave))
    return filler


@pytest.mark.parametrize("leave", [8192, 12288, 16384, 24576])
def test_a_full_disk_delays_the_result_but_does_not_lose_it(small_disk, emt_recipe, capfd, leave):
    folder = prepare(small_disk, 1, rattled_slab(), "slab", emt_recipe)
    filler = fill(small_disk, leave)
    timer = threading.Timer(2.0, filler.unlink)
    timer.start()
    result = finish(folder)
    timer.join()
    assert "cannot write" in capfd.readouterr().out
    assert result.wall_seconds > 1 or leave > 12288
    assert not list(folder.glob(".*"))


def test_a_result_that_cannot_be_written_to_the_end_is_printed(small_disk, emt_recipe, monkeypatch, capfd):
    folder = prepare(small_disk, 1, gas_atoms("H2", 6.0), "gas", emt_recipe)
    monkeypatch.setenv(JOB_END_VARIABLE, str(time.time() + 4))
    monkeypatch.setattr("dft.worker.compute", lambda spec, folder, _watch: _energy(spec, small_disk))
    with pytest.raises(OSError, match="No space left"):
        run_job(folder)
    assert '"energy":-1.25' in capfd.readouterr().out


def _energy(spec: JobSpec, disk: Path) -> JobResult:
    fill(disk, 0)
    return JobResult(
        calculation_id=spec.calculation_id, kind=spec.kind, attempt=1, state=ResultState.DONE, energy=-1.25
    )
