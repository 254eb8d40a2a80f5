"""How Slurm is spoken to: the header of its scripts, its commands, and what they answer.

Headers, job ids and states go through qtoolkit. Seen on Slurm 22.05:

- A controller that was killed and started again answers only after it has read its state: an empty queue
  is an empty queue.
- That state may be some seconds old. A job submitted just before the kill may be forgotten: it never runs,
  or runs on unknown to Slurm until its node is told to end it; and its number may go to another job, which
  is why ids here hold a part of the name too. Its attempt is GONE; the claim keeps it from computing twice.
- A job is forgotten ``MinJobAge`` seconds after its end (5 min); then only accounting knows of it, where
  there is any.

Units: seconds, MB.

Source: the manual pages of sbatch, squeue, scancel and sacct, https://slurm.schedmd.com.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import BackendUnavailableError, ExecutionError
from config.execution import JobResources
from dft.codes import FailureCode
from dft.execution.base import JobPhase, JobStatus
from dft.execution.environment import job_environment

COMMAND_TIMEOUT_S = 60.0
IDS_PER_COMMAND = 500
"""Ids in one command line; a system call takes 128 KiB in one argument."""
SEPARATOR = "\x1f"
FIELDS = ("%i", "%T", "%M", "%j", "%Z", "%r")
"""squeue's: id, state, time used, name, working directory, reason."""
TRANSIENT = re.compile(
    r"unable to contact slurm|socket timed out|connect(ion)? (failure|refused)|timed? ?out|"
    r"unable to establish|zero bytes were transmitted|message (receive|send) failure|standby|"
    r"temporarily (unable|unavailable)|try again|munge|authentication (credential|error)|"
    r"max_?(submit|array_?job)|JobLimit|resource temporarily",
    re.IGNORECASE,
)
"""What sbatch says when asking again later may help: no controller, no authentication, a full queue."""
OUT_OF_MEMORY_TEXT = re.compile(rb"^slurmstepd.*(oom[-_ ]kill|exceeded .*memory limit)", re.I | re.M)
"""How Slurm tells of it in the job's output, even where the job's state says no more than FAILED."""
OUTPUT_TAIL = 65536
ENDED_AS = {
    "TIMEOUT": FailureCode.TIMEOUT,
    "DEADLINE": FailureCode.TIMEOUT,
    "OUT_OF_MEMORY": FailureCode.OUT_OF_MEMORY,
    "NODE_FAIL": FailureCode.NODE_FAIL,
    "BOOT_FAIL": FailureCode.NODE_FAIL,
    "PREEMPTED": FailureCode.PREEMPTED,
}


@dataclass(frozen=True)
class QueueEntry:
    """A job as Slurm lists it."""

    id: str
    """``123~ab12cd34``, or ``123_4~ab12cd34`` for an element of an array: the number, and the random end of
    the job's name. A controller that has lost its last jobs gives their numbers to others."""
    name: str
    work_dir: Path
    status: JobStatus


