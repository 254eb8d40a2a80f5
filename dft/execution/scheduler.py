"""Jobs of a cluster's batch system: one calculation each, or packed into arrays or bundles.

Before anything is submitted every job directory gets ``scheduler.json`` with the job's name, which holds
a random part, so that a job whose id was lost with the driver is found by its name. The script and, for a
group, the list of its directories lie in the directory of the group's first calculation.

Ids: ``123`` a job of its own, ``123_4`` an element of an array, ``123+4`` a member of a bundle. The script
ends in ``exec``, so that the scheduler's signals reach the worker itself. Units: seconds, minutes, GB.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from config.errors import ExecutionError
from config.execution import SlurmExecution
from dft.execution.base import JobPhase, JobRequest, JobStatus
from dft.execution.bundle import cancel_file, list_file, read_state
from dft.execution.environment import WORKER, python_path
from dft.execution.slurm import QueueEntry, Slurm, entry_id
from dft.jobs import JOB_FILE, CalculationKind, write_atomically

SCHEDULER_FILE = "scheduler.json"
"""File in the job directory that says which job of the scheduler was to compute it."""
SCRIPT_FILE = "job.sh"
SECOND_LOOK_S = 2.0
"""A job of which the scheduler knows nothing is asked for again after this time before it is GONE."""
NAME_LENGTH = 60

Pack = Literal["single", "array", "bundle"]


class SchedulerBackend:
    """Start jobs on a cluster (:class:`dft.execution.base.Backend`).

    Parameters
    ----------
    execution
        The campaign's settings: resources by kind, packing, set-up lines.
    payload
        Module that a job runs with its directory.
    """

    def __init__(self, execution: SlurmExecution, payload: str = WORKER) -> None:
        self._execution = execution
        self._payload = payload
        self._slurm = Slurm()

    def group_size(self, kind: CalculationKind) -> int:
        """Most calculations of a kind in one array or bundle."""
        return self._execution.pack_for(kind.value)[1]

    # -- submitting --------------------------------------------------------------------------------

    def submit(self, group: Sequence[JobRequest]) -> list[str]:
        """Submit one job for a group; see :class:`dft.execution.base.Backend`."""
        if len(group) > (most := self.group_size(group[0].kind)):
            message = f"{len(group)} calculations in one submission, which holds {most} at most"
            raise ValueError(message)
        requests = [replace(request, job_dir=request.job_dir.resolve()) for request in group]
        for request in requests:
            if not (request.job_dir / JOB_FILE).is_file():
                message = f"{request.job_dir} is no job directory: it holds no {JOB_FILE}"
                raise ExecutionError(message)
        name, pack = _job_name(requests), self._pack(requests)
        folder = requests[0].job_dir
        try:
            for number, request in enumerate(requests, start=1):
                note = {"name": name, "pack": pack, "number": number}
                write_atomically(request.job_dir / SCHEDULER_FILE, json.dumps(note))
            if pack != "single":
                lines = "".join(f"{request.job_dir}\n" for request in requests)
                write_atomically(list_file(folder, name), lines)
            write_atomically(folder / SCRIPT_FILE, self.script_text(requests, name))
        except OSError as error:
            message = f"cannot write the job's script to {folder}: {error.strerror or error}"
            raise ExecutionError(message) from error
        job_number = self._slurm.submit(folder / SCRIPT_FILE)
        return [_member_id(job_number, name, pack, number) for number in range(1, len(requests) + 1)]

    def script_text(self, group: Sequence[JobRequest], name: str | None = None) -> str:
        """Exactly what is submitted for a group, but for the random part of the job's name.

        Parameters
        ----------
        group
            All of one kind. Nothing needs to exist yet.
        name
            The job's name in the queue.
        """
        pack = self._pack(group)
        kind, folder = group[0].kind.value, group[0].job_dir
        name = name or _job_name(group)
        resources = self._execution.resources_for(kind)
        width = min(self._execution.bundle_width, len(group)) if pack == "bundle" else 1
        header = self._slurm.header(
            name,
            resources,
            output={"single": "job.out", "array": f"{name}-%a.out", "bundle": f"{name}.out"}[pack],
            warning_s=self._execution.warning_seconds,
            n_elements=len(group) if pack == "array" else 0,
            width=width,
            memory_factor=max(request.memory_factor for request in group),
        )
        exports = {
            "OMP_NUM_THREADS": str(resources.cpus_per_task),
            **self._slurm.exports(name, 60.0 * resources.walltime_minutes, is_array=pack == "array"),
        }
        lines = [
            "#!/bin/bash",
            header,
            "",
            *(f'export {variable}="{value}"' for variable, value in exports.items()),
            *self._execution.setup,
            *_path_lines(),
            *self._start_lines(pack, folder, name, width),
        ]
        return "\n".join(lines) + "\n"

    def _start_lines(self, pack: Pack, folder: Path, name: str, width: int) -> list[str]:
        """Shell lines that become the worker, or the runner of a bundle."""
        python = shlex.quote(self._execution.python or sys.executable)
        group_list = shlex.quote(str(list_file(folder, name)))
        worker = f"exec {python} -m {self._payload}"
        if pack == "array":
            return [
                f'job_dir=$(sed -n "{self._slurm.array_index}p" {group_list})',
                'cd "$job_dir" && exec >>job.out 2>&1',
                f'{worker} "$job_dir"',
            ]
        if pack == "bundle":
            payload = "" if self._payload == WORKER else f" --payload {self._payload}"
            return [f"exec {python} -m dft.execution.bundle {group_list} --width {width}{payload}"]
        return [f"{worker} {shlex.quote(str(folder))}"]

    def _pack(self, group: Sequence[JobRequest]) -> Pack:
        return "single" if len(group) == 1 else self._execution.pack_for(group[0].kind.value)[0]

    # -- asking --------------------------------------------------------------------------------------

    def poll(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Tell the status of many jobs by one squeue; see :class:`dft.execution.base.Backend`.

        Another one asks for those that the first does not list any more.
        """
        if not job_ids:
            return {}
        parsed = {job_id: _JobId.parse(job_id) for job_id in job_ids}
        natives = {job.native for job in parsed.values()}
        queue = self._slurm.queue()
        found = {native: queue[native] for native in natives & set(queue)}
        forgotten = self._look_up(natives - set(found), found)
        ended = {i: forgotten[job.native] for i, job in parsed.items() if job.native not in found}
        return ended | _statuses(parsed, found)

    def _look_up(self, gone: Collection[str], found: dict[str, QueueEntry]) -> Mapping[str, JobStatus]:
        """Add to ``found`` what the scheduler remembers; return how the others ended."""
        if not gone:
            return {}
        found |= self._slurm.recent(gone)
        unknown = set(gone) - set(found)
        if not unknown:
            return {}
        time.sleep(SECOND_LOOK_S)
        found |= self._slurm.recent(unknown)
        unknown -= set(found)
        nothing = JobStatus(JobPhase.GONE, reason="the scheduler knows no such job any more")
        return dict.fromkeys(unknown, nothing) | self._slurm.accounted(unknown)

    def find(self, job_dir: Path) -> str | None:
        """Id of the living job on a directory; see :class:`dft.execution.base.Backend`."""
        try:
            note = json.loads((job_dir / SCHEDULER_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            message = f"cannot read {job_dir / SCHEDULER_FILE}: {error}"
            raise ExecutionError(message) from error
        queue = self._slurm.queue(note["name"])
        job_numbers = {_JobId.parse(native).number for native in queue}
        ids = [_member_id(n, note["name"], note["pack"], note["number"]) for n in job_numbers]
        statuses = _statuses({job_id: _JobId.parse(job_id) for job_id in ids}, queue)
        living = [job_id for job_id, status in statuses.items() if status.phase is not JobPhase.GONE]
        return living[0] if living else None

    # -- cancelling ----------------------------------------------------------------------------------

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs; they may take some seconds to be GONE. See :class:`dft.execution.base.Backend`."""
        parsed = [_JobId.parse(job_id) for job_id in job_ids]
        members = [job for job in parsed if job.member is not None]
        whole = {job.native for job in parsed if job.member is None}
        bundles = self._slurm.recent({job.native for job in members}) if members else {}
        for native, entry in bundles.items():
            unwanted = {job.member for job in members if job.native == native}
            if unwanted >= _unfinished(entry):
                whole.add(native)
                continue
            for member in unwanted:
                cancel_file(entry.work_dir, entry.name, str(member)).touch()
        if whole:
            self._slurm.cancel(whole)


class _JobId(NamedTuple):
    """A job's id, taken apart."""

    native: str
    """As :class:`dft.execution.slurm.QueueEntry` has it: ``123~ab12cd34`` or ``123_4~ab12cd34``."""
    member: str | None
    """Number in a bundle."""

    @property
    def number(self) -> str:
        """The scheduler's number of the job, or of the array."""
        return re.split("[_~]", self.native)[0]

    @classmethod
    def parse(cls, job_id: str) -> _JobId:
        """Read an id.

        Raises
        ------
        ExecutionError
            If it is no id of a batch system's job.
        """
        match = re.fullmatch(r"(\d+(?:_\d+)?~[^~+@]*)(?:\+(\d+))?", job_id)
        if match is None:
            message = f"{job_id!r} is no id of a scheduler's job"
            raise ExecutionError(message)
        return cls(match.group(1), match.group(2))


def _member_id(job_number: str, name: str, pack: Pack, number: int) -> str:
    """Id of a calculation in a job."""
    native = entry_id(f"{job_number}_{number}" if pack == "array" else job_number, name)
    return f"{native}+{number}" if pack == "bundle" else native


def _job_name(group: Sequence[JobRequest]) -> str:
    """Name of a job that no other job has."""
    more = f".and{len(group) - 1}" if len(group) > 1 else ""
    plain = re.sub(r"[^A-Za-z0-9_-]+", ".", group[0].name).strip(".")[:NAME_LENGTH]
    return f"{plain}{more}.{secrets.token_hex(4)}"


def _path_lines() -> Iterable[str]:
    entries = ":".join(python_path())
    return [f"export PYTHONPATH={shlex.quote(entries)}${{PYTHONPATH:+:$PYTHONPATH}}"] if entries else []


def _statuses(jobs: Mapping[str, _JobId], entries: Mapping[str, QueueEntry]) -> dict[str, JobStatus]:
    """Statuses, by id, of the jobs that are among the entries."""
    members = {job.native for job in jobs.values() if job.member is not None}
    states = {n: read_state(entries[n].work_dir, entries[n].name) for n in members & set(entries)}
    return {
        job_id: _member_status(job.member, entries[job.native].status, states.get(job.native, {}))
        for job_id, job in jobs.items()
        if job.native in entries
    }


def _member_status(
    member: str | None, job: JobStatus, states: Mapping[str, Mapping[str, object]]
) -> JobStatus:
    """Status of a bundle's member, from the bundle's and what the bundle says of it."""
    if member is None or job.phase is JobPhase.PENDING:
        return job
    own = states.get(member, {"phase": JobPhase.PENDING, "started": None})
    phase, started = JobPhase(str(own["phase"])), own["started"]
    if job.phase is JobPhase.GONE:
        # A member that had ended before, or had not begun, did not end as the bundle did.
        return job if phase is JobPhase.RUNNING else replace(job, reason="its bundle ended", ended_as=None)
    if phase is JobPhase.PENDING:
        return JobStatus(phase, job.native, "waits in its bundle")
    if phase is JobPhase.GONE:
        return JobStatus(phase, "", "ended in its bundle")
    elapsed = time.time() - started if isinstance(started, float) else None
    return JobStatus(phase, job.native, elapsed_seconds=elapsed)


def _unfinished(bundle: QueueEntry) -> set[str]:
    """Numbers of the members that have not ended; a bundle of unknown state has none that may be lost."""
    if bundle.status.phase is JobPhase.GONE:
        return set()
    if states := read_state(bundle.work_dir, bundle.name):
        return {number for number, own in states.items() if own["phase"] != JobPhase.GONE}
    lines = list_file(bundle.work_dir, bundle.name).read_text(encoding="utf-8").splitlines()
    return {str(number) for number in range(1, len(lines) + 1)}
