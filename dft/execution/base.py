"""The seam between the job ledger and whatever starts processes.

A back-end starts the worker on job directories and can tell later whether anything of them is still
alive. It knows nothing of success: an attempt succeeded if, and only if, its directory holds a valid
``result.json``. It keeps no state outside the job directories either, so that a driver started anew,
on any host that can reach the same system, sees and controls the jobs of its dead predecessor.

What every back-end promises (``tests/dft/execution/test_contract.py`` holds each to it):

- A job outlives the driver, whatever kills the driver.
- ``submit`` is not atomic: a driver killed within it may have started a job whose id nobody knows.
  ``find`` gets that id back, or shows that there is no such job. In between the job may wait, but it
  never runs without a claim (``dft.jobs.take_claim``), so that submitting a directory twice computes
  once, and a directory whose claim the driver has taken never computes.
- The worker finds its own id in the environment variable :data:`JOB_ID_VARIABLE` and when its time is
  up in :data:`JOB_END_VARIABLE`. It gets SIGUSR2 some time before, and may use the rest to leave a
  result; after it the job ends by itself.
- ``GONE`` is final: once reported, nothing of the job computes or writes any more, as far as the system
  can know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from dft.codes import FailureCode
from dft.jobs import CalculationKind

JOB_ID_VARIABLE = "SABATIER_JOB_ID"
"""Environment variable with the back-end's id of the job that a worker is."""
JOB_END_VARIABLE = "SABATIER_JOB_END"
"""Environment variable with the time at which the job is ended, seconds since 1970."""


def shown_id(job_id: str | None) -> str:
    """Part of a job's id that a person may give to the system's own commands: a job number, a pid."""
    return re.split("[~@]", job_id or "")[0]


class JobPhase(StrEnum):
    """Whether a job lives; nothing about how it fared."""

    PENDING = "PENDING"
    """Waits for its turn; no process yet."""
    RUNNING = "RUNNING"
    """At least one process of it is alive."""
    GONE = "GONE"
    """Ended, killed, cancelled, or never heard of."""


@dataclass(frozen=True)
class JobRequest:
    """A job directory that is to be computed."""

    job_dir: Path
    """Holds ``job.json``."""
    kind: CalculationKind
    name: str
    """What a person sees in a list of processes or in the queue."""
    memory_factor: float = 1.0
    """How much more memory than usual it needs."""


@dataclass(frozen=True)
class JobStatus:
    """What the system says of a job."""

    phase: JobPhase
    native: str = ""
    """State in the system's own word, such as ``CONFIGURING``."""
    reason: str = ""
    """Why it waits, or how it ended, in the system's words."""
    elapsed_seconds: float | None = None
    """How long it has been running."""
    ended_as: FailureCode | None = None
    """GONE: why it ended, where the system knows (out of memory, time limit, preempted, node failed)."""


class Backend(Protocol):
    """What the ledger needs of a place where jobs run."""

    def group_size(self, kind: CalculationKind) -> int:
        """How many calculations of a kind may be given to one ``submit``."""
        ...

    def submit(self, group: Sequence[JobRequest]) -> list[str]:
        """Start workers on job directories, all of one kind; return without waiting.

        Returns
        -------
        list of str
            The back-end's own id of each job, in order; any process on the same system may use them.

        Raises
        ------
        config.errors.BackendUnavailableError
            If the system does not answer: some of it may have been started all the same.
        config.errors.ExecutionError
            If the system refuses; nothing was started.
        """
        ...

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Tell the status of many jobs by one look at the system.

        A job that cannot be seen from here (a local one of another machine) is left out.

        Raises
        ------
        config.errors.BackendUnavailableError
            If the system does not answer now. Nothing may be concluded about any of the jobs.
        config.errors.ExecutionError
            If an id is none of this back-end's.
        """
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs with all their processes; no error for those gone already.

        A worker that runs gets SIGTERM first, and a few seconds for its result. On a cluster this returns
        at once: ``poll`` tells when they are gone.

        Raises
        ------
        config.errors.BackendUnavailableError
            If the system does not answer now.
        config.errors.ExecutionError
            If a job cannot be ended from here.
        """
        ...

    def find(self, job_dir: Path) -> str | None:
        """Id of the living job on a directory that nobody has claimed yet; None if there is none.

        For a submission whose id was lost with the driver. If the submission itself was cut short, it
        is completed here, so that the job found will run.

        Raises
        ------
        config.errors.BackendUnavailableError
            If the system does not answer now.
        """
        ...