class Slurm:
    """Talk to Slurm by its commands."""

    array_index = "${SLURM_ARRAY_TASK_ID}"
    """What the shell knows an array's element by, from 1 on."""

    def exports(self, name: str, walltime_s: float, *, is_array: bool) -> dict[str, str]:
        """Shell words for the job's own id and the time of its end, seconds since 1970."""
        number = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" if is_array else "${SLURM_JOB_ID}"
        return {
            "SABATIER_JOB_ID": entry_id(number, name),
            "SABATIER_JOB_END": f"${{SLURM_JOB_END_TIME:-$(($(date +%s) + {walltime_s:.0f}))}}",
        }

    def header(
        self,
        name: str,
        resources: JobResources,
        *,
        output: str,
        warning_s: float,
        n_elements: int = 0,
        width: int = 1,
        memory_factor: float = 1.0,
    ) -> str:
        """``#SBATCH`` lines of a job.

        Parameters
        ----------
        resources
            What one calculation asks for.
        output
            File for the output, relative to the folder that it is submitted from.
        warning_s
            How long before its time limit the job gets SIGUSR2; at most half of the limit.
        n_elements
            Elements of the array; 0 for none.
        width
            How many calculations share the job's nodes at a time.
        """
        from qtoolkit.io.slurm import SlurmIO

        minutes = math.ceil(resources.walltime_minutes)
        warning = math.ceil(min(warning_s, 30.0 * minutes))
        extra = [*_options(resources.options), "no-requeue", "open-mode=append", f"signal=B:USR2@{warning}"]
        settings = {
            "job_name": name,
            "partition": resources.partition,
            "account": resources.account,
            "qos": resources.qos,
            "constraint": resources.constraint,
            "time": minutes,
            "nodes": resources.nodes,
            "ntasks": resources.tasks * width,
            "cpus_per_task": resources.cpus_per_task,
            "mem": _memory(resources, width, memory_factor),
            "gres": f"gpu:{resources.gpus * width}" if resources.gpus else None,
            "array": f"1-{n_elements}" if n_elements else None,
            "qout_path": output,
            "qverbatim": "\n".join(f"#SBATCH --{option}" for option in extra),
        }
        header: str = SlurmIO().generate_header({k: v for k, v in settings.items() if v is not None})
        return "\n".join(line for line in header.splitlines() if line.strip())

    def submit(self, script: Path) -> str:
        """Submit a script from its own folder; return Slurm's number of the job.

        Raises
        ------
        BackendUnavailableError
            If Slurm does not answer or takes no more jobs now.
        ExecutionError
            If it refuses the job.
        """
        from qtoolkit.io.slurm import SlurmIO

        done = _run(["sbatch", script.name], cwd=script.parent)
        answer = SlurmIO().parse_submit_output(done.returncode, done.stdout, done.stderr)
        if answer.job_id is not None:
            return str(answer.job_id)
        said = _first_line(done)
        if done.returncode == 0 or TRANSIENT.search(done.stderr):
            message = f"Slurm takes no jobs now: {said}"
            raise BackendUnavailableError(message)
        message = f"Slurm refuses the job: {said}"
        raise ExecutionError(message)

    def queue(self, name: str | None = None) -> dict[str, QueueEntry]:
        """All of the user's jobs that wait or run, or those of a name, by id.

        Raises
        ------
        BackendUnavailableError
            If Slurm does not answer.
        """
        which = [f"--user={os.getuid()}"] if name is None else [f"--name={name}"]
        return _entries(_ask([*_squeue(), *which]).splitlines())

    def recent(self, ids: Collection[str]) -> dict[str, QueueEntry]:
        """Those of some jobs that Slurm still remembers, in whatever state.

        Raises
        ------
        BackendUnavailableError
            If Slurm does not answer.
        """
        found: dict[str, QueueEntry] = {}
        for some in _batches(_numbers(ids)):
            # One id that is unknown makes an error of it, among several it is left out.
            wanted = ",".join([*some, some[0]])
            found |= _entries(_ask([*_squeue(), "--states=all", f"--jobs={wanted}"]).splitlines())
        return found

    def accounted(self, ids: Collection[str]) -> dict[str, JobStatus]:
        """How jobs ended that the controller has forgotten, as far as accounting is kept and knows."""
        found: dict[str, JobStatus] = {}
        for some in _batches(_numbers(ids)):
            command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,State,JobName"]
            try:
                done = _run([*command, f"--jobs={','.join(some)}"])
            except ExecutionError:
                return found
            for line in done.stdout.splitlines() if done.returncode == 0 else ():
                number, state, name = line.split("|", 2)
                word = state.split(" ")[0]
                status = JobStatus(JobPhase.GONE, word, state, ended_as=ENDED_AS.get(word))
                found[entry_id(number, name)] = status
        return found

    def cancel(self, ids: Collection[str]) -> None:
        """Tell Slurm to end jobs; those that have ended are no error.

        Raises
        ------
        BackendUnavailableError
            If Slurm does not answer.
        ExecutionError
            If it refuses.
        """
        for some in _batches(_numbers(self.recent(ids).keys() & set(ids))):
            done = _run(["scancel", *some])
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            bad = [line for line in lines if not _is_about_ended(line)]
            if bad and TRANSIENT.search(done.stderr):
                message = f"Slurm does not answer: {bad[0].strip()}"
                raise BackendUnavailableError(message)
            if bad:
                message = f"Slurm does not cancel: {bad[0].strip()}"
                raise ExecutionError(message)


def _options(options: Mapping[str, str | int | bool]) -> list[str]:
    """Options of sbatch as they stand after ``--``."""
    quoted = {n: f'"{v}"' if isinstance(v, str) and " " in v else v for n, v in options.items()}
    return [n if v is True else f"{n}={v}" for n, v in quoted.items() if v is not False]


