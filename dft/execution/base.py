"""The seam between the job ledger and whatever starts processes.

A back-end starts the worker on a job directory and can tell later whether anything of it is still
alive. It knows nothing of success: an attempt succeeded if, and only if, its directory holds a valid
``result.json``. It keeps no state of its own either, so that a driver started anew, on the same
campaign, sees and controls the jobs of its dead predecessor.

What every back-end promises (``tests/dft/test_execution.py`` holds each to it):

- A job outlives the driver, whatever kills the driver.
- ``submit`` is not atomic: a driver killed within it may have started a job whose id nobody knows.
  ``find`` gets that id back, or shows that there is no such job. In between the job may wait, but it
  never runs without a claim (``dft.jobs.take_claim``), so that submitting a directory twice computes
  once.
- A job that exceeds its time limit ends by itself. Its worker gets SIGUSR2 some time before (a tenth
  of the limit, a minute at most) and may use the rest to leave a result.
- ``GONE`` is final: once reported, nothing of the job computes or writes any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class JobPhase(StrEnum):
    """Whether a job lives; nothing about how it fared."""

    PENDING = "PENDING"
    """Waits for its turn; no process yet."""
    RUNNING = "RUNNING"
    """At least one process of it is alive."""
    GONE = "GONE"
    """Ended, killed, cancelled, or never heard of."""


class Backend(Protocol):
    """What the ledger needs of a place where jobs run."""

    def submit(self, job_dir: Path, *, cores: int, timeout_minutes: float, name: str) -> str:
        """Start the worker on a job directory that holds ``job.json``; return without waiting.

        Parameters
        ----------
        cores
            MPI ranks that the worker will start.
        timeout_minutes
            Wall time after which the job is ended.
        name
            What a person sees in a list of processes or in the queue.

        Returns
        -------
        str
            The back-end's own id of the job; any process on the same system may use it later.

        Raises
        ------
        config.errors.ExecutionError
            If nothing could be started. The directory may be submitted again.
        """
        ...

    def poll(self, job_ids: Sequence[str]) -> dict[str, JobPhase]:
        """Tell the phase of many jobs by one look at the system.

        Raises
        ------
        config.errors.ExecutionError
            If the system cannot be asked now, or an id belongs to another system. Nothing may be
            concluded about any of the jobs.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """End a job and all its processes; no error if it is gone already."""
        ...

    def find(self, job_dir: Path) -> str | None:
        """Id of the living job on a directory; None if there is none.

        For a submission whose id was lost with the driver. If the submission itself was cut short, it
        is completed here, so that the job found will run.
        """
        ...
