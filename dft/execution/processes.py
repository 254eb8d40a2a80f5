"""Processes of this machine, as ``/proc`` shows them: sessions, their members, their ends. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A line of ``/proc/<pid>/stat``."""

    pid: int
    session: int
    start: int
    """Clock ticks between boot and the start of the process."""
    is_alive: bool
    """False for a zombie."""


@cache
def boot_id() -> str:
    """Name of this boot of this machine; containers may share it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@cache
def world() -> str:
    """Name a set of processes that see each other: a pid means the same to all of them.

    A boot of a machine, and a process namespace: containers may share a boot, and a host name too.
    """
    namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - the link's target, by number
    return f"{boot_id()[:8]}-{namespace}"


def processes() -> Iterator[Process]:
    """All processes that there are."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - polled often; no need of 1,000 Path objects
        if name.isdigit() and (process := read_process(int(name))) is not None:
            yield process


def read_process(pid: int) -> Process | None:
    """Look at one process; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name, in parentheses, may hold anything; the fields after it are proc(5)'s 3rd and on.
    fields = text.rpartition(")")[2].split()
    return Process(pid, session=int(fields[3]), start=int(fields[19]), is_alive=fields[0] not in "ZX")


def sessions(wanted: set[int]) -> dict[int, list[Process]]:
    """Processes of the sessions asked for, zombies included, by one pass over ``/proc``."""
    found: dict[int, list[Process]] = {}
    if wanted:
        for process in processes():
            if process.session in wanted:
                found.setdefault(process.session, []).append(process)
    return found


def environment(pid: int) -> dict[str, str]:
    """Environment that a process was started with; empty if it is not ours to read."""
    try:
        text = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process; no error if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end_all(
    members: Callable[[], list[Process]],
    *,
    grace_s: float,
    limit_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Process]:
    """End processes with SIGTERM and, what is left after ``grace_s`` seconds, with SIGKILL.

    Parameters
    ----------
    members
        Tells who is still alive; asked again and again, so that children born meanwhile end as well.
    meanwhile
        Called between two looks.

    Returns
    -------
    list of Process
        Those that even SIGKILL did not end within ``limit_s`` seconds (they hang in the kernel).
    """
    start = time.monotonic()
    told: set[int] = set()
    while alive := members():
        waited = time.monotonic() - start
        if waited > limit_s:
            return alive
        is_late = waited >= grace_s
        for process in alive:
            if is_late or process.pid not in told:
                send(process.pid, signal.SIGKILL if is_late else signal.SIGTERM)
                told.add(process.pid)
        time.sleep(0.02)
        meanwhile()
    return []


def living(session: int, *, besides: int | None = None) -> list[Process]:
    """Living processes of a session, one of them left out."""
    return [p for p in sessions({session}).get(session, []) if p.is_alive and p.pid != besides]