def _memory(resources: JobResources, width: int, factor: float) -> str | None:
    """Value of ``--mem``, per node. More of an unknown default is all that the node has."""
    if resources.memory_gb is None:
        return "0" if factor > 1.0 else None
    return f"{math.ceil(1000 * resources.memory_gb * width * factor)}M"


def _squeue() -> list[str]:
    return ["squeue", "--noheader", "--array", f"--format={SEPARATOR.join(FIELDS)}"]


def _entries(lines: Iterable[str]) -> dict[str, QueueEntry]:
    found = {}
    for line in lines:
        fields = line.split(SEPARATOR)
        if len(fields) != len(FIELDS):
            continue
        number, state, elapsed, name, work_dir, reason = fields
        output = output_of(number, name, Path(work_dir))
        status = _status(state, elapsed, reason, output)
        job_id = entry_id(number, name)
        found[job_id] = QueueEntry(job_id, name, Path(work_dir), status)
    return found


def entry_id(number: str, name: str) -> str:
    """Id of a job by Slurm's number of it and its name."""
    return f"{number}~{name.rpartition('.')[2]}"


def _numbers(ids: Iterable[str]) -> set[str]:
    return {job_id.partition("~")[0] for job_id in ids}


def _status(state: str, elapsed: str, reason: str, output: Path) -> JobStatus:
    phase = _phase(state)
    said = "" if reason == "None" else reason
    if phase is not JobPhase.GONE:
        running = _seconds(elapsed) if phase is JobPhase.RUNNING else None
        return JobStatus(phase, state, said, running)
    code = ENDED_AS.get(state)
    if code is None and state in {"FAILED", "CANCELLED"} and _tells_of_memory(output):
        code, said = FailureCode.OUT_OF_MEMORY, "exceeded its memory limit"
    return JobStatus(phase, state, said, ended_as=code)


def _phase(state: str) -> JobPhase:
    """Phase that a state of Slurm is; one that a later Slurm has invented may be anything alive."""
    from qtoolkit.core.data_objects import QState
    from qtoolkit.io.slurm import SlurmState

    try:
        general = SlurmState(state).qstate
    except ValueError:
        return JobPhase.RUNNING
    if general in {QState.QUEUED, QState.QUEUED_HELD, QState.REQUEUED}:
        return JobPhase.PENDING
    return JobPhase.GONE if general in {QState.DONE, QState.FAILED} else JobPhase.RUNNING


def output_of(number: str, name: str, work_dir: Path) -> Path:
    """File with what Slurm itself says of a job, by the names that the scripts' headers give it."""
    element = number.partition("_")[2]
    group = work_dir / (f"{name}-{element}.out" if element else f"{name}.out")
    return group if group.exists() else work_dir / "job.out"


def _tells_of_memory(output: Path) -> bool:
    try:
        with output.open("rb") as handle:
            handle.seek(max(0, output.stat().st_size - OUTPUT_TAIL))
            return OUT_OF_MEMORY_TEXT.search(handle.read()) is not None
    except OSError:
        return False


def _seconds(elapsed: str) -> float | None:
    """Read squeue's ``[days-][hours:]minutes:seconds``."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", elapsed)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _is_about_ended(line: str) -> bool:
    return "Invalid job id" in line or "already completing or completed" in line


def _batches(ids: Collection[str]) -> Iterable[list[str]]:
    in_order = sorted(ids)
    return (in_order[i : i + IDS_PER_COMMAND] for i in range(0, len(in_order), IDS_PER_COMMAND))


def _ask(command: Sequence[str]) -> str:
    """Output of squeue, for which jobs that it does not know are no error."""
    done = _run(command)
    if done.returncode != 0 and not _is_about_ended(done.stderr):
        message = f"Slurm does not answer: {_first_line(done)}"
        raise BackendUnavailableError(message)
    return done.stdout


def _run(command: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm with nothing secret in its environment, which sbatch hands to the job.

    What an allocation that the driver itself runs in has set must not reach the job either.
    """
    environment = {
        name: value
        for name, value in job_environment().items()
        if not name.startswith("SLURM_") or name == "SLURM_CONF"
    }
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"{command[0]} has not answered within {COMMAND_TIMEOUT_S:.0f} s"
        raise BackendUnavailableError(message) from error
    except OSError as error:
        message = f"cannot run {command[0]} on {os.uname().nodename}: {error.strerror or error}"
        raise ExecutionError(message) from error


def _first_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what went wrong, which is the one that says it."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"no word, exit status {done.returncode}"
