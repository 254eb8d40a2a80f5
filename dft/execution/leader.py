"""Leads the session that is a local job: starts the worker, watches its time, leaves nothing behind.

Run by the local back-end as ``python -m dft.execution.leader SECONDS MODULE DIR``, in a session of its
own; every process of the job is in it. SIGTERM goes on to the worker, which then leaves its result.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

from dft.execution.base import JOB_END_VARIABLE, JOB_ID_VARIABLE
from dft.execution.local import job_id_of
from dft.execution.processes import end_all, living, read_process

LONGEST_WARNING_S = 60.0


def lead(limit_s: float, module: str, job_dir: str) -> None:
    """Run a worker for at most ``limit_s`` seconds; SIGUSR2 tells it when a tenth is left, or a minute."""
    me = read_process(os.getpid())
    assert me is not None
    os.environ[JOB_ID_VARIABLE] = job_id_of(me)
    os.environ[JOB_END_VARIABLE] = f"{time.time() + limit_s:.0f}"
    with subprocess.Popen([sys.executable, "-m", module, job_dir]) as worker:

        def forward(number: int, _frame: FrameType | None) -> None:
            worker.send_signal(number)

        signal.signal(signal.SIGTERM, forward)
        try:
            _watch(worker, limit_s)
        finally:
            end_all(lambda: living(me.session, besides=me.pid), grace_s=0.0, limit_s=float("inf"))


def _watch(worker: subprocess.Popen[bytes], limit_s: float) -> None:
    """Return when the worker ended or its time is up."""
    warning_s = min(LONGEST_WARNING_S, 0.1 * limit_s)
    try:
        worker.wait(limit_s - warning_s)
    except subprocess.TimeoutExpired:
        worker.send_signal(signal.SIGUSR2)
        try:
            worker.wait(warning_s)
        except subprocess.TimeoutExpired:
            print("the job's time is up", file=sys.stderr)


if __name__ == "__main__":
    lead(float(sys.argv[1]), sys.argv[2], sys.argv[3])
