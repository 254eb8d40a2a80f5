"""Reading and deciding single attempts: what a job directory says, and giving up on one that is silent.

Whoever holds ``claim`` decides an attempt: a worker by leaving ``result.json``, or a driver by taking
the claim before a worker does, after which that attempt can never run.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from dft.codes import RETRYABLE, FailureCode
from dft.jobs import (
    JOB_FILE,
    RESULT_FILE,
    RUNS_FILE,
    JobResult,
    ResultState,
    read_claim,
    read_result,
    take_claim,
    write_result,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.domain import Calculation


def outcome(job_dir: Path, calculation: Calculation) -> JobResult | None:
    """Read what came of an attempt; None while it has not ended.

    A result that is unreadable, another calculation's, or without an energy is a failed one.
    """
    try:
        result = read_result(job_dir)
    except ValueError as error:
        return void(calculation, FailureCode.INVALID_RESULT, f"unreadable {RESULT_FILE}: {error}")
    if result is None or result.state is ResultState.FAILED:
        return result
    if result.calculation_id != calculation.id:
        return void(calculation, FailureCode.INVALID_RESULT, f"result of {result.calculation_id}")
    if result.energy is None or not math.isfinite(result.energy) or result.atoms is None:
        return void(calculation, FailureCode.INVALID_RESULT, f"{RESULT_FILE} holds no energy or no structure")
    return result


def void(calculation: Calculation, code: FailureCode, message: str) -> JobResult:
    """Make the result of an attempt that left none."""
    return JobResult(
        calculation_id=calculation.id,
        kind=calculation.kind,
        attempt=calculation.attempt,
        state=ResultState.FAILED,
        code=code,
        message=message,
        hostname=os.uname().nodename,
    )


def revoke(job_dir: Path, calculation: Calculation, message: str) -> bool:
    """Take an attempt's claim before a worker does, and close it; False if a worker was faster."""
    if not take_claim(job_dir, _driver()):
        return False
    _close(job_dir, void(calculation, FailureCode.WORKER_LOST, message))
    return True


def declare_lost(job_dir: Path, calculation: Calculation) -> JobResult:
    """Close an attempt whose process is gone and left nothing."""
    if not job_dir.exists():
        return void(calculation, FailureCode.WORKER_LOST, f"the job directory {job_dir} has vanished")
    take_claim(job_dir, _driver())
    lost = void(calculation, FailureCode.WORKER_LOST, "the worker vanished without a result")
    _close(job_dir, lost)
    return lost


def _close(job_dir: Path, result: JobResult) -> None:
    if not (job_dir / RESULT_FILE).exists():
        write_result(job_dir, result)


def _driver() -> dict[str, Any]:
    return {"role": "driver", "pid": os.getpid(), "host": os.uname().nodename}


def is_whole(job_dir: Path) -> bool:
    """Tell whether an attempt that the store does not know may still count.

    A store that was lost or restored from an old copy has forgotten attempts; what they found out, good
    or bad, has not been lost with it.
    """
    if not (job_dir / JOB_FILE).exists():
        return False
    try:
        result = read_result(job_dir)
    except ValueError:
        return False
    return result is None or result.code not in RETRYABLE


def n_computed(folder: Path) -> int:
    """Count the attempts in a calculation's folder that began to compute."""
    return sum(1 for _ in folder.glob(f"attempt-*/{RUNS_FILE}"))


def living_claimant(job_dir: Path) -> str | None:
    """Say where the worker is that holds an attempt's claim; None if it is known to be dead.

    Only a worker of this machine can be known to be dead.
    """
    import psutil

    claim = read_claim(job_dir)
    if claim is None or claim.get("role") != "worker":
        return None
    if claim.get("host") != os.uname().nodename:
        return f"on {claim.get('host')}"
    try:
        process = psutil.Process(int(claim["pid"]))
        is_same = abs(process.create_time() - float(claim.get("create_time", process.create_time()))) < 1.0
    except (psutil.Error, KeyError, ValueError):
        return None
    return f"as process {process.pid}" if is_same and process.status() != psutil.STATUS_ZOMBIE else None
