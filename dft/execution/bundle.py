"""Many calculations in one job of the scheduler: runs the workers, so many at a time.

Run by the job's script as ``python -m dft.execution.bundle NAME.list --width W``. The list names a job
directory per line; member ``n`` (from 1 on) of the job ``123`` is the job ``123+n``. Beside the list:

- ``NAME.json``, rewritten at every change: what became of each member.
- ``NAME.cancel-<n>``, put there by whoever does not want a member any more.

SIGUSR2 (the time is nearly up) and SIGTERM go on to the workers; nothing new starts after them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dft.execution.base import JOB_ID_VARIABLE, JobPhase
from dft.execution.environment import OUTPUT_FILE, WORKER
from dft.execution.processes import end_all, living

CANCEL_GRACE_S = 5.0
"""How long a cancelled member may take to end after SIGTERM, seconds."""
LOOK_S = 0.5
"""Time between two looks at the members, seconds."""
PR_SET_PDEATHSIG = 1
"""Of ``linux/prctl.h``."""
_LIBC = ctypes.CDLL(None)


@dataclass
class _Member:
    number: int
    job_dir: Path
    phase: JobPhase = JobPhase.PENDING
    started: float | None = None
    """Seconds since 1970."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    kill_at: float | None = None
    """When to end it by force, monotonic seconds."""


class Bundle:
    """The members of a job and what is known of them."""

    def __init__(self, members: Path, width: int, payload: str = WORKER) -> None:
        folders = members.read_text(encoding="utf-8").splitlines()
        self._folder, self._name = members.parent, members.stem
        self._members = [_Member(n, Path(folder)) for n, folder in enumerate(folders, start=1)]
        self._width = width
        self._payload = payload
        self._signals: list[int] = []
        """Those that have come and not gone on to the workers yet."""
        self._is_closing = False

    def run(self) -> None:
        """Run all members; return when none is left."""
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        is_written = self._write_state()
        while any(member.phase is not JobPhase.GONE for member in self._members):
            if self._step() or not is_written:
                is_written = self._write_state()
            time.sleep(LOOK_S)

    def _step(self) -> bool:
        """Collect the ended, obey cancellations, fill free places; tell whether anything changed."""
        before = [member.phase for member in self._members]
        while self._signals:
            self._pass_on(self._signals.pop(0))
        self._obey()
        for member in self._members:
            if member.process is not None and member.process.poll() is not None:
                self._close(member)
        for member in [member for member in self._members if member.phase is JobPhase.PENDING]:
            if self._is_closing:
                member.phase = JobPhase.GONE
            elif sum(member.process is not None for member in self._members) < self._width:
                self._start(member)
        return before != [member.phase for member in self._members]

    def _start(self, member: _Member) -> None:
        own_id = f"{os.environ.get(JOB_ID_VARIABLE, '')}+{member.number}"
        try:
            with (member.job_dir / OUTPUT_FILE).open("ab") as output:
                member.process = subprocess.Popen(
                    [sys.executable, "-m", self._payload, str(member.job_dir)],
                    cwd=member.job_dir,
                    env={**os.environ, JOB_ID_VARIABLE: own_id},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,  # noqa: PLW1509 - there are no threads here
                )
        except OSError as error:
            _say(f"cannot start {member.job_dir}: {error}")
            member.phase = JobPhase.GONE
            return
        member.phase, member.started = JobPhase.RUNNING, time.time()

    def _close(self, member: _Member) -> None:
        """Leave nothing of an ended member behind."""
        assert member.process is not None
        session = member.process.pid
        if end_all(lambda: living(session), grace_s=0.0, limit_s=CANCEL_GRACE_S):
            _say(f"processes of {member.job_dir} cannot be killed")
        member.process, member.phase = None, JobPhase.GONE

    def _obey(self) -> None:
        prefix = cancel_file(self._folder, self._name, "").name
        for path in self._folder.glob(f"{prefix}*"):
            member = self._members[int(path.name.removeprefix(prefix)) - 1]
            if member.phase is JobPhase.PENDING:
                member.phase = JobPhase.GONE
            elif member.process is not None and member.kill_at is None:
                member.process.terminate()
                member.kill_at = time.monotonic() + CANCEL_GRACE_S
        for member in self._members:
            is_late = member.kill_at is not None and time.monotonic() > member.kill_at
            if is_late and member.process is not None:
                member.process.kill()

    def _pass_on(self, number: int) -> None:
        self._is_closing = True
        for member in self._members:
            if member.process is not None:
                member.process.send_signal(number)

    def _write_state(self) -> bool:
        """Tell what became of the members; False if that must wait, as on a full disk: they go on."""
        state = {str(m.number): {"phase": m.phase.value, "started": m.started} for m in self._members}
        file = state_file(self._folder, self._name)
        temporary = file.with_name(f".{file.name}")
        try:
            temporary.write_text(json.dumps(state), encoding="utf-8")
            temporary.replace(file)
        except OSError as error:
            _say(f"cannot write {file}, trying again: {error}")
            return False
        return True


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the runner dies, in a child before its program starts.

    A scheduler that follows parents or groups (``proctrack/linuxproc``, ``pgid``) loses sight of the members
    when it is killed: they would compute on a node that is taken for free.
    """
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _say(text: str) -> None:
    with suppress(OSError):  # the disk may be full: no reason to end, and the members with it
        print(text, file=sys.stderr, flush=True)


def list_file(folder: Path, name: str) -> Path:
    """Where the members of a bundle or array of a name are listed."""
    return folder / f"{name}.list"


def cancel_file(folder: Path, name: str, number: str) -> Path:
    """What a member is ended by."""
    return folder / f"{name}.cancel-{number}"


def state_file(folder: Path, name: str) -> Path:
    """Where a bundle of a name writes what became of its members."""
    return folder / f"{name}.json"


def read_state(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """What a bundle has written of its members, by their numbers; empty before it has started."""
    try:
        content: dict[str, dict[str, Any]] = json.loads(state_file(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def main() -> None:
    """Entry point of ``python -m dft.execution.bundle``."""
    parser = argparse.ArgumentParser(description="Compute many job directories, some at a time.")
    parser.add_argument("list", type=Path)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--payload", default=WORKER)
    arguments = parser.parse_args()
    Bundle(arguments.list, arguments.width, arguments.payload).run()


if __name__ == "__main__":
    main()
