"""Stand-ins for the worker: jobs of known length that keep the rules of a job directory."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from dft.jobs import RUNS_FILE, JobResult, ResultState, read_job, take_claim, write_result


def quick(job_dir: Path) -> None:
    """Leave a result at once."""
    _run(job_dir, seconds=0.0)


def slow(job_dir: Path) -> None:
    """Leave a result after a second or two."""
    _run(job_dir, seconds=1.5)


def endless(job_dir: Path) -> None:
    """Never end by itself."""
    _run(job_dir, seconds=600.0)


def with_ranks(job_dir: Path) -> None:
    """Never end by itself, and neither does a child in a process group of its own, as MPI ranks are."""
    command = ["sleep", "600"]
    with subprocess.Popen(command, process_group=0) as child:
        (job_dir / "child").write_text(str(child.pid), encoding="utf-8")
        _run(job_dir, seconds=600.0)


def _run(job_dir: Path, seconds: float) -> None:
    if not take_claim(job_dir, {"role": "worker", "pid": os.getpid(), "host": os.uname().nodename}):
        return
    with (job_dir / RUNS_FILE).open("a", encoding="utf-8") as runs:
        runs.write(json.dumps({"pid": os.getpid()}) + "\n")
    time.sleep(seconds)
    spec = read_job(job_dir)
    write_result(
        job_dir,
        JobResult(
            calculation_id=spec.calculation_id,
            kind=spec.kind,
            attempt=spec.attempt,
            state=ResultState.DONE,
            energy=-1.0,
            details={"omp_num_threads": os.environ.get("OMP_NUM_THREADS")},
            finished_at=datetime.now(UTC).isoformat(),
        ),
    )
