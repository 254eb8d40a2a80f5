"""Who drives a campaign: the identity of a driver, whether it still lives, and its heartbeat.

Several drivers, on several hosts, may work on one campaign. A driver marks what it is submitting with
its id; whether it has died since can be known at once on its own host, and elsewhere only by the age of
the mark (``pipeline.submission.LEASE_SECONDS``).
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from config.errors import StoreError
from dft.execution.processes import read_process, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.store.repository import Store

BEAT_SECONDS = 10.0
"""Time between two heartbeats."""


def own_id() -> str:
    """Return this process's id as a driver: host, boot and process namespace, pid, start."""
    return f"{_place()}/{os.getpid()}/{_start_of(os.getpid())}"


def host_of(driver_id: str) -> str:
    """Return the host of a driver."""
    return driver_id.partition("/")[0]


def is_known_dead(driver_id: str | None) -> bool:
    """Tell whether a driver has certainly died; False also when that cannot be seen from here."""
    if driver_id is None:
        return True  # of a release that did not note the owner, and let one driver in at a time
    place, pid, start = driver_id.rsplit("/", 2)
    return place == _place() and _start_of(int(pid)) != start


def _place() -> str:
    """Where processes see each other."""
    return f"{os.uname().nodename}/{world()}"


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None if there is none, or a zombie."""
    process = read_process(pid)
    return str(process.start) if process is not None and process.is_alive else None


@contextmanager
def heartbeat(store: Store, campaign: str, mode: str) -> Iterator[None]:
    """Tell the store now and then that this driver is at work, whatever it is busy with."""
    from pipeline.store.records import DriverRecord

    me = DriverRecord(
        id=own_id(),
        campaign=campaign,
        host=os.uname().nodename,
        pid=os.getpid(),
        started_at=datetime.now(UTC),
        mode=mode,
    )
    ends = threading.Event()

    def beat() -> None:
        while not ends.is_set():
            with suppress(StoreError):  # the driver itself will say so
                store.beat(me)
            ends.wait(BEAT_SECONDS)
        with suppress(StoreError):
            store.forget_driver(me.id)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(timeout=5.0)  # a database that is away must not hold up the end
