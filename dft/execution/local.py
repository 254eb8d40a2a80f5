"""Jobs as processes of this machine.

Every job is a session of its own (``setsid``): Ctrl-C, a closed terminal and a killed driver do not
reach it, and all its processes, MPI ranks included, are known by the session's number. Its leader is
``dft.execution.leader``, which starts the worker, watches the time limit, and ends the session with it.

A job's id is ``<pid>@<boot>-<namespace>.<start>@<host>``: the session's number, whose pid that is, when its
leader started (clock ticks since boot), so that a reused pid is not mistaken for the job, and the machine.
All of it comes from ``/proc``: Linux only.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from config.errors import ExecutionError
from config.execution import LocalExecution
from dft.execution.base import JobPhase, JobRequest, JobStatus
from dft.execution.environment import OUTPUT_FILE, WORKER, job_environment, python_path
from dft.execution.processes import Process, end_all, environment, processes, read_process, sessions, world
from dft.jobs import JOB_FILE, CalculationKind

JOB_DIR_VARIABLE = "SABATIER_JOB_DIR"
"""Environment variable that marks every process of a job with its directory."""
SECOND_LOOK_S = 0.1
"""Time until find looks again, seconds."""
CANCEL_GRACE_S = 2.0
"""How long a cancelled job may take to end after SIGTERM, seconds."""
CANCEL_LIMIT_S = 30.0
"""When to give up on a process that SIGKILL does not end (it hangs in the kernel), seconds."""

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Leaders that this process started, to be reaped: a dead child stays a zombie until then."""


