"""The runner of a bundle on real processes, without a scheduler around it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dft.execution.bundle import Bundle, list_file, read_state, state_file
from dft.jobs import read_result
from tests.dft.execution.kit import ROOT, Jobs, is_running, n_runs, wait_claimed
from tests.waiting import wait_for

PAYLOAD = "tests.dft.payloads"


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def test_a_state_that_cannot_be_written_ends_no_member(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    job_dirs = [jobs("quick"), jobs("quick")]
    members = list_file(tmp_path, "some")
    members.write_text("".join(f"{job_dir}\n" for job_dir in job_dirs))
    state_file(tmp_path, "some").mkdir()  # as good as a full disk, for root too
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    try:
        Bundle(members, 1, PAYLOAD).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert [n_runs(job_dir) for job_dir in job_dirs] == [1, 1]
    assert read_state(tmp_path, "some") == {}


def test_members_end_with_a_runner_that_is_killed(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    job_dir = jobs("obedient")
    members = list_file(tmp_path, "some")
    members.write_text(f"{job_dir}\n")
    command = [sys.executable, "-m", "dft.execution.bundle", str(members), "--width", "1"]
    with subprocess.Popen([*command, "--payload", PAYLOAD]) as runner:
        pid = wait_claimed(job_dir)
        wait_for(lambda: n_runs(job_dir), "the computation's start")
        runner.kill()
    wait_for(lambda: not is_running(pid), "the member's end")
    assert read_result(job_dir) is not None, "it was told, not killed"
