"""Reading and deciding single attempts: what a job directory says, and giving up on one that is silent.

Whoever holds ``claim`` decides whether an attempt runs: a worker by computing, or a driver by taking
the claim before a worker does, after which that attempt can never run. The first ``result.json``
closes it.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dft.codes import RETRYABLE, FailureCode
from dft.jobs import (
    CLAIM_FILE,
    JOB_FILE,
    LATE_RESULT_FILE,
    RESULT_FILE,
    RUNS_FILE,
    JobResult,
    ResultState,
    cpu_seconds_so_far,
    read_claim,
    read_result,
    take_claim,
    write_once,
    write_result,
)
from pipeline.home import attempt_numbers

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
    if not _holds_energy(result):
        return void(calculation, FailureCode.INVALID_RESULT, f"{RESULT_FILE} holds no energy or no structure")
    return result


def void(calculation: Calculation, code: FailureCode, message: str, cpu_seconds: float = 0.0) -> JobResult:
    """Make the result of an attempt that left none."""
    return JobResult(
        calculation_id=calculation.id,
        kind=calculation.kind,
        attempt=calculation.attempt,
        state=ResultState.FAILED,
        code=code,
        message=message,
        cpu_seconds=cpu_seconds,
        hostname=os.uname().nodename,
    )


def revoke(job_dir: Path, calculation: Calculation, message: str) -> bool:
    """Take an attempt's claim before a worker does, and close it; False if a worker was faster.

    The directory is made if it is not there: a driver that was only asleep may yet write and submit it.
    """
    job_dir.mkdir(parents=True, exist_ok=True)
    if not take_claim(job_dir, _driver()):
        return False
    write_result(job_dir, void(calculation, FailureCode.WORKER_LOST, message))
    return True


def declare_lost(job_dir: Path, calculation: Calculation, code: FailureCode, message: str) -> JobResult:
    """Close an attempt whose job is gone and left nothing; return what came of it after all."""
    if not job_dir.exists():
        return void(calculation, FailureCode.WORKER_LOST, f"the job directory {job_dir} has vanished")
    take_claim(job_dir, _driver() | {"job_id": calculation.job_id})
    lost = void(calculation, code, message, cpu_seconds_so_far(job_dir))
    # Not by ``write_result``: a verdict that comes late must not take the place of a late energy.
    if write_once(job_dir / RESULT_FILE, lost.model_dump_json(indent=1)):
        return lost
    return outcome(job_dir, calculation) or lost


def _driver() -> dict[str, Any]:
    return {"role": "driver", "pid": os.getpid(), "host": os.uname().nodename}


def worker_job_id(job_dir: Path) -> str | None:
    """Id of the job that has claimed an attempt, as its worker wrote it; None if no worker has.

    A worker that a person started by hand has none: what is returned then belongs to no back-end, and
    only its result tells of it.
    """
    claim = read_claim(job_dir)
    if claim is None or claim.get("role") != "worker":
        return None
    return claim.get("job_id") or f"?@{claim.get('host', '')}"


def unused_energy(folder: Path, calculation: Calculation) -> JobResult | None:
    """Find an energy that an earlier attempt has left and nobody has taken in.

    Its worker brought it after the attempt had been given up, or as a person stopped it, or its directory
    could not be seen for a while.

    Parameters
    ----------
    folder
        The calculation's folder with its attempts.
    """
    for name in (LATE_RESULT_FILE, RESULT_FILE):
        for number in sorted(attempt_numbers(folder, name), reverse=True):
            if number <= calculation.fresh_after:
                break
            with suppress(OSError, ValueError):
                text = (folder / f"attempt-{number}" / name).read_text(encoding="utf-8")
                result = JobResult.model_validate_json(text)
                if _holds_energy(result) and result.calculation_id == calculation.id:
                    return result
    return None


def _holds_energy(result: JobResult) -> bool:
    is_sound = result.energy is not None and math.isfinite(result.energy) and result.atoms is not None
    return result.state is ResultState.DONE and is_sound


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


def n_computed(folder: Path, after: int = 0) -> int:
    """Count the attempts in a calculation's folder, later than ``after``, that began to compute."""
    return sum(1 for number in attempt_numbers(folder, RUNS_FILE) if number > after)


def n_stillborn(folder: Path, after: int = 0) -> int:
    """Count the latest attempts, after ``after``, whose jobs all ended before they computed."""
    last = max([after, *attempt_numbers(folder, RUNS_FILE)])
    since = (n for n in attempt_numbers(folder, CLAIM_FILE) if n > last)
    # An attempt that was revoked before it had a job says nothing of where the jobs run.
    return sum(1 for n in since if (read_claim(folder / f"attempt-{n}") or {}).get("job_id"))


def to_go_on_from(folder: Path, calculation: Calculation) -> str | None:
    """Name the latest attempt that began to compute and may be gone on with."""
    begun = attempt_numbers(folder, RUNS_FILE)
    numbers = [n for n in begun if calculation.fresh_after < n < calculation.attempt]
    return f"attempt-{max(numbers)}" if numbers else None
