"""Turns whatever ends a calculation into a result: the one place where exceptions become codes."""

from __future__ import annotations

import errno
import re
import traceback
from typing import TYPE_CHECKING, Any

from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import JobResult, JobSpec, ResultState
from dft.patience import DISK_FULL
from dft.watch import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

TRACEBACK_LINES = 8
DISK_ERRORS = DISK_FULL | {errno.EIO, errno.ESTALE}
"""Say nothing about the calculation: another attempt may succeed."""
OUT_OF_MEMORY = re.compile(
    r"std::bad_alloc|cannot allocate memory|out of memory|MemoryError|memory allocation .*failed"
    r"|unable to allocate|failed to map segment|oom[-_ ]kill",
    re.IGNORECASE,
)
"""How libraries, the loader and the kernel say that there is no memory left."""


NOT_FINITE = re.compile(r"terms are NaN|infs or NaNs|contains? NaN|SVD did not converge", re.IGNORECASE)
"""How GPAW, scipy and numpy say that a number is none (numpy finds no SVD of such a matrix)."""


def guarded(spec: JobSpec, work: Callable[[], JobResult]) -> JobResult:
    """Call ``work``; turn whatever it raises into a failed result."""
    try:
        return work()
    except CalculationFailedError as error:
        return failed(spec, error.code, str(error))
    except MemoryError as error:
        return failed(spec, FailureCode.OUT_OF_MEMORY, str(error) or "out of memory")
    except StoppedError as stop:
        return failed(spec, stop.code, str(stop))
    except Exception as error:
        return failed(spec, *_classify(error))


def done(spec: JobSpec, **fields: Any) -> JobResult:
    """Make the result of a calculation that has an energy."""
    return _result(spec, state=ResultState.DONE, **fields)


def failed(spec: JobSpec, code: FailureCode, message: str) -> JobResult:
    """Make the result of a calculation that has none."""
    return _result(spec, state=ResultState.FAILED, code=code, message=message)


def _result(spec: JobSpec, **fields: Any) -> JobResult:
    return JobResult(calculation_id=spec.calculation_id, kind=spec.kind, attempt=spec.attempt, **fields)


def _classify(error: Exception) -> tuple[FailureCode, str]:
    """Code and message of an unexpected error."""
    # Asked for by name: after a failed allocation, importing GPAW here might fail as well.
    if any(kind.__name__ == "ConvergenceError" for kind in type(error).__mro__):
        return FailureCode.SCF_NOT_CONVERGED, "the self-consistency cycle ran out of iterations"
    if type(error).__name__ == "AtomsTooClose":
        return FailureCode.ATOMS_TOO_CLOSE, str(error)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return FailureCode.WORKER_LOST, f"the disk failed the worker: {error}"
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    message = "\n".join(lines[-TRACEBACK_LINES:])
    # The whole chain is looked at: a library may wrap what the allocator said.
    if any(isinstance(link, MemoryError) or OUT_OF_MEMORY.search(str(link)) for link in _chain(error)):
        return FailureCode.OUT_OF_MEMORY, message
    if NOT_FINITE.search(str(error)):
        return FailureCode.NOT_FINITE, message
    return FailureCode.CRASHED, message


def _chain(error: BaseException | None) -> list[BaseException]:
    """List an error and those it came of."""
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links
