"""Stand-ins for the worker: jobs of known length that keep the rules of a job directory.

Run as ``python -m tests.dft.payloads DIR`` in place of ``dft.worker``; the label in ``job.json`` says what
to do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from dft.codes import FailureCode
from dft.execution.base import JOB_END_VARIABLE, JOB_ID_VARIABLE
from dft.jobs import RUNS_FILE, JobResult, ResultState, read_job, take_claim, write_result

MODULE = "tests.dft.payloads"
FOREVER_S = 600.0


class Stopped(BaseException):
    """A signal asks to stop."""


def quick(job_dir: Path) -> None:
    """Leave a result at once."""


def slow(job_dir: Path) -> None:
    """Leave a result after a second or two."""
    time.sleep(1.5)


def endless(job_dir: Path) -> None:
    """Never end by itself."""
    time.sleep(FOREVER_S)


def with_ranks(job_dir: Path) -> None:
    """Never end by itself, and neither does a child in a process group of its own, as MPI ranks are."""
    with subprocess.Popen(["sleep", str(FOREVER_S)], process_group=0) as child:
        (job_dir / "child.tmp").write_text(str(child.pid), encoding="utf-8")
        (job_dir / "child.tmp").rename(job_dir / "child")
        time.sleep(FOREVER_S)


def obedient(job_dir: Path) -> None:
    """Never end by itself, but leave a failed result when a signal says so, as the worker does."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(each, signal.SIG_IGN)  # a second one must not break off the writing of the result
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, stop)
    (job_dir / "listening").touch()
    time.sleep(FOREVER_S)


def greedy(job_dir: Path) -> None:
    """Touch ever more memory."""
    hoard = []
    while True:
        hoard.append(bytearray(b"x") * 50_000_000)
        time.sleep(0.1)


BEHAVIOURS: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (quick, slow, endless, with_ranks, obedient, greedy)
}


def run(job_dir: Path) -> None:
    job_id = os.environ.get(JOB_ID_VARIABLE)
    identity = {"role": "worker", "pid": os.getpid(), "host": os.uname().nodename, "job_id": job_id}
    spec = read_job(job_dir)
    if not take_claim(job_dir, identity):
        return
    with (job_dir / RUNS_FILE).open("a", encoding="utf-8") as runs:
        runs.write(json.dumps({"pid": os.getpid(), "job_id": job_id}) + "\n")
    stopped_by = ""
    try:
        BEHAVIOURS[spec.label](job_dir)
    except Stopped as stop:
        stopped_by = str(stop)
    codes = {"": None, "SIGTERM": FailureCode.WORKER_LOST, "SIGUSR2": FailureCode.TIMEOUT}
    result = JobResult(
        calculation_id=spec.calculation_id,
        kind=spec.kind,
        attempt=spec.attempt,
        state=ResultState.FAILED if stopped_by else ResultState.DONE,
        code=codes[stopped_by],
        energy=None if stopped_by else -1.0,
        details={
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "job_id": job_id,
            "job_end": os.environ.get(JOB_END_VARIABLE),
            "secrets": [name for name in os.environ if name.startswith("SABATIER_MONGODB")],
        },
        finished_at=datetime.now(UTC).isoformat(),
    )
    write_result(job_dir, result)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
