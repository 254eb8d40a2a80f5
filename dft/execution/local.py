"""Jobs as processes of this machine, started through submitit.

Every job is a session of its own (``setsid``): Ctrl-C, a closed terminal and a killed driver do not
reach it, and all its processes, MPI ranks included, are known by the session's number. The leader is
this module run as a script: submitit's local controller, which starts the task, watches the time
limit, and ends the session with the job.

A job's id is ``<pid>@<start>@<host>``: the session's number, when its leader started (clock ticks
since boot, and which boot), so that a reused pid is not mistaken for the job, and the machine. All of
it comes from ``/proc``: Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from submitit.core.utils import JobPaths
from submitit.local.local import Controller, LocalExecutor, LocalJob

from config.errors import ExecutionError
from dft.execution.base import JobPhase
from dft.jobs import JOB_FILE

SUBMITIT_FOLDER = "submitit"
"""Folder in the job directory with submitit's pickles and the job's output."""
JOB_DIR_VARIABLE = "SABATIER_JOB_DIR"
"""Environment variable that marks every process of a job with its directory."""
CANCEL_GRACE_S = 2.0
"""How long a cancelled job may take to end after SIGTERM, seconds."""
CANCEL_LIMIT_S = 30.0
"""When to give up on a process that SIGKILL does not end (it hangs in the kernel), seconds."""

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Controllers that this process started, to be reaped: a dead child stays a zombie until then."""


class LocalBackend:
    """Start jobs on this machine (:class:`dft.execution.base.Backend`).

    It does not limit how many run at once: whoever submits does.

    Parameters
    ----------
    python
        Interpreter of the jobs.
    payload
        What a job calls with its directory; the worker when left out.
    lost_hosts
        Machines that are gone for good: their jobs count as GONE instead of out of sight.
    """

    def __init__(
        self,
        python: str = sys.executable,
        payload: Callable[[Path], None] | None = None,
        lost_hosts: Collection[str] = (),
    ) -> None:
        if payload is None:
            from dft.worker import run_job

            payload = run_job
        self._python = python
        self._payload = payload
        self._lost_hosts = lost_hosts

    def submit(self, job_dir: Path, *, cores: int, timeout_minutes: float, name: str) -> str:  # noqa: ARG002
        """Start the worker on a job directory; see :class:`dft.execution.base.Backend`.

        ``cores`` needs no action: the worker starts its own MPI ranks.
        """
        job_dir = job_dir.resolve()
        if not (job_dir / JOB_FILE).is_file():
            message = f"{job_dir} is no job directory: it holds no {JOB_FILE}"
            raise ExecutionError(message)
        try:
            executor = _DetachedExecutor(job_dir, self._python, name)
            executor.update_parameters(timeout_min=timeout_minutes)
            executor.submit(self._payload, job_dir)
        except OSError as error:
            message = f"cannot start a job in {job_dir}: {error}"
            raise ExecutionError(message) from error
        return executor.started

    def poll(self, job_ids: Sequence[str]) -> dict[str, JobPhase]:
        """Tell the phase of many jobs; see :class:`dft.execution.base.Backend`."""
        _reap()
        lost = [job_id for job_id in job_ids if job_id.rpartition("@")[2] in self._lost_hosts]
        jobs = {job_id: _JobId.parse(job_id) for job_id in job_ids if job_id not in lost}
        sessions = _sessions({job.session for job in jobs.values()})
        return dict.fromkeys(lost, JobPhase.GONE) | {
            job_id: JobPhase.RUNNING if _members(job, sessions) else JobPhase.GONE
            for job_id, job in jobs.items()
        }

    def cancel(self, job_id: str) -> None:
        """End a job with SIGTERM and, for what is left a little later, SIGKILL."""
        job = _JobId.parse(job_id)
        start = time.monotonic()
        signalled: set[int] = set()
        while members := _members(job, _sessions({job.session})):
            waited = time.monotonic() - start
            if waited > CANCEL_LIMIT_S:
                message = f"the processes {sorted(m.pid for m in members)} of job {job_id} cannot be killed"
                raise ExecutionError(message)
            late = waited > CANCEL_GRACE_S
            for member in members:
                if late or member.pid not in signalled:
                    _signal(member.pid, signal.SIGKILL if late else signal.SIGTERM)
                    signalled.add(member.pid)
            time.sleep(0.02)
            _reap()

    def find(self, job_dir: Path) -> str | None:
        """Id of the living job on a directory; see :class:`dft.execution.base.Backend`."""
        _reap()
        job_dir = job_dir.resolve()
        mine = [
            process
            for process in _processes()
            if process.is_alive and _environment(process.pid).get(JOB_DIR_VARIABLE) == str(job_dir)
        ]
        if not mine:
            return None
        member = mine[0]
        _complete_submission(job_dir, member.session)
        # Should the leader have been killed, any other member stands for the session.
        return _job_id(_read_process(member.session) or member)


