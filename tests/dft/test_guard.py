from __future__ import annotations

import errno

import numpy as np
import pytest

from config.recipe import RecipeSettings
from dft.codes import CalculationFailedError, FailureCode
from dft.guard import guarded
from dft.jobs import AtomsRecord, JobSpec
from dft.references import gas_atoms
from dft.watch import StoppedError


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("in a library")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), FailureCode.OUT_OF_MEMORY),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype(float)), FailureCode.OUT_OF_MEMORY),
        (RuntimeError("std::bad_alloc"), FailureCode.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), FailureCode.OUT_OF_MEMORY),
        (ImportError("libx.so: failed to map segment from shared object"), FailureCode.OUT_OF_MEMORY),
        (wrapped(MemoryError()), FailureCode.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), FailureCode.WORKER_LOST),
        (OSError(errno.ESTALE, "Stale file handle"), FailureCode.WORKER_LOST),
        (StoppedError(FailureCode.TIMEOUT, "no time left"), FailureCode.TIMEOUT),
        (CalculationFailedError(FailureCode.MISSING_SETUP, "no La"), FailureCode.MISSING_SETUP),
        (ValueError("anything else"), FailureCode.CRASHED),
    ],
)
def test_every_end_has_its_code(error, code):
    spec = JobSpec(
        calculation_id="calc-1",
        kind="gas",
        attempt=1,
        label="gas H2",
        recipe=RecipeSettings(),
        atoms=AtomsRecord.from_atoms(gas_atoms("H2", 5.0)),
    )

    def work():
        raise error

    result = guarded(spec, work)
    assert (result.state, result.code, result.energy) == ("FAILED", code, None)
    assert result.message