class LocalBackend:
    """Start jobs on this machine (:class:`dft.execution.base.Backend`).

    It does not limit how many run at once: whoever submits does.

    Parameters
    ----------
    execution
        The campaign's settings; the time limit is theirs.
    lost_hosts
        Machines that are gone for good: their jobs count as GONE instead of out of sight.
    payload
        Module that a job runs with its directory.
    python
        Interpreter of the jobs.
    """

    def __init__(
        self,
        execution: LocalExecution,
        lost_hosts: Collection[str] = (),
        payload: str = WORKER,
        python: str = sys.executable,
    ) -> None:
        self._limit_s = 60.0 * execution.timeout_minutes
        self._lost_hosts = lost_hosts
        self._payload = payload
        self._python = python

    def group_size(self, kind: CalculationKind) -> int:  # noqa: ARG002 - alike for all kinds
        """One at a time: nothing is gained by more."""
        return 1

    def submit(self, group: Sequence[JobRequest]) -> list[str]:
        """Start the worker on job directories; see :class:`dft.execution.base.Backend`."""
        for request in group:
            if not (request.job_dir / JOB_FILE).is_file():
                message = f"{request.job_dir} is no job directory: it holds no {JOB_FILE}"
                raise ExecutionError(message)
        return [self._start(request.job_dir.resolve(), request.name) for request in group]

    def _start(self, job_dir: Path, name: str) -> str:
        command = [self._python, "-m", "dft.execution.leader", str(self._limit_s), self._payload]
        try:
            with (job_dir / OUTPUT_FILE).open("ab") as output:
                # Nothing of the driver's stays open in the job: a pipe behind the driver must see its end.
                process = subprocess.Popen(
                    [*command, str(job_dir), name],
                    env={
                        "OMP_NUM_THREADS": "1",
                        **job_environment(),
                        "PYTHONPATH": os.pathsep.join(python_path()),
                        JOB_DIR_VARIABLE: str(job_dir),
                    },
                    cwd=job_dir,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            message = f"cannot start a job in {job_dir}: {error}"
            raise ExecutionError(message) from error
        leader = read_process(process.pid)
        assert leader is not None  # a child stays in /proc until it is reaped, from the next line on
        _CHILDREN[process.pid] = process
        return job_id_of(leader)

    def poll(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Tell the status of many jobs; see :class:`dft.execution.base.Backend`."""
        _reap()
        jobs = {job_id: _JobId.parse(job_id) for job_id in job_ids}
        here = {job_id: job for job_id, job in jobs.items() if job.is_here}
        found = sessions({job.session for job in here.values() if job.is_of_this_world})
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        gone = JobStatus(JobPhase.GONE, reason="its machine was given up")
        return {job_id: gone for job_id, job in jobs.items() if job.host in self._lost_hosts} | {
            job_id: _status(job, found, uptime)
            for job_id, job in here.items()
            if job.host not in self._lost_hosts
        }

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs with SIGTERM and, for what is left a little later, SIGKILL."""
        jobs = {job_id: _JobId.parse(job_id) for job_id in job_ids}
        here = [job for job in jobs.values() if job.is_here]

        def members() -> list[Process]:
            found = sessions({job.session for job in here})
            return [process for job in here for process in _members(job, found)]

        if left := end_all(members, grace_s=CANCEL_GRACE_S, limit_s=CANCEL_LIMIT_S, meanwhile=_reap):
            message = f"the processes {sorted(p.pid for p in left)} of cancelled jobs cannot be killed"
            raise ExecutionError(message)
        for job_id, job in jobs.items():
            if not job.is_here and job.host not in self._lost_hosts:
                message = (
                    f"the local job {job_id} runs on the machine {job.host!r} and cannot be ended from "
                    f"{socket.gethostname()!r}; do it on {job.host!r}, or, if that machine is gone for good, "
                    f"run the campaign with --lost-host {job.host}"
                )
                raise ExecutionError(message)

    def find(self, job_dir: Path) -> str | None:
        """Id of the living job on a directory; see :class:`dft.execution.base.Backend`."""
        _reap()
        mark = str(job_dir.resolve())
        found = _marked(mark)
        if found is None:
            # A process that has just been started shows no environment for a moment.
            time.sleep(SECOND_LOOK_S)
            found = _marked(mark)
        return found


def _marked(mark: str) -> str | None:
    """Id of the job that has a living process with this mark in its environment."""
    for process in processes():
        if process.is_alive and environment(process.pid).get(JOB_DIR_VARIABLE) == mark:
            # Should the leader have been killed, any other member stands for the session.
            return job_id_of(read_process(process.session) or process)
    return None


class _JobId(NamedTuple):
    """A job's id, taken apart."""

    session: int
    start: int
    is_of_this_world: bool
    host: str

    @classmethod
    def parse(cls, job_id: str) -> _JobId:
        """Read an id.

        Raises
        ------
        ExecutionError
            If it is no id of this back-end.
        """
        try:
            session, start, host = job_id.split("@")
            its_world, ticks = start.split(".")
            return cls(int(session), int(ticks), its_world == world(), host)
        except ValueError as error:
            message = f"{job_id!r} is no id of a local job"
            raise ExecutionError(message) from error

    @property
    def is_here(self) -> bool:
        """Whether it was started on this machine, or in this container, now or before it was last booted."""
        return self.is_of_this_world or self.host == socket.gethostname()


def job_id_of(process: Process) -> str:
    """Id of the job whose session's leader, or other member, a process is."""
    return f"{process.session}@{world()}.{process.start}@{socket.gethostname()}"


def _status(job: _JobId, found: dict[int, list[Process]], uptime_s: float) -> JobStatus:
    if not _members(job, found):
        return JobStatus(JobPhase.GONE)
    started_s = job.start / os.sysconf("SC_CLK_TCK")
    return JobStatus(JobPhase.RUNNING, elapsed_seconds=max(0.0, uptime_s - started_s))


def _members(job: _JobId, found: dict[int, list[Process]]) -> list[Process]:
    """Living processes of a job.

    While any process of a session lives the kernel gives the session's number to no new process, so
    without a leader the mark in the environment is enough to tell the job from a stranger's session.
    """
    session = found.get(job.session, [])
    if not job.is_of_this_world:
        return []
    leader = next((process for process in session if process.pid == job.session), None)
    if leader is not None and leader.start != job.start:
        return []
    alive = [process for process in session if process.is_alive]
    if leader is None:
        return [process for process in alive if JOB_DIR_VARIABLE in environment(process.pid)]
    return alive


def _reap() -> None:
    """Collect the dead among this process's children, so that no zombie holds a session's number."""
    for pid, process in list(_CHILDREN.items()):
        if process.poll() is not None:
            _CHILDREN.pop(pid, None)