class _DetachedExecutor(LocalExecutor):
    """submitit's local executor, with the controller in a session of its own."""

    started: str
    """Id of the job that was submitted last."""

    def __init__(self, job_dir: Path, python: str, name: str) -> None:
        super().__init__(job_dir / SUBMITIT_FOLDER, python=python)
        self._job_dir = job_dir
        self._name = name

    def _submit_command(self, command: str) -> LocalJob[Any]:
        timeout_s = max(1, round(60 * self.parameters["timeout_min"]))
        environment = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "PYTHONPATH": _python_path(),
            JOB_DIR_VARIABLE: str(self._job_dir),
            # What submitit's start_controller hands to its Controller.
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_COMMAND": command,
            "SUBMITIT_LOCAL_TIMEOUT_S": str(timeout_s),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(min(60, max(1, timeout_s // 10))),
            "SUBMITIT_LOCAL_NTASKS": "1",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_WITH_SHELL": "",
            "SUBMITIT_STDERR_TO_STDOUT": "",
        }
        with (self.folder / "controller.log").open("ab") as log:
            # Nothing of the driver's stays open in the job: a pipe behind the driver must see its end.
            process = subprocess.Popen(
                [self.python, "-m", "dft.execution.local", str(self.folder), self._name],
                env=environment,
                cwd=self._job_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        leader = _read_process(process.pid)
        assert leader is not None  # a child stays in /proc until it is reaped, from the next line on
        _CHILDREN[process.pid] = process
        self.started = _job_id(leader)
        return LocalJob(folder=self.folder, job_id=str(process.pid))


class _Process(NamedTuple):
    """A line of ``/proc/<pid>/stat``."""

    pid: int
    session: int
    start: int
    """Clock ticks between boot and the start of the process."""
    is_alive: bool
    """False for a zombie."""


class _JobId(NamedTuple):
    """A job's id, taken apart."""

    session: int
    start: int
    is_of_this_boot: bool

    @classmethod
    def parse(cls, job_id: str) -> _JobId:
        """Read an id.

        Raises
        ------
        ExecutionError
            If it is no id of this back-end, or of a job on another machine.
        """
        try:
            session, start, host = job_id.split("@")
            boot, ticks = start.split(".")
            job = cls(int(session), int(ticks), boot == _boot())
        except ValueError as error:
            message = f"{job_id!r} is no id of a local job"
            raise ExecutionError(message) from error
        if not job.is_of_this_boot and host != socket.gethostname():
            message = (
                f"the local job {job_id} was started on the machine {host!r}, which cannot be seen from "
                f"{socket.gethostname()!r}; resume the campaign on {host!r}, or, if that machine is gone for "
                f"good, with --lost-host {host}"
            )
            raise ExecutionError(message)
        return job


def _job_id(process: _Process) -> str:
    return f"{process.session}@{_boot()}.{process.start}@{socket.gethostname()}"


def _boot() -> str:
    """Which boot of which machine this is; clocks may be set, this stays."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def _members(job: _JobId, sessions: dict[int, list[_Process]]) -> list[_Process]:
    """Living processes of a job.

    While any process of a session lives the kernel gives the session's number to no new process, so
    without a leader the mark in the environment is enough to tell the job from a stranger's session.
    """
    session = sessions.get(job.session, [])
    if not job.is_of_this_boot:
        return []
    leader = next((process for process in session if process.pid == job.session), None)
    if leader is not None and leader.start != job.start:
        return []
    living = [process for process in session if process.is_alive]
    if leader is None:
        return [process for process in living if JOB_DIR_VARIABLE in _environment(process.pid)]
    return living


def _sessions(wanted: set[int]) -> dict[int, list[_Process]]:
    """Processes of the sessions asked for, zombies included, by one pass over ``/proc``."""
    sessions: dict[int, list[_Process]] = {}
    for process in _processes():
        if process.session in wanted:
            sessions.setdefault(process.session, []).append(process)
    return sessions


def _processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - polled often; no need of 1,000 Path objects
        if name.isdigit() and (process := _read_process(int(name))) is not None:
            yield process


def _read_process(pid: int) -> _Process | None:
    """Look at one process; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name, in parentheses, may hold anything; the fields after it are proc(5)'s 3rd and on.
    fields = text.rpartition(")")[2].split()
    return _Process(pid, session=int(fields[3]), start=int(fields[19]), is_alive=fields[0] not in "ZX")


def _environment(pid: int) -> dict[str, str]:
    """Environment that a process was started with; empty if it is not ours to read."""
    try:
        text = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap() -> None:
    """Collect the dead among this process's children, so that no zombie holds a session's number."""
    for pid, process in list(_CHILDREN.items()):
        if process.poll() is not None:
            _CHILDREN.pop(pid, None)


def _complete_submission(job_dir: Path, session: int) -> None:
    """Give a waiting job the pickle that its killed driver had written but not yet renamed.

    submitit starts the process first and then gives the pickle the process's number; the job waits a
    minute for it.
    """
    paths = JobPaths(job_dir / SUBMITIT_FOLDER, job_id=str(session))
    left_over = [path for path in paths.folder.glob("*.pkl") if "_" not in path.name]
    if left_over and not paths.submitted_pickle.exists():
        newest = max(left_over, key=lambda path: path.stat().st_mtime_ns)
        newest.rename(paths.submitted_pickle)


def _python_path() -> str:
    """PYTHONPATH of a job: the driver's own, after the checkout if these packages come from one.

    An installed package needs no help, and site-packages in front of the standard library do harm.
    """
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    root = Path(__file__).parents[2]
    if root.name not in {"site-packages", "dist-packages"}:
        entries.insert(0, str(root))
    # The job runs in another folder.
    return os.pathsep.join(dict.fromkeys(str(Path(entry).resolve()) for entry in entries))


def _control(folder: Path) -> None:
    """Run a job as its session's leader and leave nothing of it behind."""
    try:
        Controller(folder).run()
    finally:
        me = os.getpid()
        while others := [p for p in _sessions({me}).get(me, []) if p.is_alive and p.pid != me]:
            for process in others:
                _signal(process.pid, signal.SIGKILL)
            time.sleep(0.02)


if __name__ == "__main__":
    _control(Path(sys.argv[1]))
